"""What is done to a proxy in ``make proxy-chaos``: each fault begins, lasts for a while, and is taken back."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import struct
import time
from collections.abc import Callable

from tests.support.proxy.chaos_stage import Stage

FLOOD = 300
SLOW_READERS = 20
PUSHERS = 50
GONE = 50
LARGE_ROUTES = 300
FLOOD_BYTES = 4_194_304


def flood(stage: Stage, rng: random.Random) -> None:
    """Open many connections that say nothing, or one byte, and leave."""
    with stage.clients("echo", FLOOD) as clients:
        for client in clients:
            if rng.random() < 0.5:
                with contextlib.suppress(OSError):
                    client.send(b"x")


def resets(stage: Stage, rng: random.Random) -> None:
    """Close TCP connections with a reset, in the middle of a message."""
    for _ in range(GONE):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", stage.tcp_port), 5) as client:
            client.send(rng.randbytes(rng.randrange(1, 10_000)))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reload_good(stage: Stage, _rng: random.Random) -> None:
    """Reload the same configuration."""
    stage.write_config()
    stage.signal(signal.SIGHUP)


def reload_broken(stage: Stage, rng: random.Random) -> None:
    """Reload what cannot be read, then what can."""
    stage.config.write_text(rng.choice(["allowlist: [", "allowlist: x\n", "\0", "routes: []\n"]))
    stage.signal(signal.SIGHUP)
    time.sleep(rng.random())
    reload_good(stage, rng)


def reload_large(stage: Stage, rng: random.Random) -> None:
    """Reload with many more routes, then without them."""
    stage.write_config(more_routes=LARGE_ROUTES)
    stage.signal(signal.SIGHUP)
    time.sleep(1 + rng.random())
    reload_good(stage, rng)


def dns_outage(stage: Stage, rng: random.Random) -> None:
    """Let the system's resolver fail, or take its time before it does."""
    stage.set_dns(rng.choice(["", "slow"]))
    time.sleep(1 + rng.random())
    stage.set_dns("127.0.0.1")
    time.sleep(0.5)


def no_descriptors(stage: Stage, rng: random.Random) -> None:
    """Leave the proxy almost no free descriptor."""
    stage.limit_descriptors(rng.randrange(4))
    with stage.clients("echo", 20):
        time.sleep(rng.random())
    stage.limit_descriptors(None)


def slow_readers(stage: Stage, rng: random.Random) -> None:
    """Ask for much, and read none of it for a while."""
    with stage.clients("fetch", SLOW_READERS) as clients:
        for client in clients:
            with contextlib.suppress(OSError):
                client.send(struct.pack(">I", FLOOD_BYTES))
        time.sleep(1 + rng.random())


def pushers(stage: Stage, rng: random.Random) -> None:
    """Push to an upstream that does not read."""
    with stage.clients("silent", PUSHERS) as clients:
        for _ in range(20):
            for client in clients:
                with contextlib.suppress(OSError):
                    client.send(bytes(262_144))
        time.sleep(rng.random())


def gone(stage: Stage, rng: random.Random) -> None:
    """Leave while the upstream is silent, some after half-closing first."""
    with stage.clients("silent", GONE) as clients:
        for client in clients:
            with contextlib.suppress(OSError):
                client.send(b"question")
                if rng.random() < 0.5:
                    client.shutdown(socket.SHUT_WR)
        time.sleep(rng.random())


def log_unread(stage: Stage, rng: random.Random) -> None:
    """Stop reading the proxy's log while it has much to say."""
    with stage.log_unread():
        flood(stage, rng)
        time.sleep(1)


FAULTS: dict[str, Callable[[Stage, random.Random], None]] = {
    function.__name__: function
    for function in (
        flood, resets, reload_good, reload_broken, reload_large, dns_outage, no_descriptors, slow_readers, pushers,
        gone, log_unread,
    )
}  # fmt: skip
EXPLAINS = {"no_descriptors"}
"""Faults that explain why an honest client is refused; the others explain nothing."""
