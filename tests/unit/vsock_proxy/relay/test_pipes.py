"""Pipes for bulk data: what they hold, how many there are, and kernels that cannot splice."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator

import pytest

from vsock_proxy.relay.pipes import MAX_PIPES, CannotSpliceError, Pipe


class Line:
    """A source with a sender at its far end, and a sink with a reader at its far end; all non-blocking."""

    def __init__(self) -> None:
        self.sender, self.source = socket.socketpair()
        self.sink, self.reader = socket.socketpair()
        self.sockets = (self.sender, self.source, self.sink, self.reader)
        for sock in self.sockets:
            sock.setblocking(False)


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    for sock in line.sockets:
        sock.close()
    assert Pipe.in_use == 0


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture
def splice_fails(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make every splice fail from now on with the given error."""

    def refuse(number: int) -> None:
        def fail(*_: object, **__: object) -> int:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "splice", fail)

    return refuse


def test_bytes_go_through_and_end_of_stream_is_zero(line: Line, pipe: Pipe) -> None:
    line.sender.send(b"last")
    line.sender.shutdown(socket.SHUT_WR)
    assert (pipe.take(line.source.fileno()), pipe.held_bytes) == (4, 4)
    assert (pipe.give(line.sink.fileno()), pipe.held_bytes) == (4, 0)
    assert (pipe.take(line.source.fileno()), pipe.held_bytes) == (0, 0)
    assert line.reader.recv(10) == b"last"


def test_source_without_bytes_raises_and_holds_nothing(line: Line, pipe: Pipe) -> None:
    with pytest.raises(BlockingIOError):
        pipe.take(line.source.fileno())
    assert pipe.held_bytes == 0


def test_full_sink_takes_nothing_and_what_is_held_stays(line: Line, pipe: Pipe) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            line.sink.send(bytes(65_536))
    line.sender.send(b"held back")
    pipe.take(line.source.fileno())
    assert (pipe.give(line.sink.fileno()), pipe.held_bytes) == (0, 9)
    assert (pipe.empty(), pipe.held_bytes, pipe.empty()) == (b"held back", 0, b"")


def test_pipes_are_limited_and_closing_one_frees_a_place(line: Line) -> None:
    held = [Pipe() for _ in range(MAX_PIPES)]
    with pytest.raises(OSError, match="all pipes are in use") as caught:
        Pipe()
    assert caught.value.errno == errno.EMFILE
    held.pop().close()
    held.append(Pipe())
    line.sender.send(b"still moved")
    assert held[-1].take(line.source.fileno()) == 11
    for pipe in held:
        pipe.close()


def test_pipe_that_the_kernel_does_not_give_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pipe2", fail)
        with pytest.raises(OSError, match="Too many open files"):
            Pipe()
    assert Pipe.in_use == 0


def test_default_pipe_size_works_when_the_users_pipe_memory_is_used_up(
    monkeypatch: pytest.MonkeyPatch, line: Line
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("fcntl.fcntl", fail)
    pipe = Pipe()
    line.sender.send(b"in a small pipe")
    pipe.take(line.source.fileno())
    assert pipe.give(line.sink.fileno()) == 15
    pipe.close()


def test_sockets_that_cannot_be_spliced_are_told_apart_from_those_that_fail(
    line: Line, pipe: Pipe, splice_fails: Callable[[int], None]
) -> None:
    line.sender.send(b"in the pipe already")
    pipe.take(line.source.fileno())
    splice_fails(errno.EINVAL)
    with pytest.raises(CannotSpliceError):
        pipe.give(line.sink.fileno())
    with pytest.raises(CannotSpliceError):
        pipe.take(line.source.fileno())
    splice_fails(errno.ECONNRESET)
    with pytest.raises(ConnectionResetError):
        pipe.give(line.sink.fileno())
    with pytest.raises(ConnectionResetError):
        pipe.take(line.source.fileno())
