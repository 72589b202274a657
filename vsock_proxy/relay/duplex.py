"""Relays both directions of one connection when its sockets are ready, without threads or idle buffers.

How it works. A Relay has two Ends, one per socket. When a socket is readable, its End takes a chunk and gives it to the
other End, whose socket usually accepts all of it. If that accepts only part, the rest stays with the End that it is
for, and nothing more is read for it until the rest is gone. When a socket reaches end of stream, the other is shut down
for writing, and the other direction continues. The Relay is over when both directions have ended, when a socket fails,
when a peer has gone for good, or when ``finish`` is called; then both sockets are closed.

Why it is built this way. A direction reads again only after everything has been accepted, so a slow reader costs at
most what the Budget allows, the kernel's flow control slows down its sender, and no other connection waits. A peer that
has closed its socket altogether looks like one that has only ended its stream, except that a write fails: so a write of
no bytes at the end of a stream, and in the sweep, tells the two apart (vsock reports neither EPOLLHUP nor an error).
Descriptors are bare numbers, because Python's socket objects cost as much as the system calls.
"""

from __future__ import annotations

from collections.abc import Callable

from vsock_proxy.relay.budget import Budget
from vsock_proxy.relay.ends import End
from vsock_proxy.relay.loop import RelayLoop
from vsock_proxy.relay.outcomes import Ending, EndReason, RouteStats
from vsock_proxy.relay.raw_sockets import keep_alive, reset_on_close


class Relay:
    """Moves bytes between a client and its upstream until the connection is over.

    NOT guaranteed: a reset is passed on as a reset only if the other side is TCP. A vsock or unix peer sees end of
    stream instead; TLS tells the two apart.

    Args:
        loop: calls the ends when their sockets are ready, and closes these.
        budget: how much may be held for slow readers.
        client: descriptor of a connected non-blocking socket, watched already.
        upstream: the same.
        tcp: whether the client and the upstream are TCP sockets.
        stats: the totals of the route; every byte counts as soon as it has moved.
        on_over: called once, when the connection is over.

    Attributes:
        client: the client's end.
        upstream: the upstream's end.
        is_over: whether the connection is over.
        last_active_s: when bytes have last moved, on the loop's clock.
        may_splice: whether bulk data may be spliced.
    """

    __slots__ = ("_keeps_alive", "_on_over", "budget", "client", "is_over", "last_active_s", "loop", "may_splice",
                 "stats", "upstream")  # fmt: skip

    def __init__(
        self,
        loop: RelayLoop,
        budget: Budget,
        client: int,
        upstream: int,
        *,
        tcp: tuple[bool, bool],
        stats: RouteStats,
        on_over: Callable[[Relay, Ending], None],
    ) -> None:
        self.loop = loop
        self.budget = budget
        self.stats = stats
        self._keeps_alive = False
        self._on_over = on_over
        self.is_over = False
        self.may_splice = True
        self.last_active_s = loop.now_s
        self.client = End(self, client, EndReason.CLIENT_FAILED, is_tcp=tcp[0])
        self.upstream = End(self, upstream, EndReason.UPSTREAM_FAILED, is_tcp=tcp[1])
        self.client.other = self.upstream
        self.upstream.other = self.client

    def start(self, events: tuple[int, int], to_client: bytes = b"", to_upstream: bytes = b"") -> None:
        """Take over the watched sockets, and move what they have.

        Args:
            events: those of the client and of the upstream that nobody has served yet.
            to_client: bytes that go to the client first.
            to_upstream: the same for the upstream.
        """
        self.loop.hand_over(self.client.number, self.client)
        self.loop.hand_over(self.upstream.number, self.upstream)
        if to_client:
            self.client.send_first(to_client)
        if to_upstream and not self.is_over:
            self.upstream.send_first(to_upstream)
        if not self.is_over:
            self.client.on_event(events[0])
        if not self.is_over:
            self.upstream.on_event(events[1])

    def sweep(self, idle_since_s: float, quiet_since_s: float, limit_s: float) -> None:
        """End the connection if it has been idle, or if a peer has gone and nothing moves.

        Args:
            idle_since_s: it must have moved bytes after this time.
            quiet_since_s: if it has moved bytes after this time, nobody has gone.
            limit_s: the idle timeout, for the log.
        """
        if self.last_active_s < idle_since_s:
            self.finish(Ending(EndReason.IDLE, f"no byte moved for {limit_s:.3g} s"), reset=True)
        elif self.last_active_s < quiet_since_s:
            for end in (self.client, self.upstream):
                if not self.is_over:
                    end.leave_if_gone()
        if not self.is_over and not self._keeps_alive:
            self._keep_alive()

    def _keep_alive(self) -> None:
        """Turn on TCP keepalive: only now, because most connections end before the first sweep."""
        self._keeps_alive = True
        for end in (self.client, self.upstream):
            if end.is_tcp:
                keep_alive(end.number)

    def finish(self, ending: Ending, *, reset: bool = False) -> None:
        """End the connection now.

        Args:
            ending: why.
            reset: whether TCP peers see a reset, because they may not have received everything.
        """
        if self.is_over:
            return
        self.is_over = True
        for end in (self.client, self.upstream):
            end.drop()
            if reset and end.is_tcp:
                reset_on_close(end.number)
            self.loop.close_later(end.number)
        self._on_over(self, ending)
        # without these cycles, memory is free at once; nothing that still runs needs them once is_over is set
        del self.client.other, self.upstream.other, self.client, self.upstream
