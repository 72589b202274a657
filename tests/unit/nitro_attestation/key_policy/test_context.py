from __future__ import annotations

import pytest

from nitro_attestation.errors import PolicyError
from nitro_attestation.key_policy.conditions.keys import IMAGE_KEY, is_attestation_key
from nitro_attestation.key_policy.context import (
    attestation_context,
    caller_context,
    encryption_context_keys,
    parse_caller,
    pcr_index,
)
from nitro_attestation.key_policy.principals import Principal
from tests.support.attestation.documents import ACCOUNT_ID, ROLE_ARN, ROOT_ARN

SESSION_ARN = f"arn:aws:sts::{ACCOUNT_ID}:assumed-role/EnclaveInstanceRole/i-0123456789abcdef0"
USER_ARN = f"arn:aws-cn:iam::{ACCOUNT_ID}:user/path/ann"


@pytest.mark.parametrize(
    ("arn", "principal"),
    [
        (ROLE_ARN, Principal(ROLE_ARN, ACCOUNT_ID, ROLE_ARN)),
        (SESSION_ARN, Principal(SESSION_ARN, ACCOUNT_ID, ROLE_ARN)),
        (USER_ARN, Principal(USER_ARN, ACCOUNT_ID, None)),
    ],
)
def test_caller_is_read_from_its_arn(arn: str, principal: Principal) -> None:
    assert parse_caller(arn) == principal


@pytest.mark.parametrize("arn", ["", "*", ACCOUNT_ID, ROOT_ARN, "EnclaveInstanceRole", f"{ROLE_ARN}*", f"{ROLE_ARN}\n"])
def test_arn_of_something_else_than_a_caller_is_refused(arn: str) -> None:
    with pytest.raises(PolicyError, match="ARN: expected"):
        parse_caller(arn)


@pytest.mark.parametrize(
    ("key", "index"),
    [
        (IMAGE_KEY, 0),
        (IMAGE_KEY.upper(), 0),
        ("kms:RecipientAttestation:PCR0", 0),
        ("kms:recipientattestation:pcr31", 31),
        ("kms:RecipientAttestation:ImageSha348", None),
        ("kms:RecipientAttestation:PCR", None),
        ("kms:RecipientAttestation:PCR01", None),
        ("kms:RecipientAttestation:NitroTPMPCR4", None),
    ],
)
def test_attestation_key_names_its_pcr(key: str, index: int | None) -> None:
    assert is_attestation_key(key)
    assert pcr_index(key) == index


def test_pcr0_counts_as_the_image_too() -> None:
    assert attestation_context({0: b"\xab" * 48, 3: b"\xcd" * 48}) == {
        IMAGE_KEY: "ab" * 48,
        "kms:RecipientAttestation:PCR0": "ab" * 48,
        "kms:RecipientAttestation:PCR3": "cd" * 48,
    }
    assert attestation_context({}) == {}


def test_session_counts_as_its_role() -> None:
    context = caller_context(parse_caller(SESSION_ARN))
    assert context["aws:PrincipalArn"] == ROLE_ARN
    assert context["kms:CallerAccount"] == ACCOUNT_ID
    assert "kms:ViaService" not in context


def test_encryption_context_has_a_key_for_each_name_and_one_for_all_names() -> None:
    assert encryption_context_keys({"purpose": "test", "a": "b"}) == {
        "kms:EncryptionContext:purpose": "test",
        "kms:EncryptionContext:a": "b",
        "kms:EncryptionContextKeys": ("purpose", "a"),
    }
    assert encryption_context_keys({}) == {}
