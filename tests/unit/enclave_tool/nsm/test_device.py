from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cbor2
import pytest

from enclave_tool.errors import NsmError
from enclave_tool.nsm.device import Nsm, _SocketCarrier, open_nsm
from nitro_simulator.clock import utc_now
from nitro_simulator.nsm.authority import AttestationAuthority
from nitro_simulator.nsm.server import NsmServer
from nitro_simulator.nsm.service import SimulatedNsm
from tests.support.enclave.scripted_nsm import ScriptedNsm, attestation_answer
from vsock_wire.errors import TransportError
from vsock_wire.net.address import UnixAddress
from vsock_wire.net.sockets import close_quietly, listen_socket

SIMULATED = SimulatedNsm(AttestationAuthority.create(at=utc_now()), module_id="i-0123456789abcdef0-enc0123456789abcdef")
DOCUMENT = bytes(range(256)) * 18
"""About as long as a real one."""


class FakeDriver:
    """Reads and writes the two iovecs as the kernel's driver does, through the same pointers."""

    def __init__(self) -> None:
        self.answer: bytes = attestation_answer(DOCUMENT)
        self.error: OSError | None = None
        self.requests: list[bytes] = []
        self.numbers: list[int] = []
        self.capacities: list[int] = []
        self._lock = threading.Lock()

    def __call__(self, fd: int, number: int, raw: Any) -> int:
        os.fstat(fd)
        view = memoryview(raw).cast("B")
        assert not view.readonly
        request_at, request_size, response_at, response_size = struct.unpack("=QQQQ", view)
        with self._lock:
            self.numbers.append(number)
            self.capacities.append(response_size)
            self.requests.append(ctypes.string_at(request_at, request_size))
            if self.error is not None:
                raise self.error
            assert len(self.answer) <= response_size
            ctypes.memmove(response_at, self.answer, len(self.answer))
        struct.pack_into("=Q", view, 24, len(self.answer))
        return 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    driver = FakeDriver()
    monkeypatch.setattr(fcntl, "ioctl", driver)
    return driver


@pytest.fixture
def device(driver: FakeDriver, tmp_path: Path) -> Iterator[Nsm]:
    path = tmp_path / "nsm"
    path.touch()
    with open_nsm(path) as nsm:
        assert nsm.is_device
        yield nsm
    assert set(driver.numbers) <= {0xC020_0A00}


class TestDevice:
    def test_request_reaches_the_driver_and_its_answer_comes_back(self, device: Nsm, driver: FakeDriver) -> None:
        assert device.attestation_document(public_key_der=b"key", user_data=b"u", nonce=b"n") == DOCUMENT
        assert driver.numbers == [0xC020_0A00]
        assert driver.capacities == [0x3000]
        assert cbor2.loads(driver.requests[0]) == {
            "Attestation": {"user_data": b"u", "nonce": b"n", "public_key": b"key"}
        }

    def test_answer_of_the_largest_size_is_read_whole(self, device: Nsm, driver: FakeDriver) -> None:
        empty = len(attestation_answer(bytes(12_000))) - 12_000
        document = os.urandom(0x3000 - empty)
        driver.answer = attestation_answer(document)
        assert len(driver.answer) == 0x3000
        assert device.attestation_document() == document

    def test_shorter_answer_after_a_longer_one_has_none_of_its_bytes(self, device: Nsm, driver: FakeDriver) -> None:
        device.attestation_document()
        driver.answer = attestation_answer(b"short")
        assert device.attestation_document() == b"short"

    def test_random_collects_as_many_responses_as_needed(self, device: Nsm, driver: FakeDriver) -> None:
        driver.answer = cbor2.dumps({"GetRandom": {"random": b"r" * 100}})
        assert device.random(250) == b"r" * 250
        assert driver.requests == [cbor2.dumps("GetRandom")] * 3

    @pytest.mark.parametrize("number", [errno.EIO, errno.EMSGSIZE, errno.EFAULT, errno.ETIMEDOUT])
    def test_error_of_the_driver_is_an_nsm_error(self, device: Nsm, driver: FakeDriver, number: int) -> None:
        driver.error = OSError(number, os.strerror(number))
        with pytest.raises(NsmError) as caught:
            device.attestation_document()
        assert str(caught.value) == f"NSM Attestation: {os.strerror(number).lower()}"

    def test_many_threads_get_their_own_answers(self, device: Nsm, driver: FakeDriver) -> None:
        results: list[bytes] = []
        threads = [threading.Thread(target=lambda: results.append(device.attestation_document())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [DOCUMENT] * 8
        assert len(driver.requests) == 8

    def test_oversize_field_never_reaches_the_driver(self, device: Nsm, driver: FakeDriver) -> None:
        with pytest.raises(ValueError, match="nonce"):
            device.attestation_document(nonce=bytes(1_025))
        assert driver.requests == []

    def test_close_closes_the_descriptor(self, driver: FakeDriver, tmp_path: Path) -> None:
        (tmp_path / "nsm").touch()
        before = len(list(Path("/proc/self/fd").iterdir()))
        with open_nsm(tmp_path / "nsm"):
            assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
        assert len(list(Path("/proc/self/fd").iterdir())) == before
        assert driver.requests == []


class TestOpen:
    def test_missing_device_is_an_nsm_error_with_a_hint(self, tmp_path: Path) -> None:
        with pytest.raises(NsmError, match=r"^NSM open .*: no such file or directory$") as caught:
            open_nsm(tmp_path / "nsm")
        assert "Nitro Enclave" in (caught.value.hint or "")

    def test_folder_is_an_nsm_error(self, tmp_path: Path) -> None:
        with pytest.raises(NsmError, match="is a directory"):
            open_nsm(tmp_path)

    def test_file_other_than_a_device_fails_closed(self, tmp_path: Path) -> None:
        (tmp_path / "nsm").write_bytes(attestation_answer(b"forged"))
        with open_nsm(tmp_path / "nsm") as nsm, pytest.raises(NsmError):
            nsm.attestation_document()


class ScriptedSimulator:
    """Accepts one length-prefixed request per connection, and responds with the test's bytes."""

    def __init__(self, address: UnixAddress, answer: Callable[[bytes], bytes]) -> None:
        self.requests: list[bytes] = []
        self._answer = answer
        self._listener = listen_socket(address)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        close_quietly(self._listener)
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock, sock.makefile("rb") as stream:
                size = struct.unpack(">I", stream.read(4))[0]
                request = stream.read(size)
                self.requests.append(request)
                sock.sendall(self._answer(request))


@pytest.fixture
def simulate(short_dir: Path) -> Iterator[Callable[[Callable[[bytes], bytes]], tuple[Nsm, ScriptedSimulator]]]:
    simulators: list[ScriptedSimulator] = []

    def start(answer: Callable[[bytes], bytes]) -> tuple[Nsm, ScriptedSimulator]:
        address = UnixAddress(str(short_dir / "nsm"))
        simulators.append(ScriptedSimulator(address, answer))
        return open_nsm(address), simulators[-1]

    yield start
    for simulator in simulators:
        simulator.close()


Simulate = Callable[[Callable[[bytes], bytes]], tuple[Nsm, ScriptedSimulator]]


def count_connections(server: NsmServer) -> int:
    return len(server._clients)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def framed(answer: bytes) -> bytes:
    return struct.pack(">I", len(answer)) + answer


def serve_once_and_end_with_the_next_request(listener: socket.socket, reads_the_request: bool) -> int:
    """Answer one request, wait for another, and end the connection; return how many came after the first."""
    sock, _ = listener.accept()
    with sock:
        sock.sendall(framed(SIMULATED.answer(receive_request(sock))))
        has_another = bool(sock.recv(1, socket.MSG_PEEK))  # by now the client has checked the connection and sent
        if has_another and reads_the_request:
            receive_request(sock)
    return int(has_another)


def serve_once_and_break_off_the_next_response(listener: socket.socket) -> None:
    sock, _ = listener.accept()
    with sock:
        sock.sendall(framed(SIMULATED.answer(receive_request(sock))))
        receive_request(sock)
        sock.sendall(framed(bytes(100))[:50])


def receive_request(sock: socket.socket) -> bytes:
    with sock.makefile("rb", buffering=0) as stream:
        (size,) = struct.unpack(">I", stream.read(4) or b"")
        return stream.read(size) or b""


class TestUnixCarrier:
    def test_carries_the_same_bytes_after_their_length(self, simulate: Simulate) -> None:
        nsm, simulator = simulate(lambda _: framed(attestation_answer(DOCUMENT)))
        with nsm:
            assert not nsm.is_device
            assert nsm.attestation_document(nonce=b"n") == DOCUMENT
        assert cbor2.loads(simulator.requests[0])["Attestation"]["nonce"] == b"n"

    def test_is_used_again_and_again(self, simulate: Simulate) -> None:
        nsm, simulator = simulate(lambda _: framed(cbor2.dumps({"GetRandom": {"random": b"r" * 64}})))
        with nsm:
            assert nsm.random(256) == b"r" * 256
        assert len(simulator.requests) == 4

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"\0",
            b"\0\0\0",
            b"\0\0\0\5",
            b"\0\0\0\5abcd",
            b"\0\0\x30\1" + bytes(0x3001),
            b"\xff\xff\xff\xff" + bytes(100),
        ],
    )
    def test_broken_off_or_overlong_answer_is_an_nsm_error(self, simulate: Simulate, answer: bytes) -> None:
        nsm, _ = simulate(lambda _: answer)
        with pytest.raises(NsmError, match=r"^NSM DescribeNSM: .*missing or truncated"):
            nsm.describe()

    @pytest.mark.parametrize("answer", [b"", b"{}", b"\xa1\x65Error\x6fInvalidArgument"])
    def test_malformed_answer_is_an_nsm_error(self, simulate: Simulate, answer: bytes) -> None:
        nsm, _ = simulate(lambda _: framed(answer))
        with nsm, pytest.raises(NsmError):
            nsm.describe()

    def test_connection_is_kept_until_it_is_closed(self, short_dir: Path) -> None:
        with NsmServer(SIMULATED, UnixAddress(str(short_dir / "nsm"))) as server:
            with open_nsm(server.address) as nsm:
                for _ in range(3):
                    nsm.describe()
                assert count_connections(server) == 1
            wait_until(lambda: count_connections(server) == 0)

    def test_connection_of_a_module_that_nobody_holds_is_closed(self, short_dir: Path) -> None:
        with NsmServer(SIMULATED, UnixAddress(str(short_dir / "nsm"))) as server:
            open_nsm(server.address).describe()
            wait_until(lambda: count_connections(server) == 0)

    def test_each_of_several_threads_gets_the_answer_to_its_own_request(self, short_dir: Path) -> None:
        with NsmServer(SIMULATED, UnixAddress(str(short_dir / "nsm"))) as server, open_nsm(server.address) as nsm:
            nonces = [bytes([number]) for number in range(200)]
            with ThreadPoolExecutor(8) as threads:
                documents = list(threads.map(lambda nonce: nsm.attestation_document(nonce=nonce), nonces))
            assert [cbor2.loads(cbor2.loads(document)[2])["nonce"] for document in documents] == nonces
            assert 1 <= count_connections(server) <= 8

    def test_restarted_module_is_called_on_a_new_connection(self, short_dir: Path) -> None:
        address = UnixAddress(str(short_dir / "nsm"))
        with contextlib.ExitStack() as stack:
            with NsmServer(SIMULATED, address):
                nsm = stack.enter_context(open_nsm(address))
                nsm.describe()
            with NsmServer(SIMULATED, address):
                nsm.describe()

    def test_second_response_to_a_request_is_not_taken_for_the_next_one(self, short_dir: Path) -> None:
        ours, theirs = socket.socketpair()
        carrier = _SocketCarrier(UnixAddress(str(short_dir / "nobody")))
        carrier._kept.append((os.getpid(), ours))
        with theirs:
            theirs.sendall(framed(b"late"))
            with pytest.raises(TransportError, match="no such file"):  # so it connects again
                carrier.exchange(b"request")

    def test_a_fork_does_not_use_the_connections_of_its_parent(self, short_dir: Path) -> None:
        with NsmServer(SIMULATED, UnixAddress(str(short_dir / "nsm"))) as server, open_nsm(server.address) as nsm:
            nsm.describe()
            carrier = nsm._carrier
            assert isinstance(carrier, _SocketCarrier)
            ((_, sock),) = carrier._kept
            carrier._kept[0] = (os.getppid(), sock)  # as a fork sees it
            nsm.describe()
            assert sock.fileno() == -1
            assert len(carrier._kept) == 1

    def test_nobody_listening_is_an_nsm_error(self, short_dir: Path) -> None:
        nsm = open_nsm(UnixAddress(str(short_dir / "nobody")))
        for call in (nsm.describe, nsm.attestation_document, lambda: nsm.random(1)):
            with pytest.raises(NsmError) as caught:
                call()
            assert "nobody" in str(caught.value) or "no such file" in str(caught.value)

    @pytest.mark.parametrize("reads_the_request", [True, False])
    def test_kept_connection_that_ends_without_a_response_is_replaced(
        self, short_dir: Path, reads_the_request: bool
    ) -> None:
        address = UnixAddress(str(short_dir / "nsm"))
        with contextlib.closing(listen_socket(address)) as listener, open_nsm(address) as nsm:
            listener.settimeout(5.0)
            with ThreadPoolExecutor(1) as threads:
                first = threads.submit(serve_once_and_end_with_the_next_request, listener, reads_the_request)
                nsm.describe()
                second = threads.submit(serve_once_and_end_with_the_next_request, listener, reads_the_request)
                assert nsm.describe().module_id  # sent on the first connection, then again on the second
                nsm.close()
            assert [first.result(), second.result()] == [1, 0]

    def test_response_that_breaks_off_on_a_kept_connection_is_an_nsm_error(self, short_dir: Path) -> None:
        address = UnixAddress(str(short_dir / "nsm"))
        with contextlib.closing(listen_socket(address)) as listener, open_nsm(address) as nsm:
            with ThreadPoolExecutor(1) as threads:
                serving = threads.submit(serve_once_and_break_off_the_next_response, listener)
                nsm.describe()
                with pytest.raises(NsmError, match="missing or truncated"):
                    nsm.describe()
                serving.result()
            listener.settimeout(0)
            with pytest.raises(BlockingIOError):  # the request was not sent again
                listener.accept()

    def test_connection_that_breaks_while_writing_is_an_nsm_error(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ours, theirs = socket.socketpair()
        theirs.close()
        monkeypatch.setattr("enclave_tool.nsm.device.connect_socket", lambda *_, **__: ours)
        with pytest.raises(NsmError, match="broken pipe"):
            open_nsm(UnixAddress(str(short_dir / "x"))).describe()


def test_closing_an_nsm_closes_its_carrier() -> None:
    nsm = ScriptedNsm()
    with nsm:
        assert not nsm.carrier.is_closed
    assert nsm.carrier.is_closed
