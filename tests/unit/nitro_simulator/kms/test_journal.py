from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from nitro_simulator.kms import journal as journals
from nitro_simulator.kms.journal import OK, Journal, JournalEntry


def entry(number: int) -> JournalEntry:
    return JournalEntry(datetime(2025, 1, 1, tzinfo=UTC), f"Operation{number}", OK)


def test_entries_are_a_copy_oldest_first() -> None:
    journal = Journal()
    journal.add(entry(1))
    journal.add(entry(2))
    journal.entries().clear()
    assert journal.entries() == [entry(1), entry(2)]


def test_oldest_entry_is_dropped_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "MAX_ENTRIES", 3)
    journal = Journal()
    for number in range(5):
        journal.add(entry(number))
    assert journal.entries() == [entry(2), entry(3), entry(4)]


def test_entries_from_several_threads_are_all_kept() -> None:
    journal = Journal()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: journal.add(entry(number)), range(1_000)))
    assert {each.operation for each in journal.entries()} == {f"Operation{number}" for number in range(1_000)}
