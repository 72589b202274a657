"""What holds for every test: its suite is counted, and named at the end."""

from __future__ import annotations

import pytest

from tests.support.suites.recorder import OPTION, SuiteRecorder


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let tests/run.py have the figures of several runs."""
    parser.addoption(OPTION, metavar="FILE", help="write how each suite ended to FILE instead of printing it")


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark of tests that run alone; count in the process that hears of every test.

    With pytest-xdist that is the one that starts the others.
    """
    config.addinivalue_line("markers", "alone: measures times, so `make test` runs it while no other test runs")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SuiteRecorder(config))
