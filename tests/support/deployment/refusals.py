"""KMS's refusals as the users of kmstool-instance and kmstool-enclave-cli see them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import NamedTuple

from tests.support.deployment.deployment import Deployment
from vsock_wire.protocol.refusals.row import Reason
from vsock_wire.protocol.refusals.table import find_refusal
from vsock_wire.protocol.vocabulary import Operation

Done = subprocess.CompletedProcess[bytes]


class Command(NamedTuple):
    """One operation, as both programs are asked for it."""

    instance: tuple[str, ...]
    enclave_cli: tuple[str, ...]
    stdin: bytes = b""


def run_both(shared: Deployment, command: Command) -> Iterator[tuple[str, Done]]:
    """Run each program in turn, and yield its name and what it did."""
    yield "kmstool-instance", shared.instance(*command.instance, stdin=command.stdin)
    yield "kmstool-enclave-cli", shared.enclave_cli(*command.enclave_cli, stdin=command.stdin)


def check_refusal(program: str, done: Done, *, exit_code: int, code: str, hint: str) -> None:
    """Check what a user sees: nothing on standard output, one error that has KMS's code, and one hint."""
    assert (done.returncode, done.stdout) == (exit_code, b""), done.stderr
    error, hint_line = [line for line in done.stderr.decode().splitlines() if line.startswith((program, "hint: "))]
    assert error.startswith(f"{program}: error: Could not ")
    assert f": {code}" in error
    assert hint_line == f"hint: {hint}"


def hint_for(code: str, reason: Reason | None, operation: Operation) -> str:
    """Return the hint that the table has for a refusal."""
    row = find_refusal(code, reason, operation)
    assert row is not None
    return row.hint
