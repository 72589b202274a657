"""Connected and listening sockets for every kind of address, with timeouts and with errors that say what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from vsock_wire.errors import CONNECT, TransportError
from vsock_wire.net.address import CID_ANY, Address, TcpAddress, UnixAddress, VsockAddress

VSOCK_DEVICE = "/dev/vsock"
LISTEN_BACKLOG = 512
"""Connections that the kernel queues until they are accepted. kmstool in C queues 1, and of three concurrent callers it
drops the third."""
_UCRED = "iII"
"""struct ucred of <sys/socket.h>: pid, uid and gid."""
MIN_TIMEOUT_S = 0.001
"""Shortest timeout in seconds; for a socket, 0 means not to wait at all."""

_CONNECT_HINTS = {
    errno.ECONNREFUSED: "nothing is listening there: check that the program is running and uses this port",
    errno.ECONNRESET: "nothing is listening there: check that the program is running and uses this CID and port",
    errno.ENOENT: "nothing is listening there: check that the program is running and uses this path",
    errno.ENODEV: "no vsock peer has that CID: check it, and that the enclave runs, with nitro-cli describe-enclaves",
    errno.ETIMEDOUT: "no answer: check the CID, and that the enclave runs, with nitro-cli describe-enclaves",
    errno.EAGAIN: "its connection queue is full: try again",
    errno.EHOSTUNREACH: "no route to that CID: check it, and that the enclave runs, with nitro-cli describe-enclaves",
}
_SOCKET_HINTS = {
    errno.EPERM: "vsock is blocked here: under Docker, pass --security-opt seccomp=FILE with a profile that allows it",
    errno.EACCES: "not permitted: check the user's permissions and the container's seccomp profile",
    errno.EAFNOSUPPORT: "this kernel has no vsock: load the modules vsock and vhost_vsock, or use unix: or tcp://",
    errno.EADDRINUSE: "another program is already listening there: stop it or choose another port",
    errno.EADDRNOTAVAIL: "this machine does not have that address: omit the CID to listen on all its CIDs",
}


def connect_socket(address: Address, *, timeout_s: float) -> socket.socket:
    """Connect to ``address``; the caller closes the socket.

    Args:
        address: what to connect to; a TCP host name is resolved, and all its addresses are tried in turn.
        timeout_s: seconds to connect (for TCP: to each address); afterwards the socket's timeout.

    Raises:
        TransportError: the connection failed or timed out.
    """
    try:
        if isinstance(address, TcpAddress):
            sock = socket.create_connection((address.host, address.port), timeout_s)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        sock = _new_socket(address)
        with closed_on_error(sock):
            sock.settimeout(timeout_s)
            sock.connect(_socket_name(address))
        return sock
    except (OSError, UnicodeError) as error:  # UnicodeError: a host name that IDNA cannot encode
        raise _transport_error(CONNECT, address, error, _CONNECT_HINTS | _SOCKET_HINTS) from error


def listen_socket(address: Address, *, backlog: int = LISTEN_BACKLOG) -> socket.socket:
    """Listen on ``address``; the caller closes the socket.

    Creates a unix socket with mode 0600, and replaces a socket file on which nothing listens any more.

    Raises:
        TransportError: the address cannot be bound.
    """
    try:
        if isinstance(address, TcpAddress):
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            return socket.create_server((address.host, address.port), family=family, backlog=backlog)
        sock = _new_socket(address)
        with closed_on_error(sock):
            if isinstance(address, UnixAddress):
                _bind_unix(sock, address)
            else:
                sock.bind(_socket_name(address))
            sock.listen(backlog)
        return sock
    except (OSError, UnicodeError) as error:
        raise _transport_error("listen on", address, error, _SOCKET_HINTS) from error


def local_vsock_cid() -> int | None:
    """Return this machine's CID, or None if the kernel does not tell.

    Raises:
        TransportError: this machine cannot create vsock sockets.
    """
    try:
        _new_socket(VsockAddress(CID_ANY, 0)).close()
    except OSError as error:
        raise _transport_error("open", "a vsock socket", error, _SOCKET_HINTS) from error
    try:
        device = os.open(VSOCK_DEVICE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # a container may have vsock but not this device
        return None
    import fcntl  # noqa: PLC0415 - does not exist on Windows, where this line is not reached

    try:
        (cid,) = struct.unpack("I", fcntl.ioctl(device, socket.IOCTL_VM_SOCKETS_GET_LOCAL_CID, bytes(4)))
    except OSError:
        return None
    finally:
        os.close(device)
    return None if cid == CID_ANY else int(cid)


def peer_uid(sock: socket.socket) -> int:
    """Return the user who listens on the other end of a connected unix socket: the process that called ``listen``.

    Source: unix(7), SO_PEERCRED.
    """
    _, uid, _ = struct.unpack(_UCRED, sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(_UCRED)))
    return int(uid)


def close_quietly(sock: socket.socket) -> None:
    """Shut down and close ``sock``; a peer that has already closed the connection is not an error."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def bound_address(sock: socket.socket, wanted: Address) -> Address:
    """Return the actual address of a listening socket: the kernel chooses the port if ``wanted`` has port 0."""
    if isinstance(wanted, TcpAddress):
        host, port = sock.getsockname()[:2]
        return TcpAddress(host, port)
    return wanted


def _new_socket(address: VsockAddress | UnixAddress) -> socket.socket:
    return socket.socket(_family("AF_UNIX" if isinstance(address, UnixAddress) else "AF_VSOCK"), socket.SOCK_STREAM)


def _family(name: str) -> int:
    """Return an address family that Python does not have on every system."""
    family: int | None = getattr(socket, name, None)
    if family is None:
        raise OSError(errno.EAFNOSUPPORT, f"this Python has no {name}")
    return family


def _socket_name(address: VsockAddress | UnixAddress) -> str | tuple[int, int]:
    return address.path if isinstance(address, UnixAddress) else (address.cid, address.port)


def _bind_unix(sock: socket.socket, address: UnixAddress) -> None:
    _remove_stale(address)
    old_mask = os.umask(0o177)
    try:
        sock.bind(address.path)
    finally:
        os.umask(old_mask)


def _remove_stale(address: UnixAddress) -> None:
    """Remove a socket file whose listener has died; leave anything else in place, so that bind fails."""
    path = Path(address.path)
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a listener with a full backlog is alive, and must not make this wait
        try:
            probe.connect(address.path)
        except BlockingIOError:
            return
        except ConnectionRefusedError:
            path.unlink()


@contextlib.contextmanager
def closed_on_error(sock: socket.socket) -> Iterator[None]:
    """Close ``sock`` if the block raises anything; otherwise leave it open."""
    try:
        yield
    except BaseException:
        sock.close()
        raise


def _transport_error(
    operation: str, address: Address | str, error: OSError | UnicodeError, hints: dict[int, str]
) -> TransportError:
    if isinstance(error, UnicodeError):
        return TransportError(operation, address, "not a valid host name")
    if isinstance(error, TimeoutError):
        return TransportError(operation, address, "no answer in time", hint=hints.get(errno.ETIMEDOUT))
    reason = (error.strerror or str(error)).lower()
    return TransportError(operation, address, reason, hint=hints.get(error.errno or 0))
