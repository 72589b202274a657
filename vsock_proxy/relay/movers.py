"""Two ways to move bytes from one socket to another: through this process's memory, or inside the kernel.

Measurements decided which is used when: docs/explanation/proxy-relay.md.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from typing import Protocol

from vsock_proxy.errors import ProxyError

CHUNK_BYTES = 262_144
"""Maximum bytes taken at once, and so the most that one direction holds for a slow reader."""
MAX_PIPES = 32
"""Maximum number of pipes, so that bulk transfers leave descriptors for new connections; further transfers copy."""

_SPLICE_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK

_scratch = memoryview(bytearray(CHUNK_BYTES))  # shared: its content is given or copied away before the next take


class SpliceError(ProxyError):
    """The kernel cannot splice this kind of socket.

    Attributes:
        taken: bytes that had already left the source.
    """

    def __init__(self, taken: bytes) -> None:
        super().__init__("this kernel cannot splice this kind of socket")
        self.taken = taken


class Mover(Protocol):
    """Takes bytes from a source, holds them, and gives them to a sink; errors are those of the socket."""

    @property
    def held_bytes(self) -> int:
        """Number of bytes taken and not given yet."""

    def take(self, source: socket.socket) -> int:
        """Take at most CHUNK_BYTES and return how many, 0 at end of stream; call it only when nothing is held."""

    def give(self, sink: socket.socket) -> int:
        """Give as many held bytes as the sink accepts; return how many."""

    def close(self) -> None:
        """Drop the held bytes."""


class CopyMover:
    """Moves bytes by ``recv_into`` and ``send``; uses its own memory only while it holds bytes for a slow reader."""

    def __init__(self, held: bytes = b"") -> None:
        self._held = memoryview(held)

    @property
    def held_bytes(self) -> int:
        """See Mover."""
        return len(self._held)

    def take(self, source: socket.socket) -> int:
        """See Mover."""
        count = source.recv_into(_scratch)
        self._held = _scratch[:count]
        return count

    def give(self, sink: socket.socket) -> int:
        """See Mover."""
        try:
            count = sink.send(self._held)
        except BlockingIOError:
            count = 0
        self._held = self._held[count:]
        if self._held.obj is _scratch.obj and self._held:
            self._held = memoryview(bytes(self._held))
        return count

    def close(self) -> None:
        """See Mover."""
        self._held = memoryview(b"")


class SpliceMover:
    """Moves bytes by ``splice`` through a pipe, so that they never enter this process.

    Raises:
        OSError: no pipe is available, or MAX_PIPES are in use.
    """

    _open_pipes = 0

    def __init__(self) -> None:
        if SpliceMover._open_pipes >= MAX_PIPES:
            raise OSError(errno.EMFILE, "all pipes are in use")
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        SpliceMover._open_pipes += 1
        self._held = 0
        with contextlib.suppress(OSError):  # the user's pipe memory is used up: the default of 64 KiB works too
            fcntl.fcntl(self._write_end, fcntl.F_SETPIPE_SZ, CHUNK_BYTES)

    @property
    def held_bytes(self) -> int:
        """See Mover."""
        return self._held

    def take(self, source: socket.socket) -> int:
        """See Mover; raises SpliceError if the source cannot be spliced."""
        try:
            self._held = os.splice(source.fileno(), self._write_end, CHUNK_BYTES, flags=_SPLICE_FLAGS)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise SpliceError(b"") from error
            raise
        return self._held

    def give(self, sink: socket.socket) -> int:
        """See Mover; raises SpliceError if the sink cannot be spliced."""
        try:
            count = os.splice(self._read_end, sink.fileno(), self._held, flags=_SPLICE_FLAGS)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise SpliceError(os.read(self._read_end, self._held)) from error
            raise
        self._held -= count
        return count

    def close(self) -> None:
        """See Mover."""
        os.close(self._read_end)
        os.close(self._write_end)
        SpliceMover._open_pipes -= 1
