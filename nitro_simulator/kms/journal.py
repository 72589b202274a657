"""A record of the requests to the simulated KMS and their results, without any secret."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

OK = "OK"
MAX_ENTRIES = 10_000
"""Beyond this the oldest entry is dropped."""


@dataclass(frozen=True)
class JournalEntry:
    """One request.

    Attributes:
        time: when it was answered.
        operation: its name in the request.
        verdict: OK, or the code of the error response.
        reason: for a denial by the key policy, which statements it examined and why they did not apply; for other
            errors, the text of the response; may be empty.
        caller_arn: the caller, or None if the signature identified nobody.
        key_arn: the key that it used, if known.
        context_names: the names, not the values, in the encryption context.
        has_document: whether it had a Recipient, verified or not.
        module_id: from the verified document, else None.
        pcr0: from the verified document, in hexadecimal, else None.
        answered_bytes: fields of the response that contain bytes, and how many.
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
