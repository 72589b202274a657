"""How many connections fit into a file descriptor limit."""

from __future__ import annotations

import resource

import pytest

from vsock_proxy.daemon.descriptors import choose_max_connections


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
    limits = FakeLimits(1_024, 30_128)
    limits.install(monkeypatch)
    assert choose_max_connections() == 10_000
    assert limits.now == (30_128, 30_128)


@pytest.mark.parametrize("refusal", [OSError("not permitted"), ValueError("not allowed to raise maximum limit")])
def test_limit_that_cannot_be_raised_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch, refusal: Exception) -> None:
    FakeLimits(1_028, 30_128, refuses=refusal).install(monkeypatch)
    assert choose_max_connections() == 300


def test_small_limit_allows_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeLimits(64, 64).install(monkeypatch)
    assert choose_max_connections() == 1
