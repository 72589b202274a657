"""Access to the Nitro Security Module through /dev/nsm, or without Nitro hardware through a simulator's unix socket."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
import weakref
from collections import deque
from pathlib import Path
from typing import Protocol, Self

from urllib3.util import wait_for_read

from enclave_tool.arguments import expect_type
from enclave_tool.errors import NsmError
from enclave_tool.nsm import codec as nsm
from enclave_tool.nsm.codec import NsmDescription
from vsock_wire.errors import InputError, TransportError, quoted
from vsock_wire.net.address import UnixAddress, parse_address
from vsock_wire.net.sockets import connect_socket

NSM_DEVICE = "/dev/nsm"
NSM_IOCTL = 0xC020_0A00
"""_IOWR(0x0A, 0, struct nsm_raw), two iovecs, on 64-bit machines. Source: <uapi/linux/nsm.h>."""
SOCKET_TIMEOUT_S = 10.0
"""Timeout of the unix socket. The device has none: it responds within milliseconds or not at all."""

_LENGTH = struct.Struct(">I")
_NO_WHOLE_ANSWER = "the simulated module's response is missing or truncated"


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _NsmRaw(ctypes.Structure):
    _fields_ = (("request", _IoVec), ("response", _IoVec))


class NsmCarrier(Protocol):
    """Sends a request to the module and returns its response."""

    def exchange(self, request: bytes) -> bytes:
        """Return the response to ``request``.

        Raises:
            OSError, TransportError: there was no response.
        """
        ...

    def close(self) -> None:
        """Release the module."""
        ...


class _DeviceCarrier:
    """The character device. Threads can call it concurrently, because the driver serves one call at a time."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def exchange(self, request: bytes) -> bytes:
        request_buffer = ctypes.create_string_buffer(request, len(request))
        response_buffer = ctypes.create_string_buffer(nsm.MAX_RESPONSE_BYTES)
        raw = _NsmRaw(
            _IoVec(ctypes.addressof(request_buffer), len(request)),
            _IoVec(ctypes.addressof(response_buffer), nsm.MAX_RESPONSE_BYTES),
        )
        fcntl.ioctl(self._fd, NSM_IOCTL, raw)
        return response_buffer.raw[: raw.response.length]

    def close(self) -> None:
        os.close(self._fd)


class _SocketCarrier:
    """A unix socket. Each request and each response follows its length, which has 4 bytes, big-endian.

    Keeps connections for later exchanges, as many as there were concurrent exchanges.
    """

    def __init__(self, address: UnixAddress) -> None:
        self._address = address
        self._kept: deque[tuple[int, socket.socket]] = deque()  # each with the ID of the process that may use it
        weakref.finalize(self, _close_all, self._kept)

    def exchange(self, request: bytes) -> bytes:
        kept = self._take_kept()
        if kept is not None:
            try:
                return self._exchange_on(kept, request)
            except _ConnectionEndedError:
                # The simulator closed it after the check in _take_kept. It is safe to send the request again: none of
                # them changes the module.
                pass
        return self._exchange_on(connect_socket(self._address, timeout_s=SOCKET_TIMEOUT_S), request)

    def close(self) -> None:
        _close_all(self._kept)

    def _exchange_on(self, sock: socket.socket, request: bytes) -> bytes:
        try:
            _send_request(sock, request)
            response = _receive_response(sock)
        except BaseException:
            sock.close()  # data that still arrives would not belong to the next request
            raise
        self._kept.append((os.getpid(), sock))
        return response

    def _take_kept(self) -> socket.socket | None:
        while self._kept:
            try:
                pid, sock = self._kept.pop()
            except IndexError:  # another thread took it
                return None
            # Skip connections inherited from the parent process. One with data to read has ended or is out of step.
            if pid == os.getpid() and not wait_for_read(sock, 0):
                return sock
            sock.close()
        return None


def _close_all(kept: deque[tuple[int, socket.socket]]) -> None:
    while kept:
        kept.pop()[1].close()


class _ConnectionEndedError(OSError):
    """The simulator closed the connection before the first byte of a response."""


def _send_request(sock: socket.socket, request: bytes) -> None:
    try:
        sock.sendall(_LENGTH.pack(len(request)) + request)
    except (BrokenPipeError, ConnectionResetError) as error:
        raise _ConnectionEndedError(error.errno, error.strerror) from error


def _receive_response(sock: socket.socket) -> bytes:
    try:
        first = sock.recv(_LENGTH.size)
    except ConnectionResetError as error:  # it was closed before our request was read
        raise _ConnectionEndedError(error.errno, error.strerror) from error
    if not first:
        raise _ConnectionEndedError(errno.EPROTO, _NO_WHOLE_ANSWER)
    header = first + _receive(sock, _LENGTH.size - len(first))
    length = _LENGTH.unpack(header)[0] if len(header) == _LENGTH.size else 0
    response = _receive(sock, min(length, nsm.MAX_RESPONSE_BYTES))
    if not response or len(response) != length:
        raise OSError(errno.EPROTO, _NO_WHOLE_ANSWER)
    return response


def _receive(sock: socket.socket, size: int) -> bytes:
    """Return the next ``size`` bytes, or fewer if the stream ends first."""
    data = b""
    while len(data) < size and (chunk := sock.recv(size - len(data))):
        data += chunk
    return data


class Nsm:
    """The module, with its requests as methods; ``open_nsm`` returns one. Threads can share it.

    Args:
        carrier: sends requests to the module.
        is_device: see the attribute.

    Attributes:
        is_device: whether this is a character device rather than the simulator's socket.
    """

    def __init__(self, carrier: NsmCarrier, *, is_device: bool) -> None:
        self._carrier = carrier
        self.is_device = is_device

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the device."""
        self._carrier.close()

    def attestation_document(
        self, *, public_key_der: bytes | None = None, user_data: bytes | None = None, nonce: bytes | None = None
    ) -> bytes:
        """Return a new attestation document (COSE_Sign1) that carries the given fields.

        Raises:
            ValueError: a field is longer than the module accepts (``nsm.encode_attestation_request``).
            NsmError: the module refused or did not respond.
        """
        request = nsm.encode_attestation_request(public_key_der=public_key_der, user_data=user_data, nonce=nonce)
        return nsm.decode_attestation_response(self._exchange(nsm.ATTESTATION, request))

    def random(self, count_bytes: int) -> bytes:
        """Return ``count_bytes`` random bytes from the module, with as many requests as needed.

        Raises:
            NsmError: the module refused or did not respond.
        """
        gathered = b""
        while len(gathered) < count_bytes:
            gathered += nsm.decode_random_response(self._exchange(nsm.GET_RANDOM, nsm.encode_random_request()))
        return gathered[:count_bytes]

    def describe(self) -> NsmDescription:
        """Return the module's description.

        Raises:
            NsmError: the module refused or did not respond.
        """
        return nsm.decode_describe_response(self._exchange(nsm.DESCRIBE, nsm.encode_describe_request()))

    def _exchange(self, name: str, request: bytes) -> bytes:
        try:
            return self._carrier.exchange(request)
        except OSError as error:
            raise NsmError(name, (error.strerror or str(error)).lower()) from error
        except TransportError as error:
            raise NsmError(name, str(error), hint=error.hint) from error


def open_nsm(location: str | Path | UnixAddress = NSM_DEVICE) -> Nsm:
    """Open the Nitro Security Module.

    Args:
        location: a character device, or the unix socket of a simulator. As text: an absolute path or ``unix:PATH``.

    Raises:
        TypeError: ``location`` has the wrong type.
        InputError: the text is malformed.
        NsmError: the device does not exist or cannot be opened.
    """
    if isinstance(location, str):
        location = parse_nsm_location(location)
    expect_type("location", location, (Path, UnixAddress), f"a path such as {NSM_DEVICE}, or unix:PATH")
    if isinstance(location, UnixAddress):
        return Nsm(_SocketCarrier(location), is_device=False)
    try:
        return Nsm(_DeviceCarrier(str(location)), is_device=True)
    except OSError as error:
        raise NsmError(
            f"open {location}",
            (error.strerror or str(error)).lower(),
            hint=(
                "only a Nitro Enclave has this device; elsewhere, run kmstool-sim and pass the --nsm unix:PATH that it"
                " prints"
            ),
        ) from error


def parse_nsm_location(text: str, *, subject: str = "NSM") -> Path | UnixAddress:
    """Return the device's path, or the address of a simulator's socket.

    Args:
        text: an absolute path or ``unix:PATH``.
        subject: what errors call it.

    Raises:
        InputError: ``text`` is neither of these.
    """
    if text.startswith("/"):
        return Path(text)
    address = parse_address(text)
    if not isinstance(address, UnixAddress):
        raise InputError(f"{subject}: expected the path of a device or unix:PATH, got {quoted(text)}")
    return address
