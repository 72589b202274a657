"""An event loop with simulated time: when nothing else is left to do, it skips to the next timer."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

PATIENCE_S = 10.0
"""Real seconds after which a test fails because it waits for an event that never comes, or loops for ever."""

_Result = TypeVar("_Result")


class SkippingLoop(asyncio.SelectorEventLoop):
    """Moves its clock forward to the next timer whenever no callback and no socket is ready.

    Only for coroutines that use unix sockets, where one end sees at once what the other end does.
    """

    def __init__(self) -> None:
        self._now_s = 1_000.0
        super().__init__(_SkippingSelector(self))

    def time(self) -> float:
        return self._now_s

    def skip(self, seconds: float) -> None:
        self._now_s += seconds


class _SkippingSelector(selectors.EpollSelector):
    def __init__(self, loop: SkippingLoop) -> None:
        super().__init__()
        self._loop = loop
        self._gives_up_at = time.monotonic() + PATIENCE_S

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if time.monotonic() >= self._gives_up_at:
            self._gives_up_at += PATIENCE_S  # for the loop's own cleanup
            raise AssertionError("the test waits for an event that never comes")
        ready = super().select(PATIENCE_S if timeout is None else 0)
        if not ready and timeout:
            self._loop.skip(timeout)
        return ready


def run_skipping(main: Coroutine[Any, Any, _Result]) -> _Result:
    """Run ``main`` as ``asyncio.run`` does, in a SkippingLoop."""
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        return runner.run(main)


async def turns_until(condition: Callable[[], object]) -> None:
    """Run the loop until ``condition`` holds, without moving its clock."""
    while not condition():  # noqa: ASYNC110 - what is waited for here has no event
        await asyncio.sleep(0)
