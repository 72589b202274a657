"""Every step of verify_document: what passes it, and what fails in it by which field."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from nitro_attestation.errors import VerificationStep
from nitro_attestation.verification import DEFAULT_LEEWAY, verify_document
from tests.support.attestation.expectations import EVERYTHING, FIELDS, refusal
from tests.support.attestation.good_document import (
    AUTHORITY,
    GOOD,
    LEAF,
    NOW,
    PCR0,
    ROOT,
    attest,
    good_fields,
    signed,
)

SECOND = timedelta(seconds=1)
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class TestGoodDocument:
    def test_passes_every_step(self) -> None:
        assert verify_document(GOOD, **EVERYTHING) == FIELDS

    @pytest.mark.parametrize("name", [name for name in EVERYTHING if name != "root"])
    def test_passes_without_what_is_not_compared(self, name: str) -> None:
        more = {"max_age"} if name == "at" else set()
        options = {key: value for key, value in EVERYTHING.items() if key not in {name, *more}}
        assert verify_document(GOOD, **options) == FIELDS

    @pytest.mark.parametrize("size", [0, 1, 512, 513, 1_024])
    def test_may_hold_0_to_1024_bytes_in_each_field_of_the_enclaves(self, size: int) -> None:
        data = bytes(range(256)) * 4
        held: dict[str, Any] = dict.fromkeys(("nonce", "user_data", "public_key"), data[:size])
        document = verify_document(attest(**held), root=ROOT, **held)
        assert (document.nonce, document.user_data, document.public_key_der) == (data[:size],) * 3

    def test_missing_field_differs_from_an_empty_one(self) -> None:
        document = verify_document(attest(), root=ROOT)
        assert (document.nonce, document.user_data, document.public_key_der) == (None, None, None)
        for name in ("nonce", "user_data", "public_key"):
            assert refusal(attest(), **_only(**{name: b""})).reason.startswith("the document has no ")

    def test_of_an_enclave_in_debug_mode_is_accepted_where_that_is_allowed(self) -> None:
        document = attest(debug=True)
        assert verify_document(document, root=ROOT, allow_debug=True).is_debug
        error = refusal(document, **_only())
        assert (error.step, error.field) == (VerificationStep.MODE, "pcrs")
        assert "debug mode" in str(error)

    @pytest.mark.parametrize("form", ["PEM", "PEM with text around it", "DER", "SHA-256"])
    def test_is_verified_under_a_root_in_each_form(self, form: str) -> None:
        der = AUTHORITY.cabundle_der[0]
        pem = x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
        root = {"PEM": pem, "PEM with text around it": b"# the root\n" + pem + b"\n", "DER": der, "SHA-256": ROOT}[form]
        assert verify_document(GOOD, root=root) == FIELDS
        assert refusal(root=AUTHORITY.cabundle_der[1]).field == "cabundle[0]"


def _only(**options: Any) -> dict[str, Any]:
    """Return options that undo all of EVERYTHING but the root, and add some."""
    return {**dict.fromkeys(EVERYTHING), "root": ROOT, **options}


class TestTime:
    """The leaf here is valid from 3 s before the document was made."""

    def test_leeway_reaches_to_a_certificate_that_is_not_valid_yet_and_no_further(self) -> None:
        fields = good_fields() | {"timestamp": int(LEAF.not_before.timestamp() * 1_000)}
        document = signed(fields)
        for at, leeway in (
            (LEAF.not_before - DEFAULT_LEEWAY, DEFAULT_LEEWAY),
            (LEAF.not_before - SECOND, SECOND),
            (LEAF.not_before, timedelta(0)),
        ):
            assert verify_document(document, root=ROOT, at=at, leeway=leeway).issued_at == LEAF.not_before
            error = refusal(document, **_only(at=at - SECOND, leeway=leeway))
            assert (error.step, error.field) == (VerificationStep.CERTIFICATES, "certificate")
            assert error.slow_by == LEAF.not_before - at + SECOND

    def test_hint_says_by_how_much_the_clock_seems_to_be_slow(self) -> None:
        error = refusal(**_only(at=LEAF.not_before - timedelta(minutes=6, seconds=52)))
        assert error.hint == "if that is the current time, this clock seems to be slow by 6 min 52 s"

    def test_leeway_does_not_count_for_what_has_expired(self) -> None:
        assert verify_document(GOOD, root=ROOT, at=LEAF.not_after) == FIELDS
        error = refusal(**_only(at=LEAF.not_after + SECOND, leeway=timedelta(days=1)))
        assert (error.field, error.slow_by, error.hint) == ("certificate", None, None)

    def test_leeway_does_not_count_for_the_documents_own_time(self) -> None:
        early = int((LEAF.not_before - SECOND).timestamp() * 1_000)
        error = refusal(signed(good_fields() | {"timestamp": early}), **_only(leeway=timedelta(days=1)))
        assert (error.step, error.field) == (VerificationStep.CERTIFICATES, "certificate")

    def test_age_counts_from_the_time_it_is_judged_at(self) -> None:
        at = NOW + timedelta(minutes=5)
        assert verify_document(GOOD, root=ROOT, at=at, max_age=timedelta(minutes=5)) == FIELDS
        error = refusal(**_only(at=at + SECOND, max_age=timedelta(minutes=5)))
        assert (error.step, error.field) == (VerificationStep.AGE, "timestamp")
        assert error.reason.endswith("got one made 5 min 1 s before")

    @pytest.mark.parametrize("max_age", [None, SECOND])
    def test_document_of_the_future_is_refused_beyond_the_leeway(self, max_age: timedelta | None) -> None:
        assert verify_document(GOOD, root=ROOT, at=NOW - SECOND, max_age=max_age, leeway=SECOND) == FIELDS
        error = refusal(**_only(at=NOW - 2 * SECOND, max_age=max_age, leeway=SECOND))
        assert (error.step, error.field, error.slow_by) == (VerificationStep.AGE, "timestamp", 2 * SECOND)

    def test_time_in_whole_seconds_may_leave_out_the_documents_milliseconds(self) -> None:
        assert FIELDS.issued_at.microsecond
        at = FIELDS.issued_at.replace(microsecond=0)
        assert verify_document(GOOD, root=ROOT, at=at, leeway=timedelta(0)) == FIELDS
        assert refusal(**_only(at=at - SECOND, leeway=timedelta(0))).field == "timestamp"

    @pytest.mark.parametrize(
        ("at", "leeway"),
        [(FIRST, timedelta(0)), (LAST, timedelta(0)), (LAST, timedelta.max)],
    )
    def test_ends_of_all_time_raise_the_same_error_as_other_times(self, at: datetime, leeway: timedelta) -> None:
        error = refusal(**_only(at=at, leeway=leeway))
        assert (error.step, error.field) == (VerificationStep.CERTIFICATES, "cabundle[0]")
        assert verify_document(GOOD, root=ROOT, at=FIRST, leeway=timedelta.max) == FIELDS


class TestMistakesOfTheProgrammer:
    @pytest.mark.parametrize(
        "options",
        [
            {"document": "text"},
            {"document": None},
            {"at": "2026-01-02"},
            {"at": 1_767_323_045},
            {"leeway": 300},
            {"leeway": None},
            {"max_age": 60},
            {"nonce": "00ff"},
            {"user_data": "text"},
            {"public_key": 5},
            {"pcrs": [PCR0]},
            {"pcrs": {"0": PCR0}},
            {"pcrs": {True: PCR0}},
            {"pcrs": {0: PCR0.hex()}},
            {"root": None},
            {"root": "-----BEGIN CERTIFICATE-----"},
        ],
    )
    def test_value_of_another_type_is_a_type_error_that_names_it(self, options: dict[str, Any]) -> None:
        with pytest.raises(TypeError, match=rf"^{next(iter(options))}.*: expected "):
            verify_document(**{"document": GOOD, **EVERYTHING, **options})

    @pytest.mark.parametrize(
        "options",
        [
            {"at": datetime(2026, 1, 2)},  # noqa: DTZ001 - the fault
            {"leeway": -SECOND},
            {"max_age": -SECOND},
            {"nonce": bytes(1_025)},
            {"user_data": bytes(1_025)},
            {"public_key": bytes(1_025)},
            {"pcrs": {}},
            {"pcrs": {32: PCR0}},
            {"pcrs": {-1: PCR0}},
            {"pcrs": {0: PCR0[:-1]}},
            {"root": b""},
            {"root": bytes(31)},
            {"root": ROOT.hex().encode()},
            {"root": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"},
            {"root": AUTHORITY.root_pem * 2},
            {"root": AUTHORITY.cabundle_der[0] + b"\0"},
        ],
    )
    def test_impossible_value_is_a_value_error_that_names_the_argument(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=rf"^{next(iter(options))}(\[-?\d+\])?: (expected|the|not) "):
            verify_document(**{"document": GOOD, **EVERYTHING, **options})

    def test_age_without_a_time_to_count_from_is_a_value_error(self) -> None:
        with pytest.raises(ValueError, match=r"^max_age: needs at,"):
            verify_document(GOOD, root=ROOT, max_age=SECOND)
