"""Moves bulk data inside the kernel: ``splice`` into a pipe and out of it, so that it never enters this process.

Measurements decided when this is used: docs/explanation/proxy-relay.md.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os

from vsock_proxy.errors import ProxyError

PIPE_BYTES = 1_048_576
"""Size of a pipe, and so the most that one direction holds in the kernel for a slow reader."""
MAX_PIPES = 32
"""Most pipes, so that bulk transfers leave descriptors and memory for new connections; further transfers copy."""

_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class CannotSpliceError(ProxyError):
    """The kernel cannot splice this kind of socket."""


class Pipe:
    """A pipe for one direction of a connection.

    Raises:
        OSError: no pipe is available, or MAX_PIPES are in use.
    """

    __slots__ = ("_read_end", "_write_end", "held_bytes")

    in_use = 0

    def __init__(self) -> None:
        if Pipe.in_use >= MAX_PIPES:
            raise OSError(errno.EMFILE, "all pipes are in use")
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        Pipe.in_use += 1
        self.held_bytes = 0
        with contextlib.suppress(OSError):  # the user's pipe memory is used up: the default of 64 KiB works too
            fcntl.fcntl(self._write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def take(self, source: int) -> int:
        """Take at most PIPE_BYTES from a socket; return how many, 0 at end of stream.

        Raises:
            CannotSpliceError: the kernel cannot.
            OSError: the socket failed, or has nothing (BlockingIOError).
        """
        try:
            self.held_bytes = os.splice(source, self._write_end, PIPE_BYTES, flags=_FLAGS)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise CannotSpliceError("this kernel cannot splice from this kind of socket") from error
            raise
        return self.held_bytes

    def give(self, sink: int) -> int:
        """Give as many held bytes as a socket accepts; return how many; raises as ``take``."""
        try:
            count = os.splice(self._read_end, sink, self.held_bytes, flags=_FLAGS)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise CannotSpliceError("this kernel cannot splice to this kind of socket") from error
            raise
        self.held_bytes -= count
        return count

    def empty(self) -> bytes:
        """Return what is held, which is no longer in the pipe then."""
        held = os.read(self._read_end, self.held_bytes) if self.held_bytes else b""
        self.held_bytes = 0
        return held

    def close(self) -> None:
        """Close both ends, and drop what is held."""
        os.close(self._read_end)
        os.close(self._write_end)
        Pipe.in_use -= 1
