"""The trace of a call as text: what crossed each boundary, who could read it there, and what proves it (pure).

``vsock_wire.protocol.trace`` defines the steps; this module turns them into the text of ``--explain``. The text shows
how the plaintext gets back into the enclave in this very run. It marks the steps that the enclave reports, because
nothing proves them, and verifies the attestation document among them.
"""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import singledispatchmethod
from itertools import pairwise
from typing import NamedTuple

from nitro_attestation.document.cose import parse_unverified_document
from nitro_attestation.document.payload import AttestationDocument
from nitro_attestation.document.report import DEBUG_WARNING, root_name
from nitro_attestation.errors import AttestationError
from nitro_attestation.verification import verify_document
from vsock_wire.errors import printable, quoted
from vsock_wire.protocol.delivery import DIGEST, MESSAGE, Delivery
from vsock_wire.protocol.kms_operations import KMS_OPERATIONS
from vsock_wire.protocol.trace import (
    Attested,
    Connected,
    CredentialsFound,
    EnclaveStep,
    KmsAnswered,
    Opened,
    Printed,
    Received,
    Sent,
    TlsConnected,
    cut_text,
)
from vsock_wire.protocol.vocabulary import Operation

LINE_CHARS = 100
"""Maximum width of prose; a long word such as a PCR may exceed it."""
TIME_COLUMN = 84
"""The column where a step's milliseconds end, unless its heading is too long."""
_INDENT = "    "
_HTTP_OK = 200

_NOT_PROVEN = (
    "Steps marked * are reported by the enclave, or by whatever answers at its address, and are not proven. Only an"
    " attestation document among them is checked here. It shows that an enclave with these PCRs vouched for this key,"
    " but not when, and not that it reported these steps; kmstool-instance attest fetches one with a fresh nonce."
    " A reply's time is measured from its request."
)
_NOT_TOLD = (
    "The enclave reported no steps of its own; kmstool in C never does. A reply's time is measured from its request."
)
_NOT_ANSWERED = "The enclave did not answer."


class _Told(NamedTuple):
    """The text of one step.

    Attributes:
        heading: who did what.
        details: the lines below the heading.
        elapsed_ms: how long the step took in milliseconds; None if another step's time includes it.
    """

    heading: str
    details: tuple[str, ...] = ()
    elapsed_ms: float | None = None


def trace_text(operation: Operation, steps: Sequence[object], *, at: datetime) -> str:
    """Return the trace of one call as text; text from the peer is made printable.

    Args:
        operation: the operation that was called.
        steps: the recorded steps, including the enclave's.
        at: when the certificates of an attestation document must be valid; a time with a zone.
    """
    narrator = _Narrator(operation, steps, at)
    lines = [f"trace of {operation}", ""]
    for number, step in enumerate(steps, start=1):
        mark = "*" if isinstance(step, EnclaveStep) else " "
        lines += _lines(f"{number:2}{mark} ", narrator.tell(step))
    lines += ["", *textwrap.wrap(_caveat(steps), LINE_CHARS)]
    return "\n".join(lines)


def _caveat(steps: Sequence[object]) -> str:
    if any(isinstance(step, EnclaveStep) for step in steps):
        return _NOT_PROVEN
    return _NOT_TOLD if any(isinstance(step, Received) for step in steps) else _NOT_ANSWERED


def _lines(number: str, told: _Told) -> Iterator[str]:
    heading = number + printable(told.heading)
    if told.elapsed_ms is not None:
        time = f"{told.elapsed_ms:,.1f} ms"
        heading = f"{heading} {time:>{max(0, TIME_COLUMN - len(heading) - 1)}}"
    yield heading
    for detail in told.details:
        yield from textwrap.wrap(
            printable(detail),
            LINE_CHARS,
            initial_indent=_INDENT,
            subsequent_indent=_INDENT + "  ",
            break_long_words=False,
            break_on_hyphens=False,
        )


@dataclass(frozen=True)
class _PresentedDocument:
    """The attestation document that went to KMS, and the result of its verification.

    Attributes:
        fields: the content of the document; None if it cannot be parsed.
        verdict: the result of the verification, in words.
        is_verified: whether the document verified, under whichever root it names.
        key_identifier: SHA-256 of the public key in it, in hexadecimal; empty if it has none.
    """

    fields: AttestationDocument | None
    verdict: str
    is_verified: bool = False
    key_identifier: str = ""

    @classmethod
    def judge(cls, document: bytes, at: datetime) -> _PresentedDocument:
        """Verify a document under its own root and name that root: any but AWS's shows integrity, not origin."""
        try:
            fields = parse_unverified_document(document)
        except AttestationError as error:
            return cls(None, f"NOT verified: {error}")
        root_sha256 = hashlib.sha256(fields.cabundle_der[0]).digest()
        try:
            verify_document(document, root=root_sha256, at=at, allow_debug=True)
            verdict, is_verified = f"signature and certificates verified here, up to {root_name(root_sha256)}", True
        except AttestationError as error:
            verdict, is_verified = f"NOT verified: {error}", False
        key = fields.public_key_der
        return cls(fields, verdict, is_verified, hashlib.sha256(key).hexdigest() if key else "")


class _Narrator:
    """Describes the steps of one call. They must be told in order: a step may refer to the last attestation document.

    Args:
        operation: the operation that was called.
        steps: all steps.
        at: when certificates must be valid.
    """

    def __init__(self, operation: Operation, steps: Sequence[object], at: datetime) -> None:
        self._operation = operation
        self._at = at
        self._presented: _PresentedDocument | None = None
        of_enclave = [step for step in steps if isinstance(step, EnclaveStep)]
        self._opened_answers = [step for step, next_step in pairwise(of_enclave) if isinstance(next_step, Opened)]
        self._delivers = KMS_OPERATIONS[operation].delivers if operation in KMS_OPERATIONS else None

    @singledispatchmethod
    def tell(self, step: object) -> _Told:
        """Return the text of one step."""
        raise TypeError(f"step: expected a step of vsock_wire.protocol.trace, got {type(step).__name__}")

    @tell.register
    def _(self, step: CredentialsFound) -> _Told:
        return _Told(
            f"this instance found credentials: {step.source}",
            ("readable by: anyone who controls this instance",),
            step.elapsed_ms,
        )

    @tell.register
    def _(self, step: Connected) -> _Told:
        return _Told(f"this instance connected to {step.peer}", elapsed_ms=step.elapsed_ms)

    @tell.register
    def _(self, step: Sent) -> _Told:
        return _Told(
            f"this instance -> enclave: {step.operation}, {step.sent_bytes:,} bytes",
            (*_carried(step.fields), f"readable by: {_readers(step.peer)}"),
        )

    @tell.register
    def _(self, step: Attested) -> _Told:
        source = "enclave: reused" if step.is_reused else "Nitro Security Module -> enclave:"
        heading = f"{source} attestation document, {len(step.document):,} bytes"
        self._presented = presented = _PresentedDocument.judge(step.document, self._at)
        if presented.fields is None:
            return _Told(heading, (presented.verdict,), step.elapsed_ms)
        fields = presented.fields
        label = "evidence" if presented.is_verified else "unproven"
        details = (
            f"{label}: {presented.verdict}",
            f"{label}: module {quoted(fields.module_id, 128)}",
            f"{label}: PCR0 {fields.pcrs.get(0, b'').hex() or 'missing'}",
            f"{label}: public key in the document: SHA-256 {presented.key_identifier or 'missing'}",
            "readable by: anyone; it contains no secret, and the private key stays in the enclave",
        )
        return _Told(heading, (*details, DEBUG_WARNING) if fields.is_debug else details, step.elapsed_ms)

    @tell.register
    def _(self, step: TlsConnected) -> _Told:
        return _Told(
            f"enclave -> KMS: {step.version} through {step.proxy}, {'reused' if step.is_kept else 'new'}",
            (
                f"evidence: certificate for {step.certificate_names}, issued by {step.certificate_issuer}",
                f"evidence: checked in the enclave against the name {step.host}",
                f"readable by: the enclave and KMS; the proxy sees only TLS records ({step.cipher})",
            ),
            None if step.is_kept else step.elapsed_ms,
        )

    @tell.register
    def _(self, step: KmsAnswered) -> _Told:
        request_id = (f"evidence: KMS's request id {step.request_id}",) if step.request_id else ()
        return _Told(
            f"enclave <-> KMS: {step.sent_bytes:,} bytes; HTTP {step.http_status}, {step.received_bytes:,} bytes",
            (*self._answer(step), *request_id),
            step.elapsed_ms,
        )

    def _answer(self, step: KmsAnswered) -> tuple[str, ...]:
        if step.http_status != _HTTP_OK:
            return ("carried: an error",)
        if self._delivers is None:
            return (f"carried: the response to {self._operation}, which KMS does not encrypt for the enclave",)
        if not any(step is answer for answer in self._opened_answers):
            return ("carried: a response that the enclave did not accept",)
        return (
            f"carried: CiphertextForRecipient, the {self._delivers} encrypted again with the enclave's public key",
            "readable by: only the enclave; breaking TLS is not enough without its private key",
        )

    @tell.register
    def _(self, step: Opened) -> _Told:
        return _Told(
            f"enclave: opened CiphertextForRecipient, {step.ciphertext_for_recipient_bytes:,} bytes",
            (
                f"evidence: public key of the private key used: SHA-256 {step.key_identifier}",
                self._compared(step.key_identifier),
                "readable by: only the enclave",
            ),
            step.elapsed_ms,
        )

    def _compared(self, key_identifier: str) -> str:
        presented = self._presented
        if presented is not None and presented.fields is None:
            return "not compared with the public key in the document, which cannot be read"
        if presented is None or not presented.key_identifier or key_identifier != presented.key_identifier:
            return "= NOT the public key in the document"
        return "= the public key in the document" + ("" if presented.is_verified else ", which is NOT verified")

    @tell.register
    def _(self, step: Received) -> _Told:
        what = "reply to" if step.is_ok else "error reply to"
        return _Told(
            f"enclave -> this instance: {what} {step.operation}, {step.received_bytes:,} bytes",
            (*_carried(step.fields), *self._fate_of_secret(step)),
            step.elapsed_ms,
        )

    def _fate_of_secret(self, step: Received) -> tuple[str, ...]:
        if self._delivers is None or step.operation != self._operation or not step.is_ok:
            return ()
        if MESSAGE not in step.fields:
            is_digest = step.delivery == Delivery.DIGEST
            return (f"{self._delivers}: stayed in the enclave; {DIGEST} is its SHA-256",) if is_digest else ()
        if step.delivery == Delivery.EXEC:
            return (f"{self._delivers}: went to a program in the enclave; {MESSAGE} is that program's output",)
        alternative = "kmstool-enclave --deliver digest or exec keeps it inside"
        return (f"readable by: anyone who controls this instance: {MESSAGE} is the {self._delivers}; {alternative}",)

    @tell.register
    def _(self, step: Printed) -> _Told:
        return _Told(f"this instance -> standard output: {step.printed_bytes:,} bytes")


def _carried(fields: tuple[str, ...]) -> tuple[str, ...]:
    return (f"carried: {cut_text(', '.join(fields))}",) if fields else ()


def _readers(peer: str) -> str:
    if peer.startswith("vsock://"):
        return "anyone who controls this instance, and the enclave; vsock does not leave the machine"
    if peer.startswith("unix:"):
        return "anyone who controls this machine"
    return "anyone on the network path"
