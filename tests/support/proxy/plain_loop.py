"""The proxy's loop with the real clock, for tests whose sockets are TCP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from vsock_proxy.relay.loop import RelayLoop

PATIENCE_S = 10.0
"""Seconds after which a test is given up."""

_Result = TypeVar("_Result")


def run_on(main: Callable[[RelayLoop], Coroutine[Any, Any, _Result]]) -> _Result:
    """Run ``main(loop)`` as ``asyncio.run`` does, on the proxy's loop."""
    loop = RelayLoop()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(loop)) as runner:
        return runner.run(main(loop))


async def until(condition: Callable[[], object]) -> None:
    """Let the loop go round until ``condition`` holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for here has no event
            await asyncio.sleep(0.001)
