"""Starting kmstool-instance serve before its enclave, and what keeps its memory private, as real processes."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from nitro_simulator.deployment import command_lines as commands
from nitro_simulator.deployment import processes
from tests.support.deployment.deployment import Deployment
from tests.support.deployment.raw_client import RawClient

TIMEOUT_S = 60.0
"""A test that passes never waits this long."""


@contextlib.contextmanager
def _started_serve(deployment: Deployment, path: Path, enclave: str) -> Iterator[subprocess.Popen[bytes]]:
    arguments = ["serve", *commands.instance_arguments(deployment.account, name=enclave), "--socket", str(path)]
    with subprocess.Popen(
        [processes.tool_path("kmstool-instance"), *arguments],
        stderr=subprocess.PIPE,
        env=processes.clean_environment(deployment.account.imds_environment),
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_enclave_that_is_not_up_yet_is_waited_for_and_named_once(deployment: Deployment) -> None:
    path = deployment.account.directory / "early.sock"
    with _started_serve(deployment, path, enclave="late") as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"kmstool-instance: waiting for the enclave: connect to unix:")
        assert not path.exists()
        deployment.start_enclave("late")
        assert process.stderr.readline().startswith(f"kmstool-instance: serving unix:{path} for ".encode())
        with RawClient(str(path)) as client:
            assert client.ask(b'{"Operation":"Describe"}')["CredentialsHeld"] is True


def test_sigterm_ends_the_wait_for_an_enclave(deployment: Deployment) -> None:
    path = deployment.account.directory / "never.sock"
    with _started_serve(deployment, path, enclave="nobody") as process:
        assert process.stderr is not None
        assert b"waiting for the enclave" in process.stderr.readline()
        process.terminate()
        assert process.wait(TIMEOUT_S) == 0
    assert not path.exists()


def test_folder_that_others_can_write_to_is_refused_before_the_wait(deployment: Deployment) -> None:
    folder = deployment.account.directory / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    with _started_serve(deployment, folder / "s", enclave="nobody") as process:
        assert process.wait(TIMEOUT_S) == 2


def test_memory_of_serve_is_not_dumped(deployment: Deployment) -> None:
    serve = deployment.start_serve("undumped")
    limits = Path(f"/proc/{serve.process.pid}/limits").read_text()
    (line,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert line.split()[4:6] == ["0", "0"]
