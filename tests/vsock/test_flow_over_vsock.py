"""The main use over real AF_VSOCK: each tool is a process with the command line that it has on an instance.

Only the NSM is reached differently, through a unix socket. No other option differs from those in an image.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from nitro_simulator.account import SimulatedAccount
from nitro_simulator.deployment import processes
from nitro_simulator.kms.journal import OK
from tests.support.vsock.ports import CID_LOCAL, free_vsock_port
from vsock_wire.errors import ExitCode
from vsock_wire.net.address import VsockAddress
from vsock_wire.net.sockets import connect_socket
from vsock_wire.protocol.diagnosis import HopName
from vsock_wire.protocol.json_codec import encode_base64

CONTEXT_OPTIONS = ["--encryption-context", "purpose=test"]
CLIENTS_AT_ONCE = 8
ABSENT_CID = 77
TIMEOUT_S = 60.0
PAGE = Path(__file__).parents[2] / "docs/explanation/plaintext-path.md"


@dataclass
class Tools:
    """The simulated account, and the two servers between it and kmstool-instance."""

    account: SimulatedAccount
    proxy: processes.Tool
    enclave: processes.Tool
    proxy_port: int
    enclave_port: int

    def encrypt(self, plaintext: bytes) -> str:
        return encode_base64(self.account.key.seal(plaintext, encryption_context={"purpose": "test"}))

    def instance(
        self, *arguments: str, port: int | None = None, cid: int = CID_LOCAL, stdin: str = ""
    ) -> subprocess.CompletedProcess[bytes]:
        address = ["--cid", str(cid), "--port", str(port or self.enclave_port)]
        return processes.run_instance(
            [*address, "--region", "us-east-1", *CONTEXT_OPTIONS, *arguments],
            environment=self.account.imds_environment,
            stdin=stdin.encode(),
        )

    def connect(self) -> socket.socket:
        return connect_socket(VsockAddress(CID_LOCAL, self.enclave_port), timeout_s=TIMEOUT_S)


def _running_enclave(
    account: SimulatedAccount, *, port: int, proxy_port: int, name: str
) -> contextlib.AbstractContextManager[processes.Tool]:
    arguments = ["--nsm", str(account.enclave.nsm_address), "--allow-non-vsock", "--ca-file", str(account.ca_file)]
    vsock = ["--port", str(port), "--parent-cid", str(CID_LOCAL), "--proxy-port", str(proxy_port)]
    return processes.running(
        ["kmstool-enclave", *arguments, *vsock, "--verbose"],
        listens_on=VsockAddress(CID_LOCAL, port),
        log_file=account.directory / f"{name}.log",
    )


def _running_proxy(account: SimulatedAccount, *, port: int) -> contextlib.AbstractContextManager[processes.Tool]:
    kms_host, kms_port = account.kms_server.address
    return processes.running(
        ["vsock-proxy", "--config", str(account.allowlist_file), str(port), kms_host, str(kms_port)],
        listens_on=VsockAddress(CID_LOCAL, port),
        log_file=account.directory / "proxy.log",
    )


@pytest.fixture(scope="module")
def tools() -> Iterator[Tools]:
    directory = Path(tempfile.mkdtemp(prefix="kms-"))
    enclave_port, proxy_port = free_vsock_port(), free_vsock_port()
    try:
        with (
            SimulatedAccount(directory) as account,
            _running_proxy(account, port=proxy_port) as proxy,
            _running_enclave(account, port=enclave_port, proxy_port=proxy_port, name="enclave") as enclave,
        ):
            yield Tools(account, proxy, enclave, proxy_port, enclave_port)
    finally:
        shutil.rmtree(directory)


def test_the_shells_pipeline_prints_exactly_the_plaintext(tools: Tools) -> None:
    program = shlex.quote(processes.tool_path("kmstool-instance"))
    pipeline = (
        f'printf %s "$CT" | {program} --cid 1 --port {tools.enclave_port} --region us-east-1 '
        "--encryption-context purpose=test -"
    )
    done = subprocess.run(
        ["sh", "-c", pipeline],
        env=processes.clean_environment({**tools.account.imds_environment, "CT": tools.encrypt(b"Hello, KMS!")}),
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"Hello, KMS!\n", b"")


def test_kms_was_shown_the_enclaves_document_and_sent_no_plaintext(tools: Tools) -> None:
    assert tools.instance(tools.encrypt(b"attested")).stdout == b"attested\n"
    entry = tools.account.kms.journal.entries()[-1]
    assert (entry.operation, entry.verdict, entry.pcr0) == ("Decrypt", OK, tools.account.enclave.pcr0.hex())
    assert set(entry.answered_bytes) == {"CiphertextForRecipient"}


def test_both_servers_name_their_peer_by_cid(tools: Tools) -> None:
    assert tools.instance(tools.encrypt(b"named")).returncode == 0
    assert "vsock://1:" in tools.enclave.log()
    assert "cid 1 port " in tools.proxy.log()


def test_json_output_parses_to_the_plaintext(tools: Tools) -> None:
    done = tools.instance("--output", "json", tools.encrypt(b"\xff\x00 parse me"))
    result = json.loads(done.stdout)
    assert b64decode(result["Plaintext"]) == b"\xff\x00 parse me"
    assert result["KeyId"] == tools.account.key.arn


def test_batch_keeps_the_numbers_of_lines_and_names_the_broken_one(tools: Tools) -> None:
    lines = [tools.encrypt(f"plaintext {number}".encode()) for number in range(1, 31)]
    lines[10] = "not base64!"
    done = tools.instance("--batch", stdin="\n".join(lines))
    assert done.stdout.decode().splitlines() == [
        f"plaintext {number}" if number != 11 else "" for number in range(1, 31)
    ]
    assert b"kmstool-instance: error: line 11: " in done.stderr
    assert done.returncode == ExitCode.FAILED


def test_clients_at_once_each_get_their_own_plaintext(tools: Tools) -> None:
    plaintexts = [f"for client {number}" for number in range(CLIENTS_AT_ONCE)]
    ciphertexts = [tools.encrypt(plaintext.encode()) for plaintext in plaintexts]
    with ThreadPoolExecutor(CLIENTS_AT_ONCE) as pool:
        done = list(pool.map(tools.instance, ciphertexts))
    assert [(client.returncode, client.stdout.decode()) for client in done] == [
        (0, f"{plaintext}\n") for plaintext in plaintexts
    ]


def test_idle_clients_block_nobody(tools: Tools) -> None:
    with tools.connect(), tools.connect() as half_said:
        half_said.sendall(b'{"Operation":')
        done = tools.instance(tools.encrypt(b"not blocked"))
    assert (done.returncode, done.stdout) == (0, b"not blocked\n")


def test_no_proxy_is_reported_by_the_enclave_with_its_address(tools: Tools) -> None:
    port, proxy_port = free_vsock_port(), free_vsock_port()
    with _running_enclave(tools.account, port=port, proxy_port=proxy_port, name="no-proxy"):
        done = tools.instance(tools.encrypt(b"never"), port=port)
    assert (done.returncode, done.stdout) == (ExitCode.UNREACHABLE, b"")
    assert f"connect to proxy vsock://1:{proxy_port}: " in done.stderr.decode()
    assert "hint: check that vsock-proxy is running on the parent instance and uses this port" in done.stderr.decode()


def test_no_enclave_on_the_port_is_unreachable(tools: Tools) -> None:
    port = free_vsock_port()
    done = tools.instance(tools.encrypt(b"never"), port=port)
    assert (done.returncode, done.stdout) == (ExitCode.UNREACHABLE, b"")
    assert f"kmstool-instance: error: connect to vsock://1:{port}: connection reset by peer" in done.stderr.decode()
    assert "hint: nothing is listening there" in done.stderr.decode()


def test_no_enclave_with_the_cid_is_unreachable(tools: Tools) -> None:
    done = tools.instance(tools.encrypt(b"never"), cid=ABSENT_CID)
    assert (done.returncode, done.stdout) == (ExitCode.UNREACHABLE, b"")
    assert f"connect to vsock://{ABSENT_CID}:{tools.enclave_port}: " in done.stderr.decode()
    assert "nitro-cli describe-enclaves" in done.stderr.decode()


def test_sigterm_ends_both_servers_although_a_client_is_idle(tools: Tools) -> None:
    port, proxy_port = free_vsock_port(), free_vsock_port()
    with (
        _running_proxy(tools.account, port=proxy_port) as proxy,
        _running_enclave(tools.account, port=port, proxy_port=proxy_port, name="ended") as enclave,
        connect_socket(VsockAddress(CID_LOCAL, port), timeout_s=TIMEOUT_S) as idle,
    ):
        assert tools.instance(tools.encrypt(b"before the end"), port=port).stdout == b"before the end\n"
        assert (enclave.stop(), proxy.stop()) == (0, 0)
        assert idle.recv(1) == b""


def test_doctor_finds_every_hop_in_order_over_real_vsock(tools: Tools) -> None:
    done = tools.instance("doctor", "--output", "json", "--ciphertext", tools.encrypt(b"not shown"))
    report = json.loads(done.stdout)
    assert (done.returncode, done.stderr, report["Ok"]) == (0, b"", True)
    assert [hop["Hop"] for hop in report["Hops"]] == list(HopName)
    assert report["Hops"][0]["Detail"].startswith("this instance can open vsock sockets; ")


def test_page_shows_what_explain_prints_for_a_decrypt(tools: Tools) -> None:
    """The block in the page is the output of such a run, apart from values that differ from run to run."""
    port = free_vsock_port()
    with _running_enclave(tools.account, port=port, proxy_port=tools.proxy_port, name="explained"):
        done = tools.instance("--explain", tools.encrypt(b"Hello, KMS!"), port=port)
    assert (done.returncode, done.stdout) == (0, b"Hello, KMS!\n")
    told = done.stderr.decode().strip()
    section = PAGE.read_text("utf-8").partition("\n## What --explain shows\n")[2]
    shown = section.partition("```text\n")[2].partition("\n```")[0]
    assert _without_accidents(shown) == _without_accidents(told), told


def _without_accidents(text: str) -> str:
    """Return ``text`` without digests, ids, sizes, ports, times, and their padding, which differ from run to run."""
    same = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{64,96}\b", "ID", text)
    same = re.sub(r" +[\d.,]+ ms", " TIME", same)
    return re.sub(r"[\d,]+ bytes", "SIZE", re.sub(r"vsock://1:\d+", "vsock://1:PORT", same))
