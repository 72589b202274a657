"""Both ways to move bytes, over sockets of this process: they differ only in cost."""

from __future__ import annotations

import errno
import os
import random
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from vsock_proxy.relay import movers
from vsock_proxy.relay.movers import CHUNK_BYTES, MAX_PIPES, CopyMover, Mover, SpliceError, SpliceMover

MakeMover = Callable[[], Mover]

both = pytest.mark.parametrize("make", [CopyMover, SpliceMover])


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        return near, listener.accept()[0]


class Line:
    """A source with a sender at its far end, and a sink with a reader at its far end; all non-blocking."""

    def __init__(self, *, tcp: bool = False) -> None:
        self.sender, self.source = tcp_pair() if tcp else socket.socketpair()
        self.sink, self.reader = socket.socketpair()
        for sock in self.sockets:
            sock.setblocking(False)

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        return self.sender, self.source, self.sink, self.reader

    def send(self, data: bytes) -> None:
        """Send all of ``data``, which must fit into the socket's buffer."""
        assert self.sender.send(data) == len(data)

    def has_bytes(self) -> bool:
        """Wait until the source has bytes: bytes sent over TCP may not have arrived yet."""
        return bool(select.select([self.source], [], [], 10)[0])

    def fill_sink(self) -> int:
        """Write into the sink until it accepts no more; return how many bytes that took."""
        count = 0
        try:
            while True:
                count += self.sink.send(bytes(65_536))
        except BlockingIOError:
            return count

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += self.reader.recv(count - len(data))
        return data


@pytest.fixture
def line() -> Iterator[Line]:
    yield from make_line(tcp=False)


@pytest.fixture(params=[False, True], ids=["unix", "tcp"])
def any_line(request: pytest.FixtureRequest) -> Iterator[Line]:
    yield from make_line(tcp=request.param)


def make_line(*, tcp: bool) -> Iterator[Line]:
    pipes = SpliceMover._open_pipes
    line = Line(tcp=tcp)
    with ExitStack() as stack:
        for sock in line.sockets:
            stack.enter_context(sock)
        yield line
    assert SpliceMover._open_pipes == pipes


@pytest.fixture
def splice_refuses(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make the kernel refuse every splice from now on with the given error."""

    def refuse(number: int) -> None:
        def fail(*_: object, **__: object) -> int:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "splice", fail)

    return refuse


@both
def test_bytes_of_any_sizes_arrive_whole_and_in_order(make: MakeMover, any_line: Line) -> None:
    data = random.Random(7).randbytes(3 * CHUNK_BYTES)  # noqa: S311 - any bytes will do
    sizes = iter([1, 2, 4_095, 4_096, 4_097, 65_536, 100_000, 30_000] * 10)
    mover = make()
    sent = taken = given = 0
    received = b""
    while sent < len(data):
        part = data[sent : sent + next(sizes)]
        part = part[: any_line.sender.send(part)]
        sent += len(part)
        while taken < sent:
            assert any_line.has_bytes()
            taken += mover.take(any_line.source)
            while mover.held_bytes:
                given += mover.give(any_line.sink)
                received += any_line.read(given - len(received))
    mover.close()
    assert received == data


@both
def test_end_of_the_stream_is_zero_bytes_and_holds_nothing(make: MakeMover, line: Line) -> None:
    line.send(b"last")
    line.sender.shutdown(socket.SHUT_WR)
    mover = make()
    assert (mover.take(line.source), mover.held_bytes) == (4, 4)
    assert (mover.give(line.sink), mover.held_bytes) == (4, 0)
    assert (mover.take(line.source), mover.held_bytes) == (0, 0)
    mover.close()
    assert line.read(4) == b"last"
    line.reader.send(b"the other direction goes on")
    assert line.sink.recv(100) == b"the other direction goes on"


@both
def test_source_without_bytes_raises_and_holds_nothing(make: MakeMover, line: Line) -> None:
    mover = make()
    with pytest.raises(BlockingIOError):
        mover.take(line.source)
    assert mover.held_bytes == 0
    line.send(b"later")
    assert mover.take(line.source) == 5
    mover.close()


@both
def test_full_sink_takes_nothing_and_what_is_held_stays(make: MakeMover, line: Line) -> None:
    before = line.fill_sink()
    line.send(b"held back")
    mover = make()
    mover.take(line.source)
    assert (mover.give(line.sink), mover.held_bytes) == (0, 9)
    line.read(before)
    assert (mover.give(line.sink), mover.held_bytes) == (9, 0)
    mover.close()
    assert line.read(9) == b"held back"


@both
def test_sink_that_takes_a_part_gets_the_rest_later(make: MakeMover, line: Line) -> None:
    data = random.Random(8).randbytes(150_000)  # noqa: S311 - any bytes will do
    line.sink.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    line.send(data)
    mover = make()
    taken = mover.take(line.source)
    given = mover.give(line.sink)
    assert 0 < given < taken
    assert mover.held_bytes == taken - given
    received = line.read(given)
    while mover.held_bytes:
        received += line.read(mover.give(line.sink))
    mover.close()
    assert received == data[:taken]


@both
def test_reader_that_is_gone_is_an_error_of_the_sink(make: MakeMover, line: Line) -> None:
    line.send(b"for nobody")
    mover = make()
    mover.take(line.source)
    line.reader.close()
    with pytest.raises(BrokenPipeError):
        mover.give(line.sink)
    mover.close()


@both
def test_at_most_one_chunk_is_taken(make: MakeMover, line: Line) -> None:
    line.sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * CHUNK_BYTES)
    sent = line.sender.send(bytes(2 * CHUNK_BYTES))
    assert sent > CHUNK_BYTES
    mover = make()
    assert 0 < mover.take(line.source) <= CHUNK_BYTES
    mover.close()


def test_copied_rest_survives_another_relays_chunk(line: Line) -> None:
    """The chunk is shared: the next relay must not overwrite what a slow reader has left of it."""
    data = os.urandom(100_000)
    line.sink.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    line.send(data)
    mover = CopyMover()
    taken = mover.take(line.source)
    given = mover.give(line.sink)
    assert 0 < given < taken
    movers._scratch[:] = bytes(CHUNK_BYTES)
    received = line.reader.recv(CHUNK_BYTES)
    while mover.held_bytes:
        mover.give(line.sink)
        received += line.reader.recv(CHUNK_BYTES)
    assert received == data[:taken]


def test_copying_continues_with_what_splicing_has_taken(line: Line) -> None:
    mover = CopyMover(b"out of a pipe")
    assert mover.held_bytes == 13
    assert mover.give(line.sink) == 13
    assert line.read(13) == b"out of a pipe"


def test_closed_copy_forgets_what_it_held(line: Line) -> None:
    mover = CopyMover(b"secret")
    mover.close()
    assert (mover.held_bytes, mover.give(line.sink)) == (0, 0)


def test_pipes_are_limited_and_closing_one_frees_a_place(line: Line) -> None:
    held = [SpliceMover() for _ in range(MAX_PIPES)]
    with pytest.raises(OSError, match="all pipes are in use") as caught:
        SpliceMover()
    assert caught.value.errno == errno.EMFILE
    held.pop().close()
    held.append(SpliceMover())
    line.send(b"still moved")
    assert held[-1].take(line.source) == 11
    for mover in held:
        mover.close()


def test_pipe_that_the_kernel_does_not_give_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pipe2", fail)
        before = SpliceMover._open_pipes
        with pytest.raises(OSError, match="Too many open files"):
            SpliceMover()
    assert SpliceMover._open_pipes == before


def test_closed_pipe_is_closed_at_both_ends() -> None:
    mover = SpliceMover()
    ends = (mover._read_end, mover._write_end)
    mover.close()
    for end in ends:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(end)


def test_default_pipe_size_works_when_the_users_pipe_memory_is_used_up(
    monkeypatch: pytest.MonkeyPatch, line: Line
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("fcntl.fcntl", fail)
    mover = SpliceMover()
    line.send(b"in a small pipe")
    mover.take(line.source)
    assert mover.give(line.sink) == 15
    mover.close()
    assert line.read(15) == b"in a small pipe"


def test_source_that_cannot_be_spliced_raises_and_keeps_its_bytes(
    line: Line, splice_refuses: Callable[[int], None]
) -> None:
    line.send(b"untouched")
    mover = SpliceMover()
    splice_refuses(errno.EINVAL)
    with pytest.raises(SpliceError) as caught:
        mover.take(line.source)
    mover.close()
    assert caught.value.taken == b""
    assert line.source.recv(100) == b"untouched"


def test_sink_that_cannot_be_spliced_hands_back_what_was_taken(
    line: Line, splice_refuses: Callable[[int], None]
) -> None:
    line.send(b"in the pipe already")
    mover = SpliceMover()
    mover.take(line.source)
    splice_refuses(errno.EINVAL)
    with pytest.raises(SpliceError) as caught:
        mover.give(line.sink)
    mover.close()
    assert caught.value.taken == b"in the pipe already"


def test_other_errors_of_splice_are_those_of_the_socket(line: Line, splice_refuses: Callable[[int], None]) -> None:
    line.send(b"x")
    mover = SpliceMover()
    mover.take(line.source)
    splice_refuses(errno.ECONNRESET)
    with pytest.raises(ConnectionResetError):
        mover.take(line.source)
    with pytest.raises(ConnectionResetError):
        mover.give(line.sink)
    mover.close()
