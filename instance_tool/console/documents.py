"""Attestation documents as the commands verify them: what options expect of one, and what is said where it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from instance_tool.console.expectations import Expectations, der_of_pem
from instance_tool.console.reports import report_warning
from nitro_attestation.document.cose import parse_unverified_document
from nitro_attestation.document.payload import AttestationDocument
from nitro_attestation.document.report import DEBUG_WARNING, VerifiedDocument
from nitro_attestation.document.times import duration_text, moment_text
from nitro_attestation.errors import AttestationError, VerificationStep
from nitro_attestation.verification import verify_document
from vsock_wire.protocol.attestation import MAX_ATTESTED_BYTES
from vsock_wire.protocol.delivery import names_key_of_caller, split_delivery_line

KEY_WARNING = (
    "the public key is not the enclave's own: a caller gave it, and the enclave says so; encrypt to it only if you"
    " know who has its private key"
)
KEY_HINT = "something on the way to the enclave added a key to the request"
DATA_HINT = "something on the way to the enclave changed the request"


def verify_and_warn(document: bytes, expected: Expectations) -> VerifiedDocument:
    """Verify a document against everything that is expected of it; of debug mode, warn on standard error.

    Args:
        document: as the NSM made it.
        expected: of it.

    Raises:
        AttestationError: it does not verify, or is not what is expected.
    """
    claimed = parse_unverified_document(document)
    pcrs = _image_of(claimed, expected.images)
    try:
        fields = _verify(document, claimed, expected, pcrs)
    except AttestationError as error:
        is_genuine = error.step is not None and error.step > VerificationStep.NONCE
        if is_genuine and claimed.is_debug:
            report_warning(DEBUG_WARNING)
        raise
    if fields.is_debug:
        report_warning(DEBUG_WARNING)
    if expected.is_whole_request and expected.user_data is None:
        _refuse_data_of_others(fields, is_bare=expected.is_user_data_bare)
    if expected.public_key is None and names_key_of_caller(fields.user_data or b""):
        if expected.is_whole_request:
            raise AttestationError("public_key", "not the enclave's own key, but one from a caller", hint=KEY_HINT)
        report_warning(KEY_WARNING)
    return VerifiedDocument(
        fields,
        root_sha256=expected.root_sha256,
        judged_at=fields.issued_at if expected.at is None else expected.at,
        is_nonce_checked=expected.nonce is not None,
        is_user_data_checked=expected.user_data is not None,
        is_public_key_checked=expected.public_key is not None,
        max_age=expected.max_age,
        compared_pcrs=tuple(sorted(pcrs)),
    )


def _image_of(claimed: AttestationDocument, images: Sequence[Mapping[int, bytes]]) -> Mapping[int, bytes]:
    """Return the measurements of the image that a document claims to come from; those of the first if of none."""
    fitting = (pcrs for pcrs in images if all(claimed.pcrs.get(index) == value for index, value in pcrs.items()))
    return next(fitting, images[0] if images else {})


def _refuse_data_of_others(fields: AttestationDocument, *, is_bare: bool) -> None:
    """Refuse user data that somebody else put into the request, which asked for none."""
    if fields.user_data is None:
        return
    size = len(fields.user_data)
    if is_bare:
        raise AttestationError("user_data", f"{size} bytes, although none were requested", hint=DATA_HINT)
    if split_delivery_line(fields.user_data)[1]:
        raise AttestationError(
            "user_data", f"{size} bytes, although only the enclave's own line was requested", hint=DATA_HINT
        )


def _verify(
    document: bytes, claimed: AttestationDocument, expected: Expectations, pcrs: Mapping[int, bytes]
) -> AttestationDocument:
    """Verify it; where only the time stands in the way, say so in the hint."""
    try:
        return verify_document(
            document,
            at=expected.at,
            leeway=expected.leeway,
            max_age=expected.max_age,
            nonce=expected.nonce,
            user_data=_user_data(expected, claimed.user_data),
            public_key=_public_key(expected, claimed.public_key_der),
            pcrs=pcrs or None,
            allow_debug=True,
            root=expected.root_sha256,
        )
    except AttestationError as error:
        if error.step is VerificationStep.MEASUREMENTS and len(expected.images) > 1:
            error.hint = f"none of the {len(expected.images)} files of --expect fits; this compares the first"
        if error.hint is None or error.slow_by is not None:
            error.hint = _time_hint(error, document, expected)
        raise


def _user_data(expected: Expectations, claimed: bytes | None) -> bytes | None:
    """Return the user data to expect: what is asked for, behind the enclave's own line if the document has one."""
    if expected.user_data is None or expected.is_user_data_bare or claimed in (None, expected.user_data):
        return expected.user_data
    line, _ = split_delivery_line(claimed or b"")
    fits = len(line) + len(expected.user_data) <= MAX_ATTESTED_BYTES
    return line + expected.user_data if fits else expected.user_data


def _public_key(expected: Expectations, claimed: bytes | None) -> bytes | None:
    """Return the public key to expect: the one of the document if it is the same key, in PEM or in DER."""
    if expected.public_key is None or claimed is None:
        return expected.public_key
    key = der_of_pem(expected.public_key)
    return claimed if der_of_pem(claimed) == key else key


def _time_hint(error: AttestationError, document: bytes, expected: Expectations) -> str | None:
    """Return what to say about the time, if the document was in order when it was made."""
    made_at = _made_at(document, expected)
    if made_at is None or expected.at is None:
        return error.hint if expected.is_at_present else None
    if expected.is_at_present and made_at > expected.at:
        slow_by = duration_text(made_at - expected.at)
        return f"this clock seems to be slow by {slow_by}: set it, or allow for that with --leeway"
    if expected.has_time_option:
        made = moment_text(made_at)
        return f"it was in order when it was made, by its own word at {made}: --at document judges it then"
    ago = duration_text(expected.at - made_at)
    return f"it was made {ago} ago by this clock: the clock is fast, or the enclave sent an old document"


def _made_at(document: bytes, expected: Expectations) -> datetime | None:
    try:
        return verify_document(document, root=expected.root_sha256, allow_debug=True).issued_at
    except AttestationError:
        return None
