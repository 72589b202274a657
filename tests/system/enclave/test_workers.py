"""kmstool-enclave --workers: several processes that share one address, and what happens when they die."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nitro_simulator.deployment import command_lines as commands
from nitro_simulator.deployment import processes
from tests.support.deployment.deployment import CONTEXT_OPTIONS, Deployment, deploy
from tests.support.deployment.raw_client import RawClient
from vsock_wire.protocol.json_codec import encode_message
from vsock_wire.protocol.messages import SetClient
from vsock_wire.protocol.vocabulary import EnclaveCode

WORKERS = 2
TIMEOUT_S = 30.0
"""Passing tests never wait this long."""
PLAINTEXT = b"opened by one of several"


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with deploy(start=False) as started:
        started.start_proxy()
        started.start_enclave("enclave", "--workers", str(WORKERS))
        yield started


def workers_of(pid: int) -> list[int]:
    """Return the process IDs of a server's workers after all have started, a moment after the server listens."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    assert until(lambda: len(children.read_text().split()) == WORKERS)
    return [int(child) for child in children.read_text().split()]


def is_running(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def until(condition: Callable[[], bool], *, timeout_s: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def decrypt(deployment: Deployment, *options: str, enclave: str = "enclave") -> subprocess.CompletedProcess[bytes]:
    ciphertext_b64 = deployment.encrypt(PLAINTEXT)
    return deployment.instance(*options, *CONTEXT_OPTIONS, ciphertext_b64, enclave=enclave)


class TestServing:
    def test_every_worker_serves_with_one_recipient_key(self, deployment: Deployment) -> None:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(deployment.connect()) for _ in range(8)]
            described = [client.ask(b'{"Operation":"Describe"}') for client in clients]
            busy = [pid for pid in workers_of(deployment.tools["enclave"].process.pid) if connections_of(pid)]
        assert len({reply["RecipientKeyId"] for reply in described}) == 1
        assert {reply["Workers"] for reply in described} == {WORKERS}
        assert len(busy) == WORKERS

    @pytest.mark.alone  # a worker that is ahead gives the other a moment, in which that one has to run
    def test_connections_are_spread_evenly(self, deployment: Deployment) -> None:
        workers = workers_of(deployment.tools["enclave"].process.pid)
        assert until(lambda: not any(map(connections_of, workers)))  # those of other tests are forgotten
        with contextlib.ExitStack() as stack:
            for _ in range(8):
                stack.enter_context(deployment.connect()).ask(b'{"Operation":"Describe"}')
            counts = [connections_of(pid) for pid in workers]
        assert sorted(counts) == [4, 4]

    def test_a_decrypt(self, deployment: Deployment) -> None:
        for _ in range(2 * WORKERS):
            assert decrypt(deployment).stdout == PLAINTEXT + b"\n"

    def test_the_limit_applies_to_all_workers_together(self, deployment: Deployment) -> None:
        deployment.start_enclave("few", "--workers", str(WORKERS), "--max-connections", "3")
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                # The connection that was used to wait for the start may still count.
                assert until(lambda: is_served(stack.enter_context(deployment.connect("few"))))
            refused = stack.enter_context(deployment.connect("few")).read()
            assert (refused["Code"], refused["Status"]) == (EnclaveCode.BUSY, "Error")
        assert until(lambda: decrypt(deployment, enclave="few").returncode == 0)


def is_served(client: RawClient) -> bool:
    """Return whether a connection is served; the server closes those that it turns away."""
    return bool(client.ask(b'{"Operation":"Describe"}')["Status"] == "Ok")


def connections_of(pid: int) -> int:
    """Return how many connected unix sockets a worker has, without the listener."""
    inodes = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    table = Path("/proc/net/unix").read_text().splitlines()[1:]
    rows = [line.split() for line in table]
    return sum(
        1 for row in rows if len(row) > 7 and row[7].endswith("/enclave.sock") and row[5] == "03"
        and f"socket:[{row[6]}]" in inodes
    )  # fmt: skip


class TestDeath:
    def test_a_killed_worker_is_replaced_while_the_others_continue_to_serve(self, deployment: Deployment) -> None:
        supervisor = deployment.tools["enclave"].process.pid
        before = workers_of(supervisor)
        os.kill(before[0], signal.SIGKILL)
        assert decrypt(deployment).stdout == PLAINTEXT + b"\n"
        assert until(lambda: not is_running(before[0]))
        after = workers_of(supervisor)
        assert before[0] not in after
        assert before[1] in after
        assert re.search(r"worker \d \(pid \d+\) was killed by signal 9: starting another",
                         deployment.tools["enclave"].log())  # fmt: skip
        for _ in range(2 * WORKERS):
            assert decrypt(deployment).stdout == PLAINTEXT + b"\n"

    def test_a_dead_workers_connections_no_longer_count(self, deployment: Deployment) -> None:
        tool = deployment.start_enclave("counted", "--workers", str(WORKERS), "--max-connections", "2")
        with contextlib.ExitStack() as stack:
            for _ in range(2):
                stack.enter_context(deployment.connect("counted")).ask(b'{"Operation":"Describe"}')
            for pid in workers_of(tool.process.pid):
                os.kill(pid, signal.SIGKILL)
            assert until(lambda: decrypt(deployment, enclave="counted").returncode == 0)

    def test_the_end_of_the_server_is_the_end_of_its_workers(self, deployment: Deployment) -> None:
        tool = deployment.start_enclave("ending", "--workers", str(WORKERS))
        workers = workers_of(tool.process.pid)
        assert tool.stop() == 0
        assert not any(map(is_running, workers))

    def test_workers_do_not_outlive_a_killed_server(self, deployment: Deployment) -> None:
        tool = deployment.start_enclave("killed", "--workers", str(WORKERS))
        workers = workers_of(tool.process.pid)
        tool.process.kill()
        tool.process.wait()
        assert until(lambda: not any(map(is_running, workers)))

    def test_a_request_under_way_is_finished(self, deployment: Deployment) -> None:
        tool = deployment.start_enclave("draining", "--workers", str(WORKERS))
        credentials = SetClient(deployment.account.issue_credentials(), deployment.account.region)
        is_under_way, is_terminated = threading.Event(), threading.Event()

        def hold(_operation: str, answer: dict[str, object]) -> dict[str, object]:
            is_under_way.set()
            assert is_terminated.wait(TIMEOUT_S)
            return answer

        with deployment.connect("draining") as client:
            assert client.ask(encode_message(credentials.to_message()).rstrip(b"\0"))["Status"] == "Ok"
            request = f'{{"Operation":"Decrypt","Ciphertext":"{deployment.encrypt(PLAINTEXT, {})}"}}'
            deployment.account.kms.rewrite_answer = hold
            try:
                client.sock.sendall(request.encode() + b"\0")
                assert is_under_way.wait(TIMEOUT_S)
                tool.process.terminate()
                is_terminated.set()
                assert client.read()["Status"] == "Ok"
            finally:
                is_terminated.set()
                deployment.account.kms.rewrite_answer = None
        assert tool.process.wait(TIMEOUT_S) == 0


class TestUsage:
    @pytest.mark.parametrize("workers", ["0", "257", "two"])
    def test_a_number_out_of_range_is_refused(self, deployment: Deployment, workers: str) -> None:
        arguments = [*commands.enclave_command(deployment.account, name="none"), "--workers", workers]
        result = subprocess.run(
            [processes.tool_path(arguments[0]), *arguments[1:]], capture_output=True, text=True, check=False
        )
        assert result.returncode == 2
        assert "--workers" in result.stderr
