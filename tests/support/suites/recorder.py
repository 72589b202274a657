"""A pytest plugin that counts tests by suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.suites import outcome
from tests.support.suites.outcome import Suite

OPTION = "--suites-to"
_PLACES = pytest.StashKey[dict[str, str]]()


def tell_place(config: pytest.Config, suite: str, place: str) -> None:
    """Record where or with what a suite runs, for the line at the end."""
    config.stash.setdefault(_PLACES, {})[suite] = place


class SuiteRecorder:
    """Counts the reports of a run, also those from pytest-xdist's processes, and prints the line about the suites."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._suites: dict[str, Suite] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test by its call phase, or by another phase in which it fails or is skipped."""
        suite = self._suite_of(report.nodeid)
        if report.failed:
            suite.failed += 1
        elif report.skipped:
            suite.skipped += 1
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            reason = " ".join(reason.removeprefix("Skipped: ").split())
            if reason not in suite.reasons:
                suite.reasons.append(reason)
        elif report.when == "call":
            suite.passed += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count a file that cannot be read as a failure."""
        if report.failed:
            self._suite_of(report.nodeid).failed += 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the line, or save the counts to a file if one is given."""
        suites = self._finished_suites()
        path = self._config.getoption(OPTION)
        if path:
            outcome.save(suites, Path(path))
        elif suites:
            terminalreporter.write_line(outcome.describe(suites))

    def _suite_of(self, node_id: str) -> Suite:
        folder, _, rest = node_id.removeprefix("tests/").partition("/")
        name = folder if rest else "tests"
        return self._suites.setdefault(name, Suite(name))

    def _finished_suites(self) -> list[Suite]:
        for name, place in self._config.stash.get(_PLACES, {}).items():
            if name in self._suites:
                self._suites[name].place = place
        return [self._suites[name] for name in sorted(self._suites)]
