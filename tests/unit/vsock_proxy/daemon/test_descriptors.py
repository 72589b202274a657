"""How many connections fit into a file descriptor limit."""

from __future__ import annotations

import resource

import pytest

from vsock_proxy.daemon.descriptors import raise_descriptor_limit
from vsock_proxy.settings import MAX_WAITING, Limits


class FakeLimits:
    """The limits of a process other than this one."""

    def __init__(self, soft: int, hard: int, *, refuses: Exception | None = None) -> None:
        self.now = (soft, hard)
        self._refuses = refuses

    def get(self, which: int) -> tuple[int, int]:
        assert which == resource.RLIMIT_NOFILE
        return self.now

    def set(self, which: int, limits: tuple[int, int]) -> None:
        assert which == resource.RLIMIT_NOFILE
        if self._refuses is not None:
            raise self._refuses
        self.now = limits

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(resource, "getrlimit", self.get)
        monkeypatch.setattr(resource, "setrlimit", self.set)


def test_limit_is_raised_to_what_is_allowed_and_divided_among_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = FakeLimits(1_024, 30_229)
    limits.install(monkeypatch)
    raise_descriptor_limit()
    assert limits.now == (30_229, 30_229)
    assert Limits(None).capacity(101) == (10_000, 0)


@pytest.mark.parametrize("refusal", [OSError("not permitted"), ValueError("not allowed to raise maximum limit")])
def test_limit_that_cannot_be_raised_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch, refusal: Exception) -> None:
    FakeLimits(1_029, 30_128, refuses=refusal).install(monkeypatch)
    raise_descriptor_limit()
    assert Limits(None).capacity(1) == (300, 0)


def test_small_limit_allows_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeLimits(64, 64).install(monkeypatch)
    assert Limits(None).capacity(1) == (1, 0)


def test_each_listener_takes_a_descriptor_from_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeLimits(1_428, 1_428).install(monkeypatch)
    assert Limits(None).capacity(1_000) == (100, 0)


def test_clients_may_wait_if_fewer_connections_are_wanted_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeLimits(1_029, 1_029).install(monkeypatch)
    assert Limits(4).capacity(1) == (4, 888)
    assert Limits(1_000).capacity(1) == (300, 0)
    FakeLimits(100_000, 100_000).install(monkeypatch)
    assert Limits(4).capacity(1) == (4, MAX_WAITING)


def test_limit_that_is_lowered_later_does_not_lower_the_number_of_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload works the number out again, perhaps while somebody has lowered the limit for a moment."""
    with monkeypatch.context() as patch:
        FakeLimits(1_029, 1_029).install(patch)
        limits = Limits(None)
        FakeLimits(200, 1_029).install(patch)
        assert limits.capacity(1) == (300, 0)
