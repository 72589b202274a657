from __future__ import annotations

import errno
import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from vsock_wire.errors import TransportError
from vsock_wire.net import sockets
from vsock_wire.net.address import CID_ANY, TcpAddress, UnixAddress, VsockAddress
from vsock_wire.net.sockets import (
    LISTEN_BACKLOG,
    bound_address,
    close_quietly,
    connect_socket,
    listen_socket,
    local_vsock_cid,
)

TIMEOUT_S = 10.0
"""Passing tests never wait this long."""


def in_time(function: Callable[[], socket.socket]) -> socket.socket | BaseException:
    """Return what ``function`` returns or raises; fail if it hangs."""
    results: list[socket.socket | BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001 - passed to the test
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(5)
    assert results, "hangs"
    return results[0]


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class TestUnix:
    def test_client_reaches_listener(self, short_dir: Path) -> None:
        address = UnixAddress(str(short_dir / "s"))
        with listen_socket(address) as listener, connect_socket(address, timeout_s=TIMEOUT_S) as client:
            server, _ = listener.accept()
            with server:
                client.sendall(b"x")
                assert server.recv(1) == b"x"
                assert client.gettimeout() == TIMEOUT_S
                assert bound_address(listener, address) == address

    @pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
    def test_socket_file_is_only_for_its_owner_whatever_the_umask(self, short_dir: Path, mask: int) -> None:
        path = short_dir / "s"
        old_mask = os.umask(mask)
        try:
            with listen_socket(UnixAddress(str(path))):
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
                assert os.umask(mask) == mask, "the umask of the process was changed"
        finally:
            os.umask(old_mask)

    def test_stale_socket_file_is_replaced(self, short_dir: Path) -> None:
        address = UnixAddress(str(short_dir / "s"))
        listen_socket(address).close()
        assert Path(address.path).exists()
        with listen_socket(address), connect_socket(address, timeout_s=TIMEOUT_S):
            pass

    def test_live_socket_is_not_replaced(self, short_dir: Path) -> None:
        address = UnixAddress(str(short_dir / "s"))
        with listen_socket(address) as first:
            with pytest.raises(TransportError, match=r"^listen on unix:.*address already in use$") as caught:
                listen_socket(address)
            assert caught.value.hint is not None
            with connect_socket(address, timeout_s=TIMEOUT_S) as client:
                first.accept()[0].close()  # the probe
                accepted, _ = first.accept()
                with accepted:
                    client.sendall(b"x")
                    assert accepted.recv(1) == b"x"

    def test_live_socket_with_a_full_backlog_is_neither_replaced_nor_waited_for(self, short_dir: Path) -> None:
        address = UnixAddress(str(short_dir / "s"))
        waiting: list[socket.socket] = []
        is_connected = True
        with listen_socket(address, backlog=0):
            while not waiting or is_connected:
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].setblocking(False)
                is_connected = waiting[-1].connect_ex(address.path) == 0
            error = in_time(lambda: listen_socket(address))
            for sock in waiting:
                sock.close()
        assert isinstance(error, TransportError)
        assert str(error).endswith("address already in use")

    def test_file_other_than_a_socket_is_not_removed(self, short_dir: Path) -> None:
        path = short_dir / "s"
        path.write_text("precious")
        with pytest.raises(TransportError, match="address already in use"):
            listen_socket(UnixAddress(str(path)))
        assert path.read_text() == "precious"

    def test_socket_of_another_kind_is_not_removed(self, short_dir: Path) -> None:
        path = short_dir / "s"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
            datagrams.bind(str(path))
            with pytest.raises(TransportError):
                listen_socket(UnixAddress(str(path)))
            assert path.exists()

    def test_missing_folder_is_a_transport_error(self, short_dir: Path) -> None:
        with pytest.raises(TransportError, match=r"^listen on unix:.*no such file or directory$"):
            listen_socket(UnixAddress(str(short_dir / "no" / "s")))

    @pytest.mark.parametrize("is_there", [True, False])
    def test_nobody_listening_is_an_error_with_a_hint(self, short_dir: Path, *, is_there: bool) -> None:
        address = UnixAddress(str(short_dir / "s"))
        if is_there:
            listen_socket(address).close()
        with pytest.raises(TransportError) as caught:
            connect_socket(address, timeout_s=TIMEOUT_S)
        assert str(caught.value).startswith(f"connect to {address}: ")
        assert (caught.value.hint or "").startswith("nothing is listening there")

    def test_connect_that_cannot_be_accepted_ends_in_time(self, short_dir: Path) -> None:
        address = UnixAddress(str(short_dir / "s"))
        with (
            listen_socket(address, backlog=0),
            connect_socket(address, timeout_s=0.05),
            pytest.raises(TransportError, match=r"^connect to unix:"),
        ):
            connect_socket(address, timeout_s=0.05)

    def test_failed_connect_and_listen_leave_no_descriptor_open(self, short_dir: Path) -> None:
        before = open_descriptors()
        for function in (lambda a: connect_socket(a, timeout_s=1), listen_socket):
            with pytest.raises(TransportError):
                function(UnixAddress(str(short_dir / "no" / "s")))
        assert open_descriptors() == before


class TestTcp:
    @pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
    def test_client_reaches_listener_on_the_port_the_kernel_chose(self, host: str) -> None:
        with listen_socket(TcpAddress(host, 0)) as listener:
            address = bound_address(listener, TcpAddress(host, 0))
            assert isinstance(address, TcpAddress)
            assert address.port > 0
            with connect_socket(address, timeout_s=TIMEOUT_S) as client:
                assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert client.gettimeout() == TIMEOUT_S

    def test_refused_connection_is_an_error_with_a_hint(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with pytest.raises(TransportError, match="connection refused") as caught:
            connect_socket(TcpAddress("127.0.0.1", port), timeout_s=TIMEOUT_S)
        assert caught.value.hint is not None

    @pytest.mark.parametrize("host", ["a" * 64, "a..b", ".a", "no such host.invalid"])
    def test_impossible_host_name_is_a_transport_error(self, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
        real = socket.getaddrinfo

        def look_up(name: str, *args: object, **options: object) -> object:
            if name.endswith(".invalid"):
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return real(name, *args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        for function in (lambda a: connect_socket(a, timeout_s=1), listen_socket):
            with pytest.raises(TransportError) as caught:
                function(TcpAddress(host, 1))
            assert str(caught.value).partition(": ")[2]

    def test_port_in_use_is_a_transport_error(self) -> None:
        with listen_socket(TcpAddress("127.0.0.1", 0)) as listener:
            address = bound_address(listener, TcpAddress("127.0.0.1", 0))
            with pytest.raises(TransportError, match=r"^listen on tcp://127\.0\.0\.1:.*address already in use"):
                listen_socket(address)


class TestVsock:
    """Works without a hypervisor: checks the arguments of the socket calls, and how their errors are reported."""

    class FakeSocket(socket.socket):
        error: OSError | None = None
        calls: list[tuple[str, object]] = []  # noqa: RUF012 - of the one instance a test makes

        def __init__(self, family: int, kind: int) -> None:
            assert (family, kind) == (40, socket.SOCK_STREAM)
            super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)

        def connect(self, name: object) -> None:
            self._call("connect", name)

        def bind(self, name: object) -> None:
            self._call("bind", name)

        def listen(self, backlog: int = 0) -> None:
            self._call("listen", backlog)

        def _call(self, what: str, argument: object) -> None:
            self.calls.append((what, argument))
            if self.error is not None:
                raise self.error

    @pytest.fixture(autouse=True)
    def fake(self, monkeypatch: pytest.MonkeyPatch) -> type[FakeSocket]:
        monkeypatch.setattr(socket, "AF_VSOCK", 40, raising=False)
        monkeypatch.setattr(self.FakeSocket, "calls", [])
        monkeypatch.setattr(socket, "socket", self.FakeSocket)
        return self.FakeSocket

    def test_connect_and_bind_are_given_cid_and_port(self, fake: type[FakeSocket]) -> None:
        connect_socket(VsockAddress(16, 3000), timeout_s=1).close()
        listen_socket(VsockAddress(CID_ANY, 3000)).close()
        assert fake.calls == [("connect", (16, 3000)), ("bind", (0xFFFF_FFFF, 3000)), ("listen", LISTEN_BACKLOG)]

    @pytest.mark.parametrize(
        ("number", "hint"),
        [
            (errno.ENODEV, "no vsock peer has that CID"),
            (errno.ECONNRESET, "nothing is listening there"),
            (errno.ETIMEDOUT, "no answer"),
            (errno.EHOSTUNREACH, "no route to that CID"),
            (errno.EPERM, "vsock is blocked here"),
            (errno.EAFNOSUPPORT, "this kernel has no vsock"),
        ],
    )
    def test_error_of_connect_has_its_hint(
        self, fake: type[FakeSocket], monkeypatch: pytest.MonkeyPatch, number: int, hint: str
    ) -> None:
        monkeypatch.setattr(fake, "error", OSError(number, os.strerror(number)))
        with pytest.raises(TransportError) as caught:
            connect_socket(VsockAddress(16, 3000), timeout_s=1)
        assert str(caught.value).startswith("connect to vsock://16:3000: ")
        assert (caught.value.hint or "").startswith(hint)

    @pytest.mark.parametrize(
        ("number", "hint"), [(errno.EADDRINUSE, "another program"), (errno.EADDRNOTAVAIL, "this mach")]
    )
    def test_error_of_listen_has_its_hint(
        self, fake: type[FakeSocket], monkeypatch: pytest.MonkeyPatch, number: int, hint: str
    ) -> None:
        monkeypatch.setattr(fake, "error", OSError(number, os.strerror(number)))
        with pytest.raises(TransportError) as caught:
            listen_socket(VsockAddress(3, 3000))
        assert (caught.value.hint or "").startswith(hint)

    def test_python_without_vsock_is_a_transport_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(socket, "AF_VSOCK")
        with pytest.raises(TransportError, match="no af_vsock") as caught:
            connect_socket(VsockAddress(16, 3000), timeout_s=1)
        assert "no vsock" in (caught.value.hint or "")


def test_close_quietly_accepts_a_socket_that_the_peer_has_closed() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    close_quietly(ours)
    close_quietly(ours)
    assert ours.fileno() == -1


class TestLocalVsockCid:
    def test_is_an_error_where_python_has_no_vsock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(socket, "AF_VSOCK")
        with pytest.raises(TransportError, match=r"^open a vsock socket: this python has no af_vsock$") as caught:
            local_vsock_cid()
        assert caught.value.hint is not None
        assert "load the modules vsock" in caught.value.hint

    def test_is_an_error_with_a_hint_where_a_profile_forbids_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def forbidden(*_: object) -> socket.socket:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(sockets, "_new_socket", forbidden)
        with pytest.raises(TransportError, match=r"^open a vsock socket: operation not permitted$") as caught:
            local_vsock_cid()
        assert "seccomp" in str(caught.value.hint)

    @pytest.mark.parametrize("device", ["missing", "file"])
    def test_is_unknown_if_the_device_does_not_report_it(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str
    ) -> None:
        tmp_path.joinpath("file").write_bytes(b"no device")
        monkeypatch.setattr(sockets, "_new_socket", lambda _address: socket.socket(socket.AF_UNIX))
        monkeypatch.setattr(sockets, "VSOCK_DEVICE", str(tmp_path / device))
        assert local_vsock_cid() is None
