"""The proxy's loop: turns, what asyncio gets of them, and watchers that fail."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.proxy.plain_loop import run_on, until
from vsock_proxy.relay.loop import LINGER_S, MANY_BYTES, RelayLoop


class Recorder:
    """Watches a socket; does in ``on_event`` what the test says."""

    def __init__(self, act: Callable[[int], None] = lambda _mask: None) -> None:
        self.masks: list[int] = []
        self.is_given_up = False
        self._act = act

    def on_event(self, mask: int) -> None:
        self.masks.append(mask)
        self._act(mask)

    def on_bug(self) -> None:
        self.is_given_up = True


class Pairs:
    """Socket pairs, closed at the end unless the loop has been given a descriptor to close."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def make(self) -> tuple[int, socket.socket]:
        near, far = socket.socketpair()
        self._stack.enter_context(far)
        return near.detach(), far


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    with ExitStack() as stack:
        yield Pairs(stack)


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def test_watcher_is_called_once_per_edge_and_not_after_it_has_given_up(pairs: Pairs) -> None:
    async def check(loop: RelayLoop) -> None:
        number, far = pairs.make()
        watcher = Recorder()
        loop.watch(number, watcher)
        await asyncio.sleep(0.01)
        assert watcher.masks == [select.EPOLLOUT]
        far.send(b"x")
        await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        assert watcher.masks == [select.EPOLLOUT, select.EPOLLOUT | select.EPOLLIN]
        loop.close_later(number)
        far.send(b"x")
        await asyncio.sleep(0.01)
        assert len(watcher.masks) == 2
        assert not is_open(number)

    run_on(check)


def test_descriptor_closed_in_a_turn_keeps_its_number_until_the_turn_ends(pairs: Pairs) -> None:
    """Otherwise an event of the same turn would reach whatever got the number."""
    seen: list[bool] = []

    async def check(loop: RelayLoop) -> None:
        first, far = pairs.make()
        second, other_far = pairs.make()
        watchers = []

        def close_both(_mask: int) -> None:
            loop.close_later(first)
            loop.close_later(second)
            duplicate = os.dup(0)
            seen.append(duplicate in (first, second))
            os.close(duplicate)

        for number in (first, second):
            watchers.append(Recorder(close_both))
            loop.watch(number, watchers[-1], select.EPOLLIN | select.EPOLLET)
        far.send(b"x")
        other_far.send(b"x")
        await asyncio.sleep(0.01)
        assert sum(len(watcher.masks) for watcher in watchers) == 1
        assert not is_open(first)
        assert not is_open(second)

    run_on(check)
    assert seen == [False]


def test_error_of_a_watcher_is_logged_without_its_text_and_ends_only_what_it_watches(
    pairs: Pairs, caplog: pytest.LogCaptureFixture
) -> None:
    async def check(loop: RelayLoop) -> None:
        def fail(_mask: int) -> None:
            raise KeyError("what a client has sent")

        bad, good = Recorder(fail), Recorder()
        numbers = []
        for watcher in (bad, good):
            number, _ = pairs.make()
            loop.watch(number, watcher)
            numbers.append(number)
        await asyncio.sleep(0.01)
        assert (bad.is_given_up, good.is_given_up, len(good.masks)) == (True, False, 1)
        for number in numbers:
            loop.close_later(number)

    run_on(check)
    assert "internal error: KeyError at " in caplog.text
    assert "test_loop.py:" in caplog.text
    assert "what a client has sent" not in caplog.text


def test_error_of_what_runs_again_is_treated_the_same(pairs: Pairs, caplog: pytest.LogCaptureFixture) -> None:
    async def check(loop: RelayLoop) -> None:
        def fail() -> None:
            raise ValueError("secret")

        watcher = Recorder(lambda _mask: loop.again(fail, watcher))
        number, _ = pairs.make()
        loop.watch(number, watcher)
        await asyncio.sleep(0.01)
        assert watcher.is_given_up
        loop.close_later(number)

    run_on(check)
    assert "internal error: ValueError at " in caplog.text


def test_what_runs_again_takes_turns_with_the_others(pairs: Pairs) -> None:
    async def check(loop: RelayLoop) -> None:
        order: list[str] = []

        def work() -> None:
            order.append("work")
            if order.count("work") < 5:
                loop.again(work, busy)

        busy = Recorder(lambda _mask: work())
        other = Recorder(lambda _mask: order.append("other"))
        busy_number, busy_far = pairs.make()
        other_number, other_far = pairs.make()
        loop.watch(busy_number, busy, select.EPOLLIN | select.EPOLLET)
        loop.watch(other_number, other, select.EPOLLIN | select.EPOLLET)
        busy_far.send(b"x")
        await asyncio.sleep(0)
        other_far.send(b"x")
        await asyncio.sleep(0.01)
        assert order.count("work") == 5
        assert order.index("other") < 5
        for number in (busy_number, other_number):
            loop.close_later(number)

    run_on(check)


def test_timers_signals_and_threads_of_asyncio_work_while_watchers_are_busy(pairs: Pairs) -> None:
    """One watcher always has more to do, so the loop never waits."""

    async def check(loop: RelayLoop) -> None:
        asyncio_loop = asyncio.get_running_loop()

        def work() -> None:
            loop.again(work, watcher)

        watcher = Recorder(lambda _mask: work())
        number, _ = pairs.make()
        loop.watch(number, watcher)
        got_signal = asyncio.Event()
        asyncio_loop.add_signal_handler(signal.SIGUSR1, got_signal.set)
        async with asyncio.timeout(10):
            await asyncio.sleep(0.01)
            os.kill(os.getpid(), signal.SIGUSR1)
            await got_signal.wait()
            assert await asyncio_loop.run_in_executor(None, lambda: 7) == 7
        asyncio_loop.remove_signal_handler(signal.SIGUSR1)
        loop.close_later(number)

    run_on(check)


def test_watcher_can_wake_a_coroutine(pairs: Pairs) -> None:
    async def check(loop: RelayLoop) -> None:
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def wake(_mask: int) -> None:
            done.set_result("woken")
            loop.return_soon()

        watcher = Recorder(wake)
        number, _ = pairs.make()
        loop.watch(number, watcher, select.EPOLLOUT | select.EPOLLET)
        assert await done == "woken"
        loop.close_later(number)

    run_on(check)


def test_asyncio_sockets_work_on_the_loop() -> None:
    async def check(_loop: RelayLoop) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(4))
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"ping")
            assert await reader.read(-1) == b"ping"
            writer.close()
            await writer.wait_closed()

    run_on(check)


class FakeLines:
    """Counts how often lines are written, and when."""

    def __init__(self) -> None:
        self.unwritten_bytes = 0
        self.written: list[tuple[int, float]] = []

    def flush(self) -> None:
        self.written.append((self.unwritten_bytes, time.monotonic()))
        self.unwritten_bytes = 0


def test_lines_are_written_together_but_none_waits_for_long(pairs: Pairs) -> None:
    async def check(loop: RelayLoop) -> None:
        lines = FakeLines()
        loop.write_together(lines)
        number, far = pairs.make()

        def add(_mask: int) -> None:
            os.read(number, 1)
            lines.unwritten_bytes += 100

        loop.watch(number, Recorder(add), select.EPOLLIN)
        began_s = time.monotonic()
        for _ in range(5):
            far.send(b"x")
            await asyncio.sleep(0)
        await until(lambda: sum(count for count, _ in lines.written) == 500)
        assert lines.written[0][1] - began_s >= LINGER_S
        lines.unwritten_bytes = MANY_BYTES
        await asyncio.sleep(0)
        assert lines.written[-1][0] == MANY_BYTES
        loop.close_later(number)

    run_on(check)


def test_loop_that_is_at_rest_writes_the_last_line(pairs: Pairs) -> None:
    """Nothing else wakes the loop, and the line must not wait for the next client."""

    async def check(loop: RelayLoop) -> None:
        lines = FakeLines()
        loop.write_together(lines)
        number, far = pairs.make()
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def add(_mask: int) -> None:
            os.read(number, 1)
            lines.unwritten_bytes = 1

        def flush() -> None:
            written.set_result(None)
            lines.unwritten_bytes = 0
            loop.return_soon()

        lines.flush = flush  # type: ignore[method-assign]
        loop.watch(number, Recorder(add), select.EPOLLIN)
        far.send(b"x")
        async with asyncio.timeout(10):
            await written
        lines.flush = FakeLines().flush  # type: ignore[method-assign]
        loop.close_later(number)

    run_on(check)


def test_end_of_turn_comes_before_the_loop_waits(pairs: Pairs) -> None:
    async def check(loop: RelayLoop) -> None:
        ends: list[int] = []
        number, _ = pairs.make()
        watcher = Recorder()
        loop.at_end_of_turn(lambda: ends.append(len(watcher.masks)))
        loop.watch(number, watcher)
        await asyncio.sleep(0.01)
        assert ends[-1] == 1
        loop.close_later(number)

    run_on(check)
