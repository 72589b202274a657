"""Which libraries the plugin considers installed; tests/distribution runs it in a user's project."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from nitro_simulator import pytest_plugin
from nitro_simulator.pytest_plugin import is_installed


def test_library_is_found_without_being_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pyasn1", raising=False)
    assert is_installed("pyasn1")
    assert "pyasn1" not in sys.modules


@pytest.mark.parametrize("stand_in", [None, ModuleType("boto3")])
def test_library_that_is_hidden_or_replaced_is_not_there(
    monkeypatch: pytest.MonkeyPatch, stand_in: ModuleType | None
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", stand_in)
    assert not is_installed("boto3")
    assert not is_installed("no_such_library")


def test_plugin_defines_the_fixtures_if_everything_is_installed() -> None:
    assert all(map(is_installed, pytest_plugin.LIBRARIES))
    assert set(pytest_plugin.__all__) == {name for name in vars(pytest_plugin) if name.startswith("kmstool_")}
