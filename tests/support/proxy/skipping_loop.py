"""An event loop that does not wait for its clock: an hour is over as soon as nothing else is left to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from vsock_proxy.relay.loop import RelayLoop

PATIENCE_S = 10.0
"""Real seconds after which a test fails because it waits for an event that never comes, or loops for ever."""

_Result = TypeVar("_Result")


class SkippingLoop(asyncio.SelectorEventLoop):
    """Moves its clock forward to the next timer whenever no callback and no socket is ready.

    Only for coroutines that use unix sockets, where one end sees at once what the other end does.

    Attributes:
        relay_loop: the proxy's loop, which this loop runs on.
    """

    def __init__(self) -> None:
        self._now_s = 1_000.0
        self.relay_loop = _SkippingRelayLoop(self)
        super().__init__(self.relay_loop)

    def time(self) -> float:
        return self._now_s

    def skip(self, seconds: float) -> None:
        self._now_s += seconds


class _SkippingRelayLoop(RelayLoop):
    def __init__(self, loop: SkippingLoop) -> None:
        super().__init__(loop.time)
        self._loop = loop
        self._gives_up_at = time.monotonic() + PATIENCE_S

    def wait(self, timeout_s: float | None) -> list[tuple[int, int]]:
        if time.monotonic() >= self._gives_up_at:
            self._gives_up_at += PATIENCE_S  # for the loop's own cleanup
            raise AssertionError("the test waits for an event that never comes")
        events = super().wait(PATIENCE_S if timeout_s is None else 0)
        if not events and timeout_s:
            self._loop.skip(timeout_s)
        return events


def relay_loop() -> RelayLoop:
    """Return the proxy's loop that the running SkippingLoop runs on."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SkippingLoop)
    return loop.relay_loop


def run_skipping(main: Coroutine[Any, Any, _Result]) -> _Result:
    """Run ``main`` as ``asyncio.run`` does, in a SkippingLoop."""
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        return runner.run(main)


async def turns_until(condition: Callable[[], object]) -> None:
    """Let the loop go round until ``condition`` holds; its clock stands still meanwhile."""
    while not condition():  # noqa: ASYNC110 - what is waited for here has no event
        await asyncio.sleep(0)
