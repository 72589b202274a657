"""Connect guests by vsock, each with its own CID, through a vhost-user socket device for each guest.

vhost-device-vsock 0.3.0 also connects guests, but it truncates packets that are larger than the receiver's buffers
(3.7 KiB in Linux 6.1), and it is not compatible with three vhost-user messages of Linux's virtio_uml.

Sources: VIRTIO 1.2, section 5.10 (Socket Device); QEMU, docs/interop/vhost-user.rst; Linux, drivers/virtio_uml.c.
"""

from __future__ import annotations

import contextlib
import functools
import os
import selectors
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from tests.support.vsock.virtqueue import Buffer, GuestMemory, Region, Virtqueue

RECEIVE, TRANSMIT = 0, 1
"""Queues of a socket device. The third is for events such as a migration, which do not occur here."""
FEATURES = 1 << 32 | 1 << 30
"""VIRTIO_F_VERSION_1, and VHOST_USER_F_PROTOCOL_FEATURES."""
PROTOCOL_FEATURES = 1 << 3 | 1 << 5 | 1 << 9
"""REPLY_ACK, BACKEND_REQ, CONFIG. The second is never used, but without it Linux 6.1 uses interrupt 0, the timer's."""

MESSAGE = struct.Struct("<III")
"""request, flags, size of the payload."""
MAX_DESCRIPTORS = 8
FLAG_NEED_REPLY, FLAGS_REPLY = 8, 1 | 4
GET_FEATURES, SET_MEM_TABLE, SET_VRING_NUM, SET_VRING_ADDR = 1, 5, 8, 9
SET_VRING_KICK, SET_VRING_CALL, GET_PROTOCOL_FEATURES, GET_CONFIG = 12, 13, 15, 24

HEADER = struct.Struct("<QQIIIHHIII")
OPERATION_RESET = 3
TYPE_STREAM = 1


class Packet(NamedTuple):
    """A vsock packet: the fields of its header in order, and the data."""

    source_cid: int
    target_cid: int
    source_port: int
    target_port: int
    size_bytes: int
    type: int
    operation: int
    flags: int
    buffer_bytes: int
    forwarded_bytes: int
    data: bytes = b""

    def encode(self) -> bytes:
        """Return its bytes in a buffer."""
        return HEADER.pack(*self[:-1]) + self.data

    def split(self, capacity_bytes: int) -> tuple[Packet, Packet | None]:
        """Return the part that fits into a buffer, and the rest."""
        capacity_bytes -= HEADER.size
        first, rest = self.data[:capacity_bytes], self.data[capacity_bytes:]
        return self._with(first), self._with(rest) if rest else None

    def refusal(self) -> Packet:
        """Return the answer to a packet for a CID that nobody has."""
        return Packet(
            self.target_cid,
            self.source_cid,
            self.target_port,
            self.source_port,
            0,
            TYPE_STREAM,
            OPERATION_RESET,
            0,
            0,
            0,
        )

    def _with(self, data: bytes) -> Packet:
        return self._replace(size_bytes=len(data), data=data)


def parse_packet(data: bytes) -> Packet:
    """Return the packet in a buffer."""
    header = Packet(*HEADER.unpack_from(data))
    return header._replace(data=data[HEADER.size : HEADER.size + header.size_bytes])


class VsockSwitch:
    """Runs the devices in a thread.

    Args:
        folder: the folder for the sockets; its path must be short.
        cids: the guests' CIDs.
    """

    def __init__(self, folder: Path, cids: Sequence[int]) -> None:
        self._folder = folder
        self._selector = selectors.DefaultSelector()
        self._devices: dict[int, Device] = {}
        self._stop, stopped = socket.socketpair()
        self._selector.register(stopped, selectors.EVENT_READ)
        for cid in cids:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(self.device(cid)))
            listener.listen()
            self._devices[cid] = Device(cid, self._route, self._selector)
            self._selector.register(listener, selectors.EVENT_READ, self._devices[cid].accept)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()

    def device(self, cid: int) -> Path:
        """Return the socket that a guest's kernel connects to for its vsock."""
        return self._folder / str(cid)

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                key.data(key.fileobj)

    def _route(self, packet: Packet) -> None:
        target = self._devices.get(packet.target_cid)
        if target is not None and target.is_ready:
            target.deliver(packet)
        elif packet.operation != OPERATION_RESET:
            self._devices[packet.source_cid].deliver(packet.refusal())


class Device:
    """The socket device of one guest.

    Args:
        cid: of the guest.
        route: takes what it sends.
        selector: registers what the device waits for.
    """

    def __init__(self, cid: int, route: Callable[[Packet], None], selector: selectors.BaseSelector) -> None:
        self._cid = cid
        self._route = route
        self._selector = selector
        self._memory: GuestMemory | None = None
        self._sizes: dict[int, int] = {}
        self._queues: dict[int, Virtqueue] = {}
        self._calls: dict[int, int] = {}
        self._waiting: deque[Packet] = deque()

    @property
    def is_ready(self) -> bool:
        """Whether the guest can receive a packet."""
        return RECEIVE in self._queues

    def accept(self, listener: socket.socket) -> None:
        """Accept the connection of the guest's kernel."""
        connection, _ = listener.accept()
        self._selector.register(connection, selectors.EVENT_READ, self._answer)

    def deliver(self, packet: Packet) -> None:
        """Deliver a packet to the guest, or keep it until the guest has a buffer for it."""
        self._waiting.append(packet)
        self._fill_buffers()

    def _fill_buffers(self, _: object = None) -> None:
        queue = self._queues[RECEIVE]
        for buffer in queue.take() if self._waiting else ():
            part, rest = self._waiting.popleft().split(buffer.capacity_bytes)
            if rest is not None:
                self._waiting.appendleft(rest)
            queue.give_back(buffer, _fill(buffer, part.encode()))
            if not self._waiting:
                break
        self._notify(RECEIVE)

    def _send_all(self) -> None:
        queue = self._queues[TRANSMIT]
        for buffer in queue.take():
            packet = parse_packet(buffer.readable)
            queue.give_back(buffer, 0)
            if packet.source_cid == self._cid:
                self._route(packet)
        self._notify(TRANSMIT)

    def _kicked(self, number: int, descriptor: int) -> None:
        os.read(descriptor, 8)
        if number in self._queues and number == TRANSMIT:
            self._send_all()
        elif number in self._queues and number == RECEIVE:
            self._fill_buffers()

    def _notify(self, number: int) -> None:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):  # full: the guest has yet to see an earlier one
            os.write(self._calls[number], struct.pack("=Q", 1))

    def _answer(self, connection: socket.socket) -> None:
        header, descriptors, _, _ = socket.recv_fds(connection, MESSAGE.size, MAX_DESCRIPTORS)
        if not header:
            self._selector.unregister(connection)
            connection.close()
            self._queues.clear()
            return
        request, flags, size_bytes = MESSAGE.unpack(header)
        payload = connection.recv(size_bytes, socket.MSG_WAITALL) if size_bytes else b""
        answer = self._handle(request, payload, descriptors)
        if not answer and flags & FLAG_NEED_REPLY:
            answer = bytes(8)  # done
        if answer:
            connection.sendall(MESSAGE.pack(request, FLAGS_REPLY, len(answer)) + answer)

    def _handle(self, request: int, payload: bytes, descriptors: Sequence[int]) -> bytes:
        """Handle a message of the guest's kernel, and return the reply; other messages need no action."""
        if request == GET_FEATURES:
            return struct.pack("<Q", FEATURES)
        if request == GET_PROTOCOL_FEATURES:
            return struct.pack("<Q", PROTOCOL_FEATURES)
        if request == GET_CONFIG:
            return payload[:12] + struct.pack("<Q", self._cid)
        if request == SET_MEM_TABLE:
            *region, offset = struct.unpack_from("<QQQQ", payload, 8)
            self._memory = GuestMemory(Region(*region), descriptors[0], offset)
        elif request == SET_VRING_NUM:
            number, self._sizes[number] = struct.unpack("<II", payload)
        elif request == SET_VRING_ADDR:
            number, _, table, used, available, _ = struct.unpack("<IIQQQQ", payload)
            assert self._memory is not None
            self._queues[number] = Virtqueue(
                self._memory, size=self._sizes[number], descriptors=table, used=used, available=available
            )
        elif request == SET_VRING_KICK:
            kick = functools.partial(self._kicked, payload[0])
            self._selector.register(descriptors[0], selectors.EVENT_READ, kick)
        elif request == SET_VRING_CALL:
            self._calls[payload[0]] = descriptors[0]
        return b""


def _fill(buffer: Buffer, data: bytes) -> int:
    """Write to a buffer; return the number of bytes."""
    written_bytes = 0
    for part in buffer.writable:
        piece = data[written_bytes : written_bytes + len(part)]
        part[: len(piece)] = piece
        written_bytes += len(piece)
    return written_bytes
