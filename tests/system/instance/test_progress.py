"""A batch shows its progress on a terminal, and only there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from nitro_simulator.deployment import command_lines as commands
from nitro_simulator.deployment import processes
from tests.support.deployment.deployment import CONTEXT_OPTIONS, Deployment

LINES = 400


@pytest.fixture
def batch(deployment: Deployment, tmp_path: Path) -> Path:
    path = tmp_path / "ciphertexts"
    path.write_text(f"{deployment.encrypt(b'many')}\n" * LINES)
    return path


def errors_of(deployment: Deployment, batch: Path, output: int, errors: int, *options: str) -> None:
    arguments = commands.instance_arguments(deployment.account, name="enclave")
    with batch.open("rb") as lines:
        done = subprocess.run(
            [processes.tool_path("kmstool-instance"), *arguments, *CONTEXT_OPTIONS, "--batch", *options],
            stdin=lines,
            stdout=output,
            stderr=errors,
            env=processes.clean_environment(deployment.account.imds_environment),
            timeout=120,
            check=False,
        )
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("options", "is_output_terminal", "is_shown"), [((), False, True), (("--quiet",), False, False), ((), True, False)]
)
def test_line_is_drawn_on_a_terminal_and_cleared_at_the_end(
    deployment: Deployment,
    batch: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    *,
    is_output_terminal: bool,
    is_shown: bool,
) -> None:
    ours, theirs = os.openpty()
    output = tmp_path / "plaintexts"
    try:
        with output.open("wb") as file:
            errors_of(deployment, batch, theirs if is_output_terminal else file.fileno(), theirs, *options)
        shown = os.read(ours, 65_536) if is_shown or is_output_terminal else b""
        os.set_blocking(ours, False)
        with pytest.raises(BlockingIOError):
            os.read(ours, 65_536)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (b" lines, " in shown) is is_shown
    assert shown.endswith(b"\r\x1b[K") is is_shown
    if not is_output_terminal:
        assert output.read_bytes() == b"many\n" * LINES


def test_nothing_is_drawn_into_a_file(deployment: Deployment, batch: Path, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as output, (tmp_path / "err").open("wb") as errors:
        errors_of(deployment, batch, output.fileno(), errors.fileno())
    assert (tmp_path / "err").read_bytes() == b""
