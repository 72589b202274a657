"""Reads a configuration in a process of its own, because a large file takes seconds, and the relay must not wait.

A thread would not do: it and the relay would take turns, five milliseconds each. The other process is this module, run
with ``python -m``. Both ends are this program, so what they exchange is pickled: a ConfigSource, then a _Result.
"""

from __future__ import annotations

import asyncio
import importlib
import pickle
import sys
from dataclasses import dataclass

from vsock_proxy.config.model import Config
from vsock_proxy.config.source import ConfigSource
from vsock_proxy.errors import ConfigError
from vsock_wire.errors import ToolError

LOAD_TIMEOUT_S = 60.0
"""Longest that a reload may take: 10,000 routes take 20 s on a slow machine. A hanging file system never ends."""


@dataclass(frozen=True)
class _Result:
    """What the other process found: a configuration, or why there is none."""

    config: Config | None = None
    message: str = ""
    hint: str | None = None


async def load_elsewhere(source: ConfigSource) -> Config:
    """Return what ``source.load`` returns.

    Raises:
        ConfigError: whatever is wrong with the configuration; or the other process could not be started, or took longer
            than LOAD_TIMEOUT_S.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", __name__),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        raise ConfigError(f"{source}: no process to read it in: {(error.strerror or str(error)).lower()}") from error
    try:
        async with asyncio.timeout(LOAD_TIMEOUT_S):
            output, _ = await process.communicate(pickle.dumps(source))
    except TimeoutError as error:
        raise ConfigError(f"{source}: not read within {LOAD_TIMEOUT_S:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise ConfigError(f"{source}: the process that reads it ended with code {process.returncode}")
    result: _Result = pickle.loads(output)  # noqa: S301 - from our own process
    if result.config is None:
        raise ConfigError(result.message, hint=result.hint)
    return result.config


def main() -> None:
    """Read the configuration that standard input names, and write it to standard output."""
    source: ConfigSource = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own process
    try:
        result = _Result(config=source.load())
    except ToolError as error:
        result = _Result(message=str(error), hint=error.hint)
    pickle.dump(result, sys.stdout.buffer)


if __name__ == "__main__":
    # what is pickled must be in a module of the same name in both processes, which __main__ is not
    importlib.import_module("vsock_proxy.config.loading").main()
