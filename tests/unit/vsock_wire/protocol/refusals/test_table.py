from __future__ import annotations

from collections import Counter

import pytest

from vsock_wire.errors import ExitCode
from vsock_wire.protocol.kms_operations import KMS_OPERATIONS
from vsock_wire.protocol.refusals.row import Reason, Refusal
from vsock_wire.protocol.refusals.table import REFUSALS, find_refusal, parse_reason, refusal_exit_code
from vsock_wire.protocol.vocabulary import Operation


@pytest.mark.parametrize("row", REFUSALS, ids=lambda row: f"{row.codes[0]}-{row.reason}-{','.join(row.operations)}")
def test_row_has_a_hint_and_ends_a_program_as_the_others_with_its_code_and_reason(row: Refusal) -> None:
    assert row.hint.strip() == row.hint != ""
    assert not row.hint.endswith(".")
    assert set(row.operations) <= set(KMS_OPERATIONS)
    for code in row.codes:
        assert refusal_exit_code(code, row.reason) is row.exit_code
        for operation in row.operations or KMS_OPERATIONS:
            found = find_refusal(code, row.reason, operation)
            assert found is not None
            assert found.exit_code is row.exit_code
            assert found is row or found.operations


def test_no_two_rows_are_for_the_same_refusal_and_every_code_has_a_row_for_the_rest() -> None:
    keys = Counter(
        (code, row.reason, operation)
        for row in REFUSALS
        for code in row.codes
        for operation in row.operations or (None,)
    )
    assert [key for key, count in keys.items() if count > 1] == []
    assert {code for code, _, _ in keys} == {code for code, reason, operation in keys if not reason and not operation}


def test_every_reason_has_a_row() -> None:
    assert {row.reason for row in REFUSALS} == {*Reason, None}


def test_row_that_fits_best_is_found() -> None:
    def hint(*key: str | Reason | None) -> str:
        found = find_refusal(*key)  # type: ignore[arg-type]
        assert found is not None
        return found.hint

    denied = Reason.NO_RESOURCE_POLICY_ALLOWS
    assert "carries no attestation document" in hint("AccessDeniedException", denied, Operation.ENCRYPT)
    assert "this enclave's PCR0" in hint("AccessDeniedException", denied, Operation.DECRYPT)
    assert hint("AccessDeniedException", denied, "NewOperation") == hint("AccessDeniedException", denied)
    assert "RSAES_OAEP_SHA_256" in hint("InvalidKeyUsageException", None, Operation.DECRYPT)
    assert hint("InvalidKeyUsageException", Reason.CLOCK, Operation.DECRYPT) == hint(
        "InvalidKeyUsageException", None, Operation.DECRYPT
    )
    assert find_refusal("SomethingNewException") is None


def test_code_that_nobody_knows_is_a_failure() -> None:
    assert refusal_exit_code("SomethingNewException", None) is ExitCode.FAILED
    assert refusal_exit_code("SomethingNewException", Reason.ATTESTATION_DOCUMENT) is ExitCode.FAILED


@pytest.mark.parametrize("reason", Reason)
def test_reason_is_read_as_it_is_written(reason: Reason) -> None:
    assert parse_reason(str(reason)) is reason


@pytest.mark.parametrize("text", [None, "", "SomethingNew", "clock"])
def test_reason_of_another_version_is_none(text: str | None) -> None:
    assert parse_reason(text) is None
