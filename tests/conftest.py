"""For all tests: count their suites, and report them at the end."""

from __future__ import annotations

import pytest

from tests.support.suites.recorder import OPTION, SuiteRecorder


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let tests/run.py collect the counts of several runs."""
    parser.addoption(OPTION, metavar="FILE", help="write how each suite ended to FILE instead of printing it")


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark of tests that run alone; count tests in the process that sees all reports.

    With pytest-xdist, that is the process that starts the others.
    """
    config.addinivalue_line("markers", "alone: measures times, so `make test` runs it while no other test runs")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SuiteRecorder(config))
