"""The race between a target's addresses."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket

import pytest

from tests.support.proxy.peers import Peers
from tests.support.proxy.skipping_loop import relay_loop, run_skipping, turns_until
from vsock_proxy.errors import DialError
from vsock_proxy.relay import dialling
from vsock_proxy.relay.dialling import ATTEMPT_DELAY_S, Connected, Dial
from vsock_proxy.relay.plan import SocketName, Target

ONE, TWO, THREE = ((socket.AF_INET, (f"10.0.0.{number}", 443)) for number in (1, 2, 3))


class Race:
    """A dial whose addresses behave as the test says: "connects", "hangs", "refuses later" or "fails at once"."""

    def __init__(self, peers: Peers, *names: SocketName, timeout_s: float = 10) -> None:
        self.peers = peers
        self.behaviors: dict[SocketName, str] = {}
        self.begun: list[tuple[SocketName, float]] = []
        self.hanging: list[socket.socket] = []
        self.winner: Connected | None = None
        self.error: DialError | None = None
        self.loop = relay_loop()
        self.dial = Dial(self.loop, Target("a.com:443", names), timeout_s, self._won, self._lost)

    def _won(self, _target: Target, winner: Connected) -> None:
        self.winner = winner
        self.loop.close_later(winner.number)

    def _lost(self, _target: Target, error: DialError) -> None:
        self.error = error

    @property
    def is_over(self) -> bool:
        return self.winner is not None or self.error is not None

    def begin(self, name: SocketName) -> int:
        self.begun.append((name, asyncio.get_running_loop().time()))
        behavior = self.behaviors.get(name, "connects")
        if behavior == "fails at once":
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
        if behavior == "connects":
            return self.peers.begin_to_connect(name)
        number, far = self.peers.pair()
        with socket.socket(fileno=os.dup(number)) as sock:
            while behavior in ("hangs", "refuses later"):  # a socket that is not connected yet is not writable
                try:
                    sock.send(bytes(65_536))
                except BlockingIOError:
                    break
        self.hanging.append(far)
        return number

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        self.dial.start()
        while not self.is_over:
            before = loop.time()
            await asyncio.sleep(max(0.0, self.dial.due_s - before))
            if not self.is_over:
                self.loop.now_s = loop.time()
                self.dial.on_time(loop.time())


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> list[Race]:
    races: list[Race] = []
    monkeypatch.setattr(dialling, "begin_to_connect", lambda name: races[-1].begin(name))  # noqa: PLW0108 - the list is still empty
    return races


def test_first_address_that_connects_is_used_and_no_other_is_tried(begin: list[Race]) -> None:
    async def check() -> None:
        with Peers() as peers:
            begin.append(race := Race(peers, ONE, TWO))
            race.dial.start()
            await turns_until(lambda: race.is_over)
            assert race.winner is not None
            assert race.winner.is_tcp
            assert [name for name, _ in race.begun] == [ONE]

    run_skipping(check())


def test_next_address_joins_after_the_delay_and_the_loser_is_closed(begin: list[Race]) -> None:
    async def check() -> None:
        with Peers() as peers:
            begin.append(race := Race(peers, ONE, TWO, THREE))
            race.behaviors = {ONE: "hangs"}
            started_s = asyncio.get_running_loop().time()
            await race.run()
            assert race.winner is not None
            assert [name for name, _ in race.begun] == [ONE, TWO]
            assert race.begun[1][1] - started_s == pytest.approx(ATTEMPT_DELAY_S)
            await asyncio.sleep(0)
            while race.hanging[0].recv(1_000_000):
                pass

    run_skipping(check())


def test_address_that_fails_is_followed_by_the_next_at_once(begin: list[Race]) -> None:
    async def check() -> None:
        with Peers() as peers:
            begin.append(race := Race(peers, ONE, TWO))
            race.behaviors = {ONE: "fails at once"}
            started_s = asyncio.get_running_loop().time()
            await race.run()
            assert race.winner is not None
            assert race.begun == [(ONE, started_s), (TWO, started_s)]

    run_skipping(check())


def test_all_addresses_fail(begin: list[Race]) -> None:
    async def check() -> None:
        with Peers() as peers:
            begin.append(race := Race(peers, ONE, TWO))
            race.behaviors = {ONE: "fails at once", TWO: "fails at once"}
            await race.run()
            assert str(race.error) == "connect to a.com:443: network is unreachable, tried 10.0.0.1, 10.0.0.2"
            assert race.error is not None
            assert not race.error.timed_out

    run_skipping(check())


def test_no_address_answers_within_the_timeout_of_all_together(begin: list[Race]) -> None:
    async def check() -> None:
        with Peers() as peers:
            begin.append(race := Race(peers, ONE, TWO, timeout_s=7))
            race.behaviors = {ONE: "hangs", TWO: "hangs"}
            started_s = asyncio.get_running_loop().time()
            await race.run()
            assert asyncio.get_running_loop().time() - started_s == pytest.approx(7)
            assert str(race.error) == "connect to a.com:443: no answer within 7 s"
            assert race.error is not None
            assert race.error.timed_out

    run_skipping(check())


def test_refusal_by_a_real_kernel_is_its_reason_and_a_real_connection_wins() -> None:
    async def check() -> None:
        with Peers() as peers, socket.socket() as closed, socket.create_server(("127.0.0.1", 0)) as listening:
            closed.bind(("127.0.0.1", 0))
            names = tuple((socket.AF_INET, sock.getsockname()) for sock in (closed, listening))
            for tried, outcome in ((names[:1], "refused"), (names, "connected")):
                race = Race(peers, *tried)
                race.dial.start()
                await turns_until(lambda race=race: race.is_over)  # type: ignore[misc] # binds the race of this round
                if outcome == "refused":
                    assert str(race.error) == "connect to a.com:443: connection refused, tried 127.0.0.1"
                else:
                    assert race.winner is not None
                    assert race.winner.events & select.EPOLLOUT

    run_skipping(check())
