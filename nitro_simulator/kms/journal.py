"""What the simulated KMS was asked and answered, without any secret."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

OK = "OK"
MAX_ENTRIES = 10_000
"""Beyond it the oldest entry goes."""


@dataclass(frozen=True)
class JournalEntry:
    """One request.

    Attributes:
        time: when it was answered.
        operation: as asked for.
        verdict: OK, or the code of the error answer.
        reason: for a refusal by the key policy which statements were looked at and why they did not apply; for other
            refusals the text of the answer; may be empty.
        caller_arn: who asked, or None where the signature told nobody.
        key_arn: of the key it was about, where that got known.
        context_names: the names, not the values, in the encryption context.
        has_document: whether a Recipient came with it, verified or not.
        module_id: of the verified document, else None.
        pcr0: of the verified document in hexadecimal, else None.
        answered_bytes: fields of the answer that hold bytes, and how many.
    """

    time: datetime
    operation: str
    verdict: str
    reason: str = ""
    caller_arn: str | None = None
    key_arn: str | None = None
    context_names: tuple[str, ...] = ()
    has_document: bool = False
    module_id: str | None = None
    pcr0: str | None = None
    answered_bytes: Mapping[str, int] = field(default_factory=dict)


class Journal:
    """A list of entries, oldest first. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[JournalEntry] = deque(maxlen=MAX_ENTRIES)

    def add(self, entry: JournalEntry) -> None:
        """Append an entry."""
        with self._lock:
            self._entries.append(entry)

    def entries(self) -> list[JournalEntry]:
        """Return a copy of all entries, oldest first."""
        with self._lock:
            return list(self._entries)
