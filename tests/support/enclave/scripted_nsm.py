"""An NSM without a device, with responses from the test, that records the requests."""

from __future__ import annotations

import threading
from collections.abc import Callable

import cbor2

from enclave_tool.nsm.device import Nsm

Answer = bytes | Callable[[bytes], bytes]


def attestation_answer(document: bytes) -> bytes:
    return cbor2.dumps({"Attestation": {"document": document}})


class ScriptedCarrier:
    """Responds to every request with ``answer``, by default with a new document each time."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.requests: list[bytes] = []
        self.answer: Answer = answer or self._new_document
        self.is_closed = False
        self._lock = threading.Lock()

    def exchange(self, request: bytes) -> bytes:
        with self._lock:
            self.requests.append(request)
        return self.answer(request) if callable(self.answer) else self.answer

    def forget(self) -> None:
        """Start counting again, and respond with documents."""
        self.requests.clear()
        self.answer = self._new_document

    def close(self) -> None:
        self.is_closed = True

    def _new_document(self, _request: bytes) -> bytes:
        return attestation_answer(b"document %d" % len(self.requests))


class ScriptedNsm(Nsm):
    """An Nsm with a ScriptedCarrier."""

    def __init__(self, answer: Answer | None = None, *, is_device: bool = False) -> None:
        self.carrier = ScriptedCarrier(answer)
        super().__init__(self.carrier, is_device=is_device)
