from __future__ import annotations

import time

import pytest

from vsock_wire.stopwatch import milliseconds_since


def test_milliseconds_are_counted_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 12.3456789)
    assert milliseconds_since(12.0) == 345.679
    assert milliseconds_since(12.3456789) == 0.0
