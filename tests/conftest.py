"""What holds for every test: its suite is counted, and named at the end."""

from __future__ import annotations

import pytest

from tests.support.suites.recorder import OPTION, SuiteRecorder


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let tests/run.py have the figures of several runs."""
    parser.addoption(OPTION, metavar="FILE", help="write how each suite ended to FILE instead of printing it")


def pytest_configure(config: pytest.Config) -> None:
    """Count in the process that hears of every test: with pytest-xdist that is the one that starts the others."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SuiteRecorder(config))
