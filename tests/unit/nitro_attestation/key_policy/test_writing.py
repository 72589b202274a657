from __future__ import annotations

import json
from typing import Any

import pytest

from nitro_attestation.errors import PolicyError
from nitro_attestation.key_policy.conditions.keys import ATTESTED_KEY_OPERATIONS, ATTESTED_OPERATIONS, IMAGE_KEY
from nitro_attestation.key_policy.context import attestation_context, caller_context, parse_caller
from nitro_attestation.key_policy.evaluation import AccessRequest, Decision, Verdict, evaluate_policy
from nitro_attestation.key_policy.gaps import find_gaps
from nitro_attestation.key_policy.model import KeyPolicy
from nitro_attestation.key_policy.parsing import parse_policy
from nitro_attestation.key_policy.writing import attested_key_policy
from tests.support.attestation.documents import ADMIN_ARN, PCRS, ROLE_ARN, ROOT_ARN, SIGNED_PCRS

IMAGE = {0: PCRS[0]}
SIGNED_IMAGE = {0: PCRS[0], 8: SIGNED_PCRS[8]}
ALL_ACTIONS = ("kms:Decrypt", "kms:ReEncryptFrom", "kms:GenerateDataKey", "kms:GenerateDataKeyPair", "kms:CreateGrant")
OTHER_ARN = "arn:aws:iam::111122223333:role/Other"


def _policy(**options: Any) -> KeyPolicy:
    given = {"roles": [ROLE_ARN], "administrators": [ADMIN_ARN], "pcrs": IMAGE} | options
    return parse_policy(attested_key_policy(**given))


def _decide(
    policy: KeyPolicy, action: str = "kms:Decrypt", arn: str = ROLE_ARN, pcrs: dict[int, bytes] | None = None
) -> Decision:
    context = caller_context(parse_caller(arn)) | attestation_context(pcrs or {})
    return evaluate_policy(policy, AccessRequest(parse_caller(arn), action, None, context))


def test_policy_allows_the_enclave_to_decrypt() -> None:
    assert _decide(_policy(), pcrs=SIGNED_PCRS).is_allowed
    assert _decide(_policy(pcrs=SIGNED_IMAGE), pcrs=SIGNED_PCRS).is_allowed


@pytest.mark.parametrize(
    "pcrs",
    [None, SIGNED_PCRS | {0: bytes(48)}, SIGNED_PCRS | {0: b"\x01" * 48}, SIGNED_PCRS | {8: bytes(48)}, PCRS],
    ids=["no document", "debug mode", "another image", "unsigned", "without PCR8"],
)
def test_policy_denies_everything_else_explicitly(pcrs: dict[int, bytes] | None) -> None:
    assert _decide(_policy(pcrs=SIGNED_IMAGE), pcrs=pcrs).verdict is Verdict.EXPLICIT_DENY


@pytest.mark.parametrize("arn", [ADMIN_ARN, OTHER_ARN])
def test_only_the_role_can_use_the_key_even_from_the_enclave(arn: str) -> None:
    for action in ALL_ACTIONS:
        assert not _decide(_policy(operations=ATTESTED_KEY_OPERATIONS), action, arn, pcrs=SIGNED_PCRS).is_allowed


def test_administrator_can_change_the_policy_and_the_role_cannot() -> None:
    assert _decide(_policy(), "kms:PutKeyPolicy", ADMIN_ARN).is_allowed
    assert not _decide(_policy(), "kms:PutKeyPolicy", ROLE_ARN, pcrs=SIGNED_PCRS).is_allowed


def test_operations_that_were_not_asked_for_are_denied() -> None:
    policy = _policy(operations=["GenerateDataKey"])
    assert _decide(policy, "kms:GenerateDataKey", pcrs=SIGNED_PCRS).is_allowed
    assert not _decide(policy, "kms:Decrypt", pcrs=SIGNED_PCRS).is_allowed


def test_encryption_needs_no_document_and_opens_nothing_else() -> None:
    policy = _policy(operations=["Encrypt"])
    assert _decide(policy, "kms:Encrypt").is_allowed
    assert not _decide(policy, "kms:Decrypt", pcrs=SIGNED_PCRS).is_allowed


@pytest.mark.parametrize("operations", [["Decrypt"], ATTESTED_KEY_OPERATIONS, ["Decrypt", "Encrypt"]])
@pytest.mark.parametrize("account", [None, ROOT_ARN])
@pytest.mark.parametrize("pcrs", [IMAGE, SIGNED_IMAGE, {8: SIGNED_PCRS[8]}])
def test_no_gap_is_found_in_it(operations: list[str], account: str | None, pcrs: dict[int, bytes]) -> None:
    policy = _policy(operations=operations, iam_account=account, pcrs=pcrs)
    assert find_gaps(policy, operations=ATTESTED_OPERATIONS, caller=parse_caller(ROLE_ARN), pcrs=SIGNED_PCRS) == ()


def test_account_is_named_only_on_request_and_still_cannot_decrypt() -> None:
    assert ROOT_ARN not in attested_key_policy(roles=[ROLE_ARN], administrators=[ADMIN_ARN], pcrs=IMAGE)
    policy = _policy(iam_account=ROOT_ARN)
    assert _decide(policy, "kms:PutKeyPolicy", OTHER_ARN).is_left_to_iam
    for action in ("kms:Decrypt", "kms:ReEncryptFrom"):
        assert _decide(policy, action, OTHER_ARN).verdict is Verdict.EXPLICIT_DENY


def test_values_are_lower_case_and_compared_in_any_case() -> None:
    document = json.loads(attested_key_policy(roles=[ROLE_ARN], administrators=[ADMIN_ARN], pcrs=SIGNED_IMAGE))
    (use,) = [statement for statement in document["Statement"] if "Decrypt" in str(statement["Action"])][:1]
    assert use["Condition"] == {
        "StringEqualsIgnoreCase": {IMAGE_KEY: PCRS[0].hex(), "kms:RecipientAttestation:PCR8": SIGNED_PCRS[8].hex()}
    }


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"roles": []}, "--role"),
        ({"administrators": []}, "--admin"),
        ({"roles": ["arn:aws:iam::111122223333:root"]}, "ARN"),
        ({"administrators": [ROOT_ARN]}, "ARN"),
        ({"roles": ["*"]}, "ARN"),
        ({"roles": ["arn:aws:sts::111122223333:assumed-role/EnclaveInstanceRole/i-1"]}, "session"),
        ({"administrators": [ROLE_ARN]}, "is also in --role"),
        ({"pcrs": {}}, "neither PCR0"),
        ({"pcrs": {3: PCRS[3], 4: PCRS[4]}}, "neither PCR0"),
        ({"roles": [f"{OTHER_ARN}{i}" for i in range(600)]}, "bytes, got"),
    ],
)
def test_options_that_would_make_an_unsound_policy_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(PolicyError) as error:
        _policy(**options)
    assert named in str(error.value)
