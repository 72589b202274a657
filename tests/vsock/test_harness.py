"""The harness of the other tests in this folder: no failure in the guest may look like success."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.vsock import availability
from tests.support.vsock.availability import Place
from tests.support.vsock.guest import Guest
from tests.support.vsock.guest_run import GuestRun

FOLDER = Path(__file__).parent
TIMEOUT_S = 120.0
CHANGES_OUTPUT = ("PYTEST_ADDOPTS", "CI", "BUILD_NUMBER")
"""Variables that pytest reads; with the last two, it does not truncate the summary to a line for each test."""
INI = "[pytest]\naddopts = --import-mode=importlib -p no:cacheprovider\npythonpath = .\n"
ALWAYS_IN_GUEST = """
from tests.support.vsock import availability

availability.choose_place = lambda: availability.Place.GUEST
"""
SAMPLE = """
import os
from pathlib import Path

import pytest


@pytest.fixture
def broken_setup():
    raise RuntimeError("this setup is broken")


@pytest.fixture
def broken_teardown():
    yield
    raise RuntimeError("this teardown is broken")


def test_sees_a_user_mode_linux_kernel():
    assert "User Mode Linux" in Path("/proc/cpuinfo").read_text()


@pytest.mark.parametrize("text", ["{braces} and 'quotes'", "$HOME"])
def test_takes(text):
    assert text


@pytest.mark.parametrize("folder", [Path(), Path.home() / "..", Path("/etc")])
def test_cannot_write_outside(folder):
    with pytest.raises(OSError, match="Read-only file system"):
        folder.joinpath("written-by-guest").touch()


def test_fails():
    print("what the test printed")
    assert "got" == "expected"


def test_has_broken_setup(broken_setup):
    pass


def test_has_broken_teardown(broken_teardown):
    pass


def test_ends_the_guests_pytest():
    os._exit(3)


def test_comes_too_late():
    pass
"""
OUTCOMES = {
    "PASSED test_sees_a_user_mode_linux_kernel",
    "PASSED test_takes[{braces} and 'quotes']",
    "PASSED test_takes[$HOME]",
    "PASSED test_cannot_write_outside[folder0]",
    "PASSED test_cannot_write_outside[folder1]",
    "PASSED test_cannot_write_outside[folder2]",
    "FAILED test_fails",
    "ERROR test_has_broken_setup",
    "PASSED test_has_broken_teardown",
    "ERROR test_has_broken_teardown",
    "FAILED test_ends_the_guests_pytest",
    "ERROR test_comes_too_late",
}


@pytest.mark.boots_guest
def test_each_outcome_in_the_guest_is_the_outcome_here(tmp_path: Path) -> None:
    project = tmp_path / "a project"
    for folder in ("vsock", "support/vsock", "support/suites"):
        ignored = shutil.ignore_patterns("test_*", "__pycache__")
        shutil.copytree(FOLDER.parent / folder, project / "tests" / folder, ignore=ignored)
    (project / "tests" / "vsock" / "test_sample.py").write_text(SAMPLE)
    (project / "conftest.py").write_text(ALWAYS_IN_GUEST)
    (project / "pytest.ini").write_text(INI)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA"],
        cwd=project,
        env={name: value for name, value in os.environ.items() if name not in CHANGES_OUTPUT},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    summary = done.stdout.partition("short test summary info")[2].replace("tests/vsock/test_sample.py::", "")
    assert {line.partition(" - ")[0] for line in summary.splitlines()[1:-1]} == OUTCOMES, done.stdout
    for text in (
        "AssertionError: assert 'got' == 'expected'",
        "what the test printed",
        "RuntimeError: this setup is broken",
        "RuntimeError: this teardown is broken",
        "guest: exit code 3",
    ):
        assert text in done.stdout
    assert done.returncode == pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def kernel_that_hangs(tmp_path: Path) -> Path:
    path = tmp_path / "kernel"
    path.write_text("#!/bin/sh\nexec sleep 1000\n")
    path.chmod(0o700)
    return path


def test_a_guest_that_reports_nothing_is_ended_and_fails_the_test(
    kernel_that_hangs: Path, request: pytest.FixtureRequest
) -> None:
    with Guest(kernel_that_hangs) as guest:
        run = GuestRun(request.config, guest, stall_limit_s=0.2)
        with pytest.raises(pytest.fail.Exception, match=r"^the guest was ended: no report within 0\.2 s; the end of"):
            run.report("test", "setup", session=request.session)
        assert guest.wait(0)
        with pytest.raises(pytest.fail.Exception, match=r"the first test that failed like this shows the guest's"):
            run.report("next test", "setup", session=request.session)


@pytest.fixture
def _nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(availability, "has_vsock_loopback", lambda: False)
    monkeypatch.setattr(availability, "SYSTEM_FOLDERS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("_nothing_installed")
def test_without_loopback_and_programs_there_is_no_place_to_run() -> None:
    assert availability.choose_place() is Place.NOWHERE


@pytest.mark.usefixtures("_nothing_installed")
def test_absence_fails_where_vsock_is_required_and_names_what_to_install() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"^REQUIRE_VSOCK=1: .*linux\.uml.*apt-get install user-mode-linux"):
        availability.refuse(is_required=True)


@pytest.mark.usefixtures("_nothing_installed")
def test_absence_skips_where_vsock_is_not_required() -> None:
    with pytest.raises(pytest.skip.Exception, match=r"^no vsock loopback here"):
        availability.refuse(is_required=False)


def test_where_the_tests_run_vsock_loopback_works() -> None:
    assert availability.has_vsock_loopback()
