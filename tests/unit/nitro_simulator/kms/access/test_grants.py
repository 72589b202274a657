"""What a grant allows, without KMS around it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nitro_attestation.key_policy.principals import Principal, PrincipalMatch
from nitro_simulator.kms.access.grants import Grant, GrantConstraint, Grants, match_grant, may_retire
from tests.support.kms.world import ACCOUNT_ID, ROLE_ARN, ROOT_ARN, SESSION_ARN

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CALLER = Principal(SESSION_ARN, ACCOUNT_ID, ROLE_ARN)
CONTEXT = {"tenant": "7", "purpose": "test"}


def grant_of(
    *operations: str, grantee: str = ROLE_ARN, constraint: GrantConstraint | None = None, delay_s: float = 0
) -> Grant:
    effective_at = NOW + timedelta(seconds=delay_s)
    return Grant(grantee, operations or ("Decrypt",), ROOT_ARN, NOW, effective_at, constraint)


def match(grant: Grant, operation: str = "Decrypt", *, tokens: tuple[str, ...] = (), at: datetime = NOW) -> str:
    return match_grant(grant, CALLER, operation, CONTEXT, tokens=tokens, now=at).name


@pytest.mark.parametrize(
    ("grantee", "expected"),
    [
        (ROLE_ARN, "DIRECT"),
        (SESSION_ARN, "DIRECT"),
        (ROOT_ARN, "ACCOUNT"),
        (ACCOUNT_ID, "ACCOUNT"),
        (ROLE_ARN + "2", "NO"),
        (f"arn:aws:iam::{ACCOUNT_ID}:user/EnclaveInstanceRole", "NO"),
        ("arn:aws:iam::444455556666:root", "NO"),
    ],
)
def test_grantee_is_matched(grantee: str, expected: str) -> None:
    assert match(grant_of(grantee=grantee)) == expected


def test_only_its_operations_are_allowed() -> None:
    grant = grant_of("Decrypt", "ReEncryptFrom")
    assert [match(grant, name) for name in ("Decrypt", "ReEncryptFrom", "Encrypt")] == ["DIRECT", "DIRECT", "NO"]


@pytest.mark.parametrize(
    ("context", "is_exact", "expected"),
    [
        (CONTEXT, True, "DIRECT"),
        (CONTEXT, False, "DIRECT"),
        ({}, False, "DIRECT"),
        ({}, True, "NO"),
        ({"tenant": "7"}, False, "DIRECT"),
        ({"tenant": "7"}, True, "NO"),
        ({"tenant": "8"}, False, "NO"),
        ({"Tenant": "7"}, False, "NO"),
        ({**CONTEXT, "more": "1"}, False, "NO"),
    ],
)
def test_encryption_context_must_fit(context: dict[str, str], is_exact: bool, expected: str) -> None:
    grant = grant_of("Decrypt", "DescribeKey", "CreateGrant", constraint=GrantConstraint(context, is_exact))
    assert match(grant) == expected
    assert match(grant, "DescribeKey") == match(grant, "CreateGrant") == "DIRECT"


def test_token_makes_a_new_grant_count_at_once() -> None:
    grant = grant_of(delay_s=300)
    tokens = grant.new_token(), grant.new_token()
    assert tokens[0] != tokens[1]
    assert match(grant) == match(grant, tokens=("other",)) == "NO"
    assert match(grant, tokens=tokens[:1]) == match(grant, tokens=("other", tokens[1])) == "DIRECT"
    assert match(grant, at=NOW + timedelta(seconds=300)) == "DIRECT"


@pytest.mark.parametrize(
    ("operations", "constraint", "is_allowed"),
    [
        (("Decrypt",), GrantConstraint(CONTEXT, is_exact=True), True),
        (("Decrypt",), GrantConstraint(CONTEXT, is_exact=False), True),
        (("Decrypt",), GrantConstraint({"tenant": "7"}, is_exact=True), True),
        (("Decrypt",), GrantConstraint({"purpose": "test"}, is_exact=False), False),
        (("Decrypt",), None, False),
        (("Encrypt",), GrantConstraint(CONTEXT, is_exact=True), False),
    ],
)
def test_grant_made_with_a_grant_allows_no_more(
    operations: tuple[str, ...], constraint: GrantConstraint | None, is_allowed: bool
) -> None:
    parent = grant_of("Decrypt", "CreateGrant", constraint=GrantConstraint({"tenant": "7"}, is_exact=False))
    assert parent.allows_grant(grant_of(*operations, constraint=constraint)) is is_allowed


def test_exact_constraint_is_passed_on_only_as_it_is() -> None:
    exact = GrantConstraint(CONTEXT, is_exact=True)
    assert exact.allows_constraint(GrantConstraint(dict(CONTEXT), is_exact=True))
    assert not exact.allows_constraint(GrantConstraint(CONTEXT, is_exact=False))


def test_who_may_retire_it() -> None:
    grant = grant_of("Decrypt")
    assert not may_retire(grant, CALLER)
    grant.retiring = SESSION_ARN
    assert may_retire(grant, CALLER)
    assert may_retire(grant_of("Decrypt", "RetireGrant"), CALLER)
    assert not may_retire(grant_of("Decrypt", "RetireGrant", grantee=ROOT_ARN), CALLER)


def test_grant_with_a_name_is_kept_once() -> None:
    grants = Grants()
    first = grant_of()
    first.name = "a"
    again, other = grant_of(), grant_of("Encrypt")
    again.name = other.name = "a"
    assert grants.add(first) is grants.add(again) is first
    assert grants.add(other) is other
    nameless = [grants.add(grant_of()) for _ in range(2)]
    assert grants.list() == [first, other, *nameless]
    grants.remove(other)
    grants.remove(other)
    assert grants.list() == [first, *nameless]


def test_repr_shows_no_token() -> None:
    grant = grant_of()
    assert grant.new_token() not in repr(grant)
    assert PrincipalMatch.NO.name == match(grant, "Sign")
