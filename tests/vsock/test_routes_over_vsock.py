"""CONNECT and ingress routes of vsock-proxy with real AF_VSOCK on the enclave's side."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

import tests.support.proxy.scripted_resolver
from nitro_simulator.account import SimulatedAccount
from nitro_simulator.deployment import processes
from tests.support.kms.second_region import second_region
from tests.support.proxy.processes import READY, Proxy, Upstream, ask, echo, read_all, read_exactly
from tests.support.vsock.ports import CID_LOCAL, free_vsock_port
from vsock_wire.net.address import VsockAddress
from vsock_wire.net.sockets import connect_socket
from vsock_wire.protocol.json_codec import encode_base64

TIMEOUT_S = 60.0
MIB = 1_048_576
OK = b"HTTP/1.1 200 Connection established\r\n\r\n"
Received: TypeAlias = "queue.SimpleQueue[bytes]"
OTHER_REGION = "eu-west-1"


@contextlib.contextmanager
def proxy_with(config: str, *options: str, environment: dict[str, str] | None = None) -> Iterator[Proxy]:
    with tempfile.TemporaryDirectory(prefix="vp") as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(config)
        with Proxy("--config", str(file), *options, environment=environment) as proxy:
            proxy.wait_for(READY, timeout_s=TIMEOUT_S)
            yield proxy


@contextlib.contextmanager
def connect_route(upstream_port: int) -> Iterator[int]:
    port = free_vsock_port()
    config = (
        f"allowlist: [{{address: 127.0.0.1, port: {upstream_port}}}]\nroutes: [{{listen: {port}, connect: true}}]\n"
    )
    with proxy_with(config):
        yield port


@contextlib.contextmanager
def ingress_route(enclave_port: int, options: str = "") -> Iterator[tuple[Proxy, int]]:
    config = (
        f"allowlist: []\nenclaves: [{{cid: {CID_LOCAL}, port: {enclave_port}}}]\n"
        f"routes: [{{listen: 'tcp://127.0.0.1:0', to: 'vsock://{CID_LOCAL}:{enclave_port}'{options}}}]\n"
    )
    with proxy_with(config) as proxy:
        yield proxy, int(proxy.wait_for(READY).partition("tcp://127.0.0.1:")[2].split()[0])


def request(port: int, target: str) -> socket.socket:
    client = connect_socket(VsockAddress(CID_LOCAL, port), timeout_s=TIMEOUT_S)
    client.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    return client


def answer_at_end(client: socket.socket) -> None:
    client.sendall(read_all(client)[::-1])


def end_then_read(received: Received) -> Callable[[socket.socket], None]:
    def serve(client: socket.socket) -> None:
        client.sendall(b"greeting")
        client.shutdown(socket.SHUT_WR)
        received.put(read_all(client))

    return serve


class TestConnect:
    def test_bulk_goes_both_ways_and_a_client_that_half_closes_reads_the_answer(self) -> None:
        data = os.urandom(MIB)
        with (
            Upstream(answer_at_end) as upstream,
            connect_route(upstream.port) as port,
            request(port, f"127.0.0.1:{upstream.port}") as client,
        ):
            assert read_exactly(client, len(OK)) == OK
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == data[::-1]

    def test_destination_that_half_closes_still_reads_the_client(self) -> None:
        received: Received = queue.SimpleQueue()
        with Upstream(end_then_read(received)) as upstream, connect_route(upstream.port) as port:
            with request(port, f"127.0.0.1:{upstream.port}") as client:
                assert read_exactly(client, len(OK)) == OK
                assert read_all(client) == b"greeting"
                client.sendall(b"question")
            assert received.get(timeout=TIMEOUT_S) == b"question"

    @pytest.mark.parametrize(
        ("target", "status"),
        [("evil.example:443", 403), ("127.0.0.1:1", 403), ("[::1]:443", 403), ("u@127.0.0.1:1", 400)],
    )
    def test_answer_of_a_refusal_arrives_whole(self, target: str, status: int) -> None:
        with Upstream(echo) as upstream, connect_route(upstream.port) as port, request(port, target) as client:
            answer = read_all(client)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {status} ".encode())
        assert f"Content-Length: {len(body)}".encode() in head


class TestIngress:
    def test_client_that_half_closes_reads_the_enclaves_answer(self) -> None:
        data = os.urandom(MIB)
        port = free_vsock_port()
        with (
            Upstream(answer_at_end, address=VsockAddress(CID_LOCAL, port)),
            ingress_route(port) as (_, tcp_port),
            socket.create_connection(("127.0.0.1", tcp_port), TIMEOUT_S) as client,
        ):
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == data[::-1]

    def test_enclave_that_half_closes_still_reads_the_client(self) -> None:
        received: Received = queue.SimpleQueue()
        port = free_vsock_port()
        with (
            Upstream(end_then_read(received), address=VsockAddress(CID_LOCAL, port)),
            ingress_route(port) as (_, tcp_port),
        ):
            with socket.create_connection(("127.0.0.1", tcp_port), TIMEOUT_S) as client:
                assert read_all(client) == b"greeting"
                client.sendall(b"question")
            assert received.get(timeout=TIMEOUT_S) == b"question"

    def test_enclave_hears_who_is_calling(self) -> None:
        port = free_vsock_port()
        with (
            Upstream(echo, address=VsockAddress(CID_LOCAL, port)),
            ingress_route(port, ", proxy_protocol: v2") as (_, tcp_port),
            socket.create_connection(("127.0.0.1", tcp_port), TIMEOUT_S) as client,
        ):
            client.sendall(b"hello")
            header = read_exactly(client, 28)
            assert header[:16] == bytes.fromhex("0d0a0d0a000d0a515549540a2111000c")
            assert header[16:24] == socket.inet_aton("127.0.0.1") * 2
            assert header[24:] == b"".join(
                name[1].to_bytes(2, "big") for name in (client.getsockname(), client.getpeername())
            )
            assert read_exactly(client, 5) == b"hello"

    def test_enclave_that_does_not_listen_is_named_in_the_log(self) -> None:
        port = free_vsock_port()
        with (
            ingress_route(port) as (proxy, tcp_port),
            socket.create_connection(("127.0.0.1", tcp_port), TIMEOUT_S) as client,
        ):
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
            assert f"connect to vsock://{CID_LOCAL}:{port}: " in proxy.wait_for("refused", timeout_s=TIMEOUT_S)

    def test_clients_in_turn_and_at_once_are_all_served(self) -> None:
        port = free_vsock_port()
        with (
            Upstream(echo, address=VsockAddress(CID_LOCAL, port)),
            ingress_route(port) as (_, tcp_port),
            contextlib.ExitStack() as stack,
        ):
            way = ("127.0.0.1", tcp_port)
            clients = [stack.enter_context(socket.create_connection(way, TIMEOUT_S)) for _ in range(20)]
            for number, client in enumerate(clients):
                assert ask(client, str(number).encode()) == str(number).encode()


def test_one_enclave_reaches_kms_in_two_regions_through_one_port() -> None:
    """Names and ports are those of AWS: the guest's own resolver leads to 127.0.0.2 and 127.0.0.3, port 443."""
    proxy_port, enclave_port = free_vsock_port(), free_vsock_port()
    with contextlib.ExitStack() as stack:
        account = stack.enter_context(SimulatedAccount(Path(stack.enter_context(_short_folder()))))
        other = stack.enter_context(second_region(account, OTHER_REGION))
        hosts = account.directory / "hosts"
        hosts.write_text(f"{account.kms_host} 127.0.0.2\n{other.host} 127.0.0.3\n")
        for address, server in (("127.0.0.2", account.kms_server), ("127.0.0.3", other.server)):
            config = f"allowlist: [{{address: 127.0.0.1, port: {server.port}}}]\n"
            stack.enter_context(proxy_with(config, f"tcp://{address}:443", "127.0.0.1", str(server.port)))
        config = (
            f"allowlist: [{{address: {account.kms_host}, port: 443}}, {{address: {other.host}, port: 443}}]\n"
            f"routes: [{{listen: {proxy_port}, connect: true}}]\n"
        )
        resolver = str(Path(tests.support.proxy.scripted_resolver.__path__[0]))
        proxy = stack.enter_context(
            proxy_with(config, environment={"PYTHONPATH": resolver, "SCRIPTED_HOSTS": str(hosts)})
        )
        nsm = ["--nsm", str(account.enclave.nsm_address), "--allow-non-vsock", "--ca-file", str(account.ca_file)]
        way = ["--parent-cid", str(CID_LOCAL), "--proxy-port", str(proxy_port), "--proxy-connect"]
        stack.enter_context(
            processes.running(
                ["kmstool-enclave", *nsm, *way, "--port", str(enclave_port)],
                listens_on=VsockAddress(CID_LOCAL, enclave_port),
                log_file=account.directory / "enclave.log",
            )
        )
        for region, key in ((account.region, account.key), (OTHER_REGION, other.key)):
            ciphertext = encode_base64(key.seal(region.encode(), encryption_context={}))
            done = processes.run_instance(
                ["--cid", str(CID_LOCAL), "--port", str(enclave_port), "--region", region, ciphertext],
                environment=account.imds_environment,
                stdin=b"",
            )
            assert (done.returncode, done.stdout, done.stderr) == (0, region.encode() + b"\n", b"")
        assert f"{account.kms_host} resolves to 127.0.0.2" in proxy.log
        assert f"{other.host} resolves to 127.0.0.3" in proxy.log


def _short_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="kms-")
