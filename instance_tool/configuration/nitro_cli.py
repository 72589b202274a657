"""Finds the enclaves that run on this instance, by ``nitro-cli describe-enclaves``."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import time
from typing import IO, Any, NamedTuple, cast

from vsock_wire.errors import InputError, quoted
from vsock_wire.protocol.json_codec import decode_json

PROGRAM = "nitro-cli"
COMMAND = (PROGRAM, "describe-enclaves")
TIMEOUT_S = 5.0
"""For nitro-cli to answer and end. It takes a fraction of a second; each of its own waits for an enclave is longer."""
MAX_OUTPUT_BYTES = 1_048_576
"""Maximum size of what nitro-cli prints; an enclave takes about 700 bytes."""
MIN_ENCLAVE_CID = 4
"""Smaller ones are those of the hypervisor, of this machine and of the parent. Source: nitro-cli run-enclave."""
MAX_SHOWN = 8
"""Number of enclaves that an error lists."""
_MAX_CID = 0xFFFF_FFFF
_RUNNING = "RUNNING"
_WAYS = "pass --cid with the EnclaveCID, or set KMSTOOL_ENCLAVE"


class RunningEnclave(NamedTuple):
    """An enclave that runs on this instance."""

    name: str
    enclave_id: str
    cid: int

    def __str__(self) -> str:
        return f"{quoted(self.name)} (CID {self.cid})"


def find_enclave(name: str | None) -> int:
    """Return the CID of the only running enclave, or of the only one with this name or ID.

    Raises:
        InputError: there is none, or more than one; or nitro-cli cannot be asked.
    """
    enclaves = running_enclaves()
    matching = [enclave for enclave in enclaves if name is None or name in (enclave.name, enclave.enclave_id)]
    if len(matching) == 1:
        return matching[0].cid
    if not enclaves:
        raise InputError("no enclave is running here, as far as nitro-cli shows", hint=_nothing_hint())
    shown = ", ".join(str(enclave) for enclave in enclaves[:MAX_SHOWN])
    shown += ", ..." if len(enclaves) > MAX_SHOWN else ""
    if not matching:
        raise InputError(f"no enclave named {quoted(name or '')} is running: there is {shown}", hint=_nothing_hint())
    raise InputError(
        f"more than one enclave is running: {shown}",
        hint="choose one with --cid" if name is not None else "choose one with --enclave-name or --cid",
    )


def running_enclaves() -> list[RunningEnclave]:
    """Return the running enclaves that nitro-cli shows: those of this user, or of all users to root.

    Raises:
        InputError: nitro-cli is not installed, fails, does not answer in time, or prints something else.
    """
    path = shutil.which(PROGRAM)
    if path is None:
        raise InputError("--cid: missing", hint=f"nitro-cli, which would find the enclave, is not installed: {_WAYS}")
    exit_code, output, errors = _run([path, *COMMAND[1:]])
    if exit_code != 0:
        problem = errors.decode("utf-8", "replace").strip().splitlines()[:1] or [f"exit code {exit_code}"]
        is_denied = b"denied" in errors.lower() or b"not permitted" in errors.lower()
        raise InputError(
            f"{' '.join(COMMAND)}: {quoted(problem[0], 200)}",
            hint=f"run it with sudo, or join the group ne; or {_WAYS}" if is_denied else _WAYS,
        )
    return _parse(output)


def _nothing_hint() -> str:
    if os.geteuid() == 0:
        return f"nitro-cli run-enclave starts one; elsewhere, {_WAYS}"
    return f"nitro-cli shows only enclaves of this user: try sudo, or {_WAYS}"


def _parse(output: bytes) -> list[RunningEnclave]:
    try:
        entries = decode_json(output.decode("utf-8"))
    except ValueError:
        entries = None
    if isinstance(entries, list):
        with contextlib.suppress(KeyError, TypeError, ValueError):
            return [_enclave(entry) for entry in entries if entry["State"] == _RUNNING]
    raise InputError(f"{' '.join(COMMAND)}: printed something else than a list of enclaves", hint=_WAYS)


def _enclave(entry: dict[str, Any]) -> RunningEnclave:
    cid = entry["EnclaveCID"]
    if not isinstance(cid, int) or not MIN_ENCLAVE_CID <= cid <= _MAX_CID:
        raise ValueError("EnclaveCID")
    return RunningEnclave(str(entry.get("EnclaveName", "")), str(entry.get("EnclaveID", "")), cid)


def _run(command: list[str]) -> tuple[int, bytes, bytes]:
    """Return the exit code, the output and the errors of a command, which is killed after TIMEOUT_S."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that a helper that keeps the pipes open can be killed, too
        )
    except OSError as error:
        raise InputError(f"{command[0]}: {(error.strerror or str(error)).lower()}", hint=_WAYS) from error
    deadline = time.monotonic() + TIMEOUT_S
    with process:
        try:
            output, errors = _read_all((process.stdout, process.stderr), deadline)
            exit_code = process.wait(max(0.0, deadline - time.monotonic()))
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)  # it has not been waited for, so this is still its number
            if isinstance(error, TimeoutError | subprocess.TimeoutExpired):
                raise InputError(f"{' '.join(COMMAND)}: no answer within {TIMEOUT_S:g} s", hint=_WAYS) from None
            raise
    return exit_code, output, errors


def _read_all(streams: tuple[IO[bytes] | None, ...], deadline: float) -> list[bytes]:
    """Return what comes out of each stream until all are closed.

    Raises:
        TimeoutError: one is still open at the deadline.
        InputError: more comes out than MAX_OUTPUT_BYTES.
    """
    read = [bytearray() for _ in streams]
    with selectors.DefaultSelector() as selector:
        for stream, data in zip(streams, read, strict=True):
            selector.register(cast("IO[bytes]", stream), selectors.EVENT_READ, data)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                piece = os.read(key.fd, 65_536)
                key.data.extend(piece)
                if not piece:
                    selector.unregister(key.fileobj)
                if len(key.data) > MAX_OUTPUT_BYTES:
                    raise InputError(f"{' '.join(COMMAND)}: printed more than {MAX_OUTPUT_BYTES} bytes", hint=_WAYS)
    return [bytes(data) for data in read]
