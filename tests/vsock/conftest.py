"""Run the tests of this folder where vsock loopback is available: on this kernel, or in a User Mode Linux guest.

If it is not available, they are skipped, or fail if REQUIRE_VSOCK=1. Apart from tests/images, which does the same,
nothing else in the project skips a test. Tests marked ``boots_guest`` always run on the host, and boot their own guest.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.suites.recorder import tell_place
from tests.support.vsock import availability
from tests.support.vsock.availability import Place
from tests.support.vsock.guest import KERNEL, Guest
from tests.support.vsock.guest_run import REPORTS_VARIABLE, GuestItem, GuestReporter, GuestRun

FOLDER = Path(__file__).parent
PLACE = pytest.StashKey[Place]()


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark of this folder; in the guest, report to the host."""
    config.addinivalue_line("markers", "boots_guest: runs on the host, and boots a guest of its own")
    if REPORTS_VARIABLE in os.environ:
        config.pluginmanager.register(GuestReporter(config, Path(os.environ[REPORTS_VARIABLE])))


@pytest.hookimpl(trylast=True)  # after -k, -m and the like
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the place; for the guest, replace each test that will run there."""
    config.stash[PLACE] = Place.HERE if REPORTS_VARIABLE in os.environ else availability.choose_place()
    tell_place(config, FOLDER.name, config.stash[PLACE].value)
    kernel = availability.find_program(KERNEL)
    if config.stash[PLACE] is not Place.GUEST or kernel is None:
        return
    run = GuestRun(config, Guest(kernel))
    config.add_cleanup(run.close)
    items[:] = [GuestItem.standing_for(item, run) if _is_for_guest(item) else item for item in items]


def pytest_report_collectionfinish(config: pytest.Config) -> str:
    """Report where the tests run."""
    return f"vsock tests run: {config.stash[PLACE].value}"


@pytest.hookimpl(tryfirst=True)  # before fixtures are set up
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip or fail a test that cannot run here."""
    needs_programs = item.config.stash[PLACE] is Place.NOWHERE or "boots_guest" in item.keywords
    if needs_programs and availability.missing_programs():
        availability.refuse(is_required=os.environ.get("REQUIRE_VSOCK") == "1")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> pytest.TestReport | None:
    """Use the guest's report as the host's."""
    return item.reports.get(call.when) if isinstance(item, GuestItem) else None


def _is_for_guest(item: pytest.Item) -> bool:
    return FOLDER in item.path.parents and "boots_guest" not in item.keywords
