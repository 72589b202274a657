"""The run of all suites: neither a failure nor a skipped test may look like success."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import run
from tests.support.suites import outcome
from tests.support.suites.outcome import Suite

SAMPLE = """
import pytest


def test_passes():
    pass


def test_fails():
    raise AssertionError


@pytest.mark.parametrize("number", [1, 2])
def test_needs(number):
    pytest.skip("no such device here;\\n  install one")


@pytest.fixture
def broken():
    yield
    raise RuntimeError


def test_passes_and_breaks(broken):
    pass
"""

PLUGIN = ("-p", "no:cacheprovider", "-p", "tests.conftest", "-c", "pyproject.toml")


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A file in a suite called ``tmp``; only a run of the whole project loads the plugin."""
    path = tmp_path / "test_sample.py"
    path.write_text(SAMPLE, "utf-8")
    return path


def pytest_of(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", *PLUGIN, *map(str, arguments)]
    return subprocess.run(command, cwd=run.ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("processes", ["0", "2"])
def test_line_at_the_end_of_a_run_names_what_was_skipped_and_why(sample: Path, processes: str) -> None:
    done = pytest_of("-n", processes, "--rootdir", sample.parent, sample)
    assert "suites: tests ran; 2 of tests skipped: no such device here; install one\n" in done.stdout, done.stdout
    assert done.returncode == pytest.ExitCode.TESTS_FAILED


def test_failures_of_every_phase_and_of_reading_a_file_are_counted(sample: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures"
    broken = tmp_path / "test_broken.py"
    broken.write_text("import no_such_module\n", "utf-8")
    options = [f"--suites-to={figures}", f"--rootdir={tmp_path}", "--continue-on-collection-errors"]
    pytest_of(*options, sample, broken)
    (suite,) = outcome.load(figures)
    assert (suite.passed, suite.failed, suite.skipped) == (2, 3, 2)


def lane(path: Path, *arguments: str) -> tuple[str, ...]:
    return (*PLUGIN, "--rootdir", str(path.parent), str(path), *arguments)


def test_lanes_are_counted_together(sample: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run.run([{"one": lane(sample, "-k", "test_passes"), "two": lane(sample, "-k", "test_needs")}]) == 1
    *_, second, about_suites, count = capfd.readouterr().out.splitlines()
    assert "2 skipped" in second
    assert about_suites.startswith("suites: tests ran; ")
    assert count == "2 passed, 1 failed, 2 skipped"


def test_lanes_without_a_failure_are_a_success(sample: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run.run([{"one": lane(sample, "-k", "test_passes and not breaks")}]) == 0
    assert capfd.readouterr().out.endswith("\n1 passed, 0 failed\n")


@pytest.mark.parametrize("argument", ["--no-such-option", "--collect-only-what", "-k=no_such_test"])
def test_lane_that_runs_no_test_is_a_failure(argument: str, sample: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run.run([{"one": lane(sample, "-k", "test_passes and not breaks"), "two": lane(sample, argument)}]) == 1
    error, about_suites, count = capfd.readouterr().out.splitlines()[-3:]
    assert error.startswith("error: the pytest for two ended with exit code ")
    assert about_suites.startswith("suites: ")
    assert count == "1 passed, 1 failed"


def test_stages_are_counted_together_and_each_runs_whatever_became_of_the_one_before(
    sample: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run.run([{"first": lane(sample, "-k", "test_fails")}, {"second": lane(sample, "-k", "test_needs")}]) == 1
    about_suites, count = capfd.readouterr().out.splitlines()[-2:]
    assert about_suites.startswith("suites: tests ran; 2 of tests skipped: no such device here; install one (in ")
    assert count == "0 passed, 1 failed, 2 skipped"


def test_tests_marked_to_run_alone_are_where_they_are_looked_for() -> None:
    (stage,) = [lanes["tests alone"] for lanes in run.ALL if "tests alone" in lanes]
    folder = run.ROOT / stage[-1]
    marked = [
        path for path in (run.ROOT / "tests").rglob("test_*.py") if "@pytest.mark.alone" in path.read_text("utf-8")
    ]
    assert [path for path in marked if folder not in path.parents and path != Path(__file__)] == []
    assert len(marked) > 1


def test_suites_are_described_with_their_place() -> None:
    suites = [
        Suite("images", passed=3, place="by buildah"),
        Suite("qemu", skipped=4, reasons=["no qemu"]),
        Suite("system", passed=2, skipped=1, reasons=["no tmux"]),
        Suite("unit", failed=1),
    ]
    assert outcome.describe(suites) == (
        "suites: images (by buildah), system, unit ran; qemu skipped: no qemu; 1 of system skipped: no tmux"
    )
    assert outcome.closing_line(suites) == "5 passed, 1 failed, 5 skipped"
    assert outcome.closing_line(suites[:1]) == "3 passed, 0 failed"
