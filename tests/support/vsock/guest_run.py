"""Run the vsock tests in a guest, and report their outcomes in the host's pytest.

Guest and host share a file. pytest in the guest appends each report as one line of JSON, in the format that pytest
defines for passing reports between processes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.vsock.guest import Guest

REPORTS_VARIABLE = "VSOCK_GUEST_REPORTS"
"""Path of the file for the reports; set only in the guest."""
STALL_LIMIT_S = 180
"""Maximum time between two reports, including the boot; the slowest test takes about a tenth of it."""
TRACEBACK_AFTER_S = 90
"""After this time, a test that is still running prints the tracebacks of all threads to the console."""
POLL_INTERVAL_S = 0.1
CONSOLE_LINES = 120
"""How much of the console's end a failure shows."""
PASSED_ON = ("PYTHONDONTWRITEBYTECODE", "LD_LIBRARY_PATH")
"""Variables of the host that the guest's Python also gets; some Pythons do not start without the second."""
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class GuestReporter:
    """A pytest plugin that runs in the guest and passes every test report to the host.

    Args:
        config: pytest's.
        path: the file for the reports.
    """

    def __init__(self, config: pytest.Config, path: Path) -> None:
        self._config = config
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Append the report and close the file, because a guest's write reaches the host's file system only then."""
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(data) + "\n")


class GuestRun:
    """The run in the guest, which boots when the first report is requested.

    Args:
        config: pytest's.
        guest: not booted yet; closed with this object.
        stall_limit_s: maximum number of seconds between two reports.
    """

    def __init__(self, config: pytest.Config, guest: Guest, *, stall_limit_s: float = STALL_LIMIT_S) -> None:
        self._config = config
        self._guest = guest
        self._stall_limit_s = stall_limit_s
        self._path = guest.out / "reports"
        self._path.touch()
        self._read_bytes = 0
        self._reports: dict[tuple[str, str], pytest.TestReport] = {}
        self._is_booted = False
        self._loss = ""

    def close(self) -> None:
        """End the guest."""
        self._guest.close()

    def report(self, node_id: str, phase: str, *, session: pytest.Session) -> pytest.TestReport:
        """Wait for the guest's report of one phase of a test, and return it.

        Args:
            node_id: of the test.
            phase: setup, call or teardown.
            session: the guest runs the guest items of this session.

        Raises:
            pytest.fail.Exception: there will be none. The first failure shows the end of the guest's console.
        """
        if not self._is_booted:
            self._is_booted = True
            node_ids = [item.nodeid for item in session.items if isinstance(item, GuestItem)]
            self._guest.boot(self._command(node_ids), directory=self._config.rootpath)
        while (report := self._reports.get((node_id, phase))) is None:
            self._await_reports()
        return report

    def _command(self, node_ids: Sequence[str]) -> list[str]:
        variables = {
            REPORTS_VARIABLE: str(self._path),
            "HOME": str(self._guest.ram),
            "TMPDIR": str(self._guest.ram),
            "HYPOTHESIS_STORAGE_DIRECTORY": str(self._guest.ram / "hypothesis"),
            "PATH": f"{Path(sys.executable).parent}:{SYSTEM_PATH}",
            "LANG": "C.UTF-8",
        }
        variables |= {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        settings = ["-p", "no:cacheprovider", "-o", f"faulthandler_timeout={TRACEBACK_AFTER_S}", "--color=no", "-v"]
        return [
            *("env", "-i", *(f"{name}={value}" for name, value in variables.items())),
            *(sys.executable, "-m", "pytest", *settings),
            *("-c", str(self._config.inipath), "--rootdir", str(self._config.rootpath)),
            *("--basetemp", str(self._guest.ram / "t")),  # short: a unix socket's path has 107 bytes
            *node_ids,
        ]

    def _await_reports(self) -> None:
        """Wait for at least one more report."""
        deadline = time.monotonic() + self._stall_limit_s
        while True:
            has_ended = self._guest.wait(POLL_INTERVAL_S)
            if self._read_reports():
                return
            if has_ended:
                self._fail("the guest ended without a report of this test")
            if time.monotonic() > deadline:
                self._guest.kill()
                self._fail(f"the guest was ended: no report within {self._stall_limit_s:g} s")

    def _read_reports(self) -> bool:
        """Read the new complete lines of the file; return whether there were any."""
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            lines, newline, _ = file.read().rpartition(b"\n")
        self._read_bytes += len(lines) + len(newline)
        for line in lines.splitlines():
            report = self._config.hook.pytest_report_from_serializable(config=self._config, data=json.loads(line))
            self._reports[report.nodeid, report.when] = report
        return bool(newline)

    def _fail(self, reason: str) -> None:
        if self._loss:
            pytest.fail(self._loss, pytrace=False)
        self._loss = f"{reason}; the first test that failed like this shows the guest's console"
        console = "\n".join(self._guest.console_text().splitlines()[-CONSOLE_LINES:])
        pytest.fail(f"{reason}; the end of its console:\n{console}", pytrace=False)


class GuestItem(pytest.Item):
    """A test that runs in the guest. On the host it has only the reports of its three phases."""

    def __init__(self, *, original: pytest.Item, run: GuestRun, name: str, parent: pytest.Collector) -> None:
        super().__init__(name=name, parent=parent)
        self.reports: dict[str, pytest.TestReport] = {}
        self._original = original
        self._run = run
        self._is_lost = False

    @classmethod
    def standing_for(cls, item: pytest.Item, run: GuestRun) -> GuestItem:
        """Return the item that replaces ``item`` on the host."""
        assert item.parent is not None
        stand_in: GuestItem = cls.from_parent(item.parent, name=item.name, original=item, run=run)
        return stand_in

    def setup(self) -> None:
        """Wait for the report of the test's setup."""
        self._await_report("setup")

    def runtest(self) -> None:
        """Wait for the report of the test itself."""
        self._await_report("call")

    def teardown(self) -> None:
        """Wait for the report of the test's teardown, unless an earlier report never came."""
        if not self._is_lost:
            self._await_report("teardown")

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        """Return the location of the test in the source."""
        return self._original.reportinfo()

    def _await_report(self, phase: str) -> None:
        self._is_lost = True  # until it arrives, whatever ends the wait
        self.reports[phase] = self._run.report(self.nodeid, phase, session=self.session)
        self._is_lost = False
