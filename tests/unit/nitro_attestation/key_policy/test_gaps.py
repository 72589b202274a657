from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from nitro_attestation.key_policy.conditions.keys import IMAGE_KEY
from nitro_attestation.key_policy.context import parse_caller
from nitro_attestation.key_policy.gaps import Access, Gap, GapKind, find_access
from nitro_attestation.key_policy.parsing import parse_policy
from tests.support.attestation.documents import ACCOUNT_ID, ADMIN_ARN, PCRS, ROLE_ARN, ROOT_ARN, SIGNED_PCRS
from tests.support.kms.world import allow, deny, policy

PCR0 = PCRS[0].hex()
ATTESTED = {"StringEqualsIgnoreCase": {IMAGE_KEY: PCR0}}
GUARD = {"StringNotEqualsIgnoreCase": {IMAGE_KEY: PCR0}}
PCR3 = {"StringEquals": {"kms:RecipientAttestation:PCR3": PCRS[3].hex()}}
ROLE = {"AWS": ROLE_ARN}
ROOT = {"AWS": ROOT_ARN}


def _gaps(*statements: dict[str, Any], operation: str = "Decrypt") -> tuple[Gap, ...]:
    return _access(*statements, operation=operation).gaps


def _access(*statements: dict[str, Any], operation: str = "Decrypt", at: datetime | None = None) -> Access:
    parsed = parse_policy(policy(*statements, with_administration=False), keep_odd_statements=True)
    return find_access(parsed, operations=[operation], caller=parse_caller(ROLE_ARN), pcrs=SIGNED_PCRS, at=at)


def _kinds(*statements: dict[str, Any], operation: str = "Decrypt") -> list[GapKind]:
    return [gap.kind for gap in _gaps(*statements, operation=operation)]


def test_attested_allow_is_not_a_gap() -> None:
    assert _kinds(allow("kms:Decrypt", condition=ATTESTED, principal=ROLE)) == []
    assert _kinds(allow("kms:*", condition=ATTESTED, principal=ROLE)) == []


@pytest.mark.parametrize("index", [0, 8])
def test_pcr_of_the_whole_image_or_its_signer_identifies_it(index: int) -> None:
    condition = {"StringEquals": {f"kms:RecipientAttestation:PCR{index}": SIGNED_PCRS[index].hex()}}
    assert _kinds(allow("kms:Decrypt", condition=condition, principal=ROLE)) == []


@pytest.mark.parametrize(
    "principal",
    [
        ROLE,
        ROOT,
        "*",
        {"AWS": ACCOUNT_ID},
        {"AWS": "arn:aws:iam::444455556666:user/eve"},
        {"Service": "logs.amazonaws.com"},
    ],
)
@pytest.mark.parametrize("action", ["kms:Decrypt", "kms:*", "*", "kms:De*", "kms:ReEncryptFrom", "kms:ReEncrypt*"])
def test_allow_without_condition_is_a_gap_for_any_principal(principal: object, action: str) -> None:
    attested = allow("kms:Decrypt", condition=ATTESTED, principal=ROLE)
    gaps = _gaps(attested, allow(action, principal=principal))
    assert gaps[0].kind is GapKind.NO_DOCUMENT
    assert {gap.statement.index for gap in gaps} == {1}


def test_not_action_that_leaves_decrypt_in_is_a_gap() -> None:
    statement = allow("kms:PutKeyPolicy", principal=ROLE)
    statement["NotAction"] = statement.pop("Action")
    assert GapKind.NO_DOCUMENT in _kinds(statement)


@pytest.mark.parametrize(
    "condition",
    [
        {"StringEqualsIfExists": {IMAGE_KEY: PCR0}},
        {"StringNotEquals": {IMAGE_KEY: "00" * 48}},
        {"Null": {IMAGE_KEY: "true"}},
        {"Null": {"kms:RecipientAttestation:ImageSha348": "true"}},
        {"StringEquals": {"kms:CallerAccount": ACCOUNT_ID}},
        {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}},
        {"StringEquals": {"kms:EncryptionContext:purpose": "test"}},
    ],
)
def test_condition_that_holds_without_a_document_is_a_gap(condition: dict[str, Any]) -> None:
    assert _kinds(allow("kms:Decrypt", condition=condition, principal=ROLE))[0] is GapKind.NO_DOCUMENT


@pytest.mark.parametrize("principal", [ROOT, {"AWS": ACCOUNT_ID}, "*"])
def test_condition_on_the_caller_is_a_gap_if_the_statement_names_many_principals(principal: object) -> None:
    condition = {"StringEquals": {"aws:PrincipalArn": ADMIN_ARN}}
    assert _kinds(allow("kms:Decrypt", condition=condition, principal=principal)) == [GapKind.NO_DOCUMENT]


@pytest.mark.parametrize(
    "condition",
    [
        {"StringEquals": {"kms:CallerAccount": "444455556666"}},
        {"StringEquals": {"aws:PrincipalArn": ADMIN_ARN}},
        {"Bool": {"aws:SecureTransport": "false"}},
        {"Null": {"kms:RecipientAttestation:ImageSha348": "false"}},
    ],
)
def test_condition_that_no_named_principal_can_meet_is_not_a_gap(condition: dict[str, Any]) -> None:
    assert _kinds(allow("kms:Decrypt", condition=condition, principal=ROLE)) == []


@pytest.mark.parametrize("condition", [PCR3, {"Null": {IMAGE_KEY: "false"}}, {"StringLike": {IMAGE_KEY: "*"}}])
def test_condition_that_every_image_meets_is_a_gap(condition: dict[str, Any]) -> None:
    assert _kinds(allow("kms:Decrypt", condition=condition, principal=ROLE)) == [GapKind.ANY_IMAGE]


def test_condition_on_zeros_is_a_gap_for_debug_mode() -> None:
    condition = {"StringEquals": {IMAGE_KEY: [PCR0, "0" * 96]}}
    assert _kinds(allow("kms:Decrypt", condition=condition, principal=ROLE)) == [GapKind.DEBUG_MODE]


def test_grant_is_a_gap_unless_everybody_is_denied_without_the_enclave() -> None:
    grants = allow("kms:CreateGrant", principal={"AWS": ADMIN_ARN})
    assert _kinds(grants) == [GapKind.NO_DOCUMENT]
    guarded = ["kms:Decrypt", "kms:ReEncryptFrom"]
    assert _kinds(grants, deny(guarded, condition=GUARD, principal=ROLE)) == [GapKind.NO_DOCUMENT]
    assert _kinds(grants, deny("kms:Decrypt", condition=GUARD, principal="*")) == [GapKind.NO_DOCUMENT]
    assert _kinds(grants, deny(guarded, condition=GUARD, principal="*")) == []


@pytest.mark.parametrize("action", ["kms:PutKeyPolicy", "kms:Put*", "kms:ReplicateKey"])
def test_role_that_may_replace_the_policy_is_a_gap_but_an_administrator_is_not(action: str) -> None:
    assert _kinds(allow(action, principal=ROLE)) == [GapKind.OWN_POLICY]
    assert _kinds(allow(action, principal={"AWS": ADMIN_ARN})) == []


@pytest.mark.parametrize("principal", ["*", ROLE, ROOT, {"AWS": ACCOUNT_ID}])
def test_denial_without_the_enclave_closes_the_gap_of_the_role(principal: object) -> None:
    statements = [allow("kms:Decrypt", principal=ROLE), deny("kms:*", condition=GUARD, principal=principal)]
    assert _kinds(*statements) == []


@pytest.mark.parametrize(
    "statement",
    [
        deny("kms:Encrypt", condition=GUARD, principal="*"),
        deny("kms:Decrypt", condition=GUARD, principal={"AWS": ADMIN_ARN}),
        deny("kms:Decrypt", condition={"StringNotEqualsIfExists": {"kms:ViaService": "x"}}, principal="*"),
        deny("kms:Decrypt", condition=GUARD | {"StringEquals": {"kms:EncryptionContext:a": "b"}}, principal="*"),
        deny("kms:Decrypt", condition={"StringEquals": {IMAGE_KEY: "0" * 96}}, principal="*"),
        deny("kms:Decrypt", condition=GUARD, principal="*") | {"Resource": "arn:aws:kms:us-east-1:1:key/other"},
    ],
)
def test_denial_that_need_not_apply_closes_nothing(statement: dict[str, Any]) -> None:
    assert _kinds(allow("kms:Decrypt", principal=ROLE), statement) == [GapKind.NO_DOCUMENT]


def test_denial_for_all_but_one_principal_closes_the_others_gaps() -> None:
    guard = GUARD | {"StringNotEquals": {"aws:PrincipalArn": ADMIN_ARN}}
    assert _kinds(allow("kms:Decrypt", principal=ROLE), deny("kms:Decrypt", condition=guard, principal="*")) == []
    admin = allow("kms:Decrypt", principal={"AWS": ADMIN_ARN})
    assert _kinds(admin, deny("kms:Decrypt", condition=guard, principal="*")) == [GapKind.NO_DOCUMENT]


def test_other_operation_is_searched_as_well_as_decrypt() -> None:
    statement = allow("kms:GenerateDataKey", principal=ROLE)
    assert _kinds(statement) == []
    assert _kinds(statement, operation="GenerateDataKey") == [GapKind.NO_DOCUMENT]
    assert _kinds(allow("kms:Decrypt", principal=ROLE), operation="GenerateDataKey") == [GapKind.NO_DOCUMENT]


def test_text_names_statement_caller_action_reason_and_proviso() -> None:
    condition = {"StringEqualsIfExists": {IMAGE_KEY: PCR0}, "StringEquals": {"kms:CallerAccount": ACCOUNT_ID}}
    (gap,) = _gaps(allow("kms:Decrypt", condition=condition, principal=ROOT) | {"Sid": "Old"})
    assert str(gap) == (
        f"statement 1 (Old) lets anyone allowed by the IAM policies of account {ACCOUNT_ID} call kms:Decrypt without an"
        f" attestation document (where StringEquals kms:CallerAccount {ACCOUNT_ID}): StringEqualsIfExists {IMAGE_KEY}"
        " holds if the request has no such key"
    )


def test_text_of_a_misspelled_key_says_that_kms_has_no_such_key() -> None:
    condition = {"Null": {"kms:RecipientAttestation:ImageSha348": "true"}}
    (gap,) = _gaps(allow("kms:Decrypt", condition=condition, principal="*"))
    assert "anyone" in str(gap)
    assert str(gap).endswith("KMS has no key of that name")


def _pattern(operator: str, index: int, value: str | list[str]) -> dict[str, Any]:
    return {operator: {f"kms:RecipientAttestation:PCR{index}": value}}


@pytest.mark.parametrize(
    ("condition", "bits"),
    [
        (_pattern("StringLike", 0, f"{PCR0[:8]}*"), 352),
        (_pattern("StringLike", 0, f"{PCR0[:95]}?"), 4),
        (_pattern("StringLike", 8, "a8*"), 376),
        (_pattern("StringEquals", 1, PCRS[1].hex()), 384),
        (_pattern("StringEquals", 2, PCRS[2].hex()), 384),
        (_pattern("StringEquals", 2, PCRS[2].hex()) | _pattern("StringLike", 1, "b*"), 380),
        (_pattern("StringNotLike", 0, "0*") | _pattern("Null", 0, "false"), 383.9),
    ],
)
def test_pattern_that_several_images_match_is_a_gap_and_says_how_many_bits_it_leaves(
    condition: dict[str, Any], bits: float
) -> None:
    (gap,) = _gaps(allow("kms:Decrypt", condition=condition, principal=ROLE))
    assert gap.kind is GapKind.SEVERAL_IMAGES
    assert gap.open_bits == pytest.approx(bits, abs=0.05)
    assert "of 384 bits" in str(gap)


@pytest.mark.parametrize(
    "guard",
    [
        _pattern("StringNotLike", 0, f"{PCR0[:4]}*"),
        _pattern("StringNotEquals", 2, PCRS[2].hex()),
        _pattern("StringNotEquals", 1, PCRS[1].hex()),
    ],
)
def test_denial_on_a_pattern_or_on_a_part_of_the_image_leaves_a_gap(guard: dict[str, Any]) -> None:
    statements = [allow("kms:Decrypt", principal=ROLE), deny("kms:*", condition=guard, principal="*")]
    assert _kinds(*statements) == [GapKind.SEVERAL_IMAGES]


def test_kernel_and_application_together_are_the_image() -> None:
    condition = _pattern("StringEquals", 1, PCRS[1].hex())
    condition["StringEquals"] |= _pattern("StringEquals", 2, PCRS[2].hex())["StringEquals"]
    assert _kinds(allow("kms:Decrypt", condition=condition, principal=ROLE)) == []


def test_two_denials_that_each_ask_for_a_part_are_as_good() -> None:
    guards = [
        deny("kms:*", condition=_pattern("StringNotEquals", index, PCRS[index].hex()), principal="*")
        for index in (1, 2)
    ]
    assert _kinds(allow("kms:Decrypt", principal=ROLE), *guards) == []
    assert _kinds(allow("kms:Decrypt", principal=ROLE), guards[0]) == [GapKind.SEVERAL_IMAGES]


def test_signer_identifies_images_with_a_note() -> None:
    access = _access(allow("kms:Decrypt", condition=_pattern("StringEquals", 8, SIGNED_PCRS[8].hex()), principal=ROLE))
    assert access.gaps == ()
    assert ["every image that is signed with this certificate" in note for note in access.notes] == [True]


def test_image_in_one_list_with_this_one_is_a_note_and_one_elsewhere_a_gap() -> None:
    other = "5e" * 48
    together = allow("kms:Decrypt", condition=_pattern("StringEquals", 0, [PCR0, other]), principal=ROLE)
    access = _access(together)
    assert access.gaps == ()
    assert [other in note for note in access.notes] == [True]
    alone = allow("kms:Decrypt", condition=_pattern("StringEquals", 0, other), principal=ROLE)
    assert _kinds(alone) == [GapKind.NAMED_IMAGE]


def test_instance_with_a_nitrotpm_is_not_an_enclave() -> None:
    condition = {"StringEquals": {"kms:RecipientAttestation:NitroTPMPCR4": PCR0}}
    assert _kinds(allow("kms:Decrypt", condition=condition, principal=ROLE)) == [GapKind.NITRO_TPM]


@pytest.mark.parametrize("principal", ["*", {"AWS": ADMIN_ARN}, ROOT])
def test_denial_of_grants_closes_the_gap_of_grants(principal: object) -> None:
    grants = allow("kms:CreateGrant", principal={"AWS": ADMIN_ARN})
    assert _kinds(grants, deny("kms:CreateGrant", principal=principal)) == []
    assert _kinds(grants, deny("kms:CreateGrant", principal=ROLE)) == [GapKind.NO_DOCUMENT]


@pytest.mark.parametrize(
    ("granted", "kinds"),
    [(["Encrypt", "DescribeKey"], []), (["Encrypt", "Decrypt"], [GapKind.NO_DOCUMENT])],
)
def test_grant_is_a_gap_if_it_can_allow_what_releases_plaintext(granted: list[str], kinds: list[GapKind]) -> None:
    condition = {"ForAllValues:StringEquals": {"kms:GrantOperations": granted}}
    assert _kinds(allow("kms:CreateGrant", condition=condition, principal={"AWS": ADMIN_ARN})) == kinds


def test_deleted_role_is_nobody() -> None:
    assert _kinds(allow("kms:Decrypt", principal={"AWS": "AROAEXAMPLEID12345678"})) == []


def test_expired_allow_is_not_a_gap() -> None:
    statement = allow("kms:Decrypt", condition={"DateLessThan": {"aws:CurrentTime": "2020-01-01"}}, principal=ROLE)
    assert _kinds(statement) == [GapKind.NO_DOCUMENT]
    assert _access(statement, at=datetime(2026, 1, 1, tzinfo=UTC)).gaps == ()


def test_statement_that_cannot_be_evaluated_counts_as_open() -> None:
    odd = allow("kms:Decrypt", condition={"StringMatches": {IMAGE_KEY: PCR0}}, principal=ROLE)
    (gap,) = _gaps(odd)
    assert "it cannot be evaluated" in str(gap)
