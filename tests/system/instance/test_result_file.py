"""``--out`` of a real process: what is left if it is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

from nitro_simulator.deployment import command_lines, processes
from tests.support.deployment.deployment import CONTEXT_OPTIONS, Deployment


def wait_for_open_file(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait until a process has a file open in ``folder``."""
    descriptors = Path(f"/proc/{process.pid}/fd")
    while process.poll() is None:
        for path in descriptors.iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                if path.readlink().is_relative_to(folder):
                    return
    pytest.fail("ended")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_killed_batch_leaves_no_file_and_the_old_one_as_it_was(
    deployment: Deployment, tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    path = folder / "plaintexts"
    path.write_text("before")
    command = [
        processes.tool_path("kmstool-instance"), *command_lines.instance_arguments(deployment.account),
        *CONTEXT_OPTIONS, "--batch", "--out", str(path),
    ]  # fmt: skip
    environment = {**os.environ, **deployment.account.imds_environment}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        process.stdin.write(deployment.encrypt(b"one").encode() + b"\n")
        process.stdin.flush()
        wait_for_open_file(process, folder)
        process.send_signal(number)
        process.wait()
    assert process.returncode != 0
    assert list(folder.iterdir()) == [path]
    assert path.read_text() == "before"
