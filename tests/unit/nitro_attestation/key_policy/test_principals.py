from __future__ import annotations

import pytest

from nitro_attestation.errors import PolicyError
from nitro_attestation.key_policy.principals import (
    Principal,
    PrincipalMatch,
    match_not_principals,
    match_principals,
    parse_principal_name,
)
from tests.support.kms.world import ACCOUNT_ID, ROLE_ARN, ROOT_ARN, SESSION_ARN

CALLER = Principal(SESSION_ARN, ACCOUNT_ID, ROLE_ARN)
ROLE = Principal(ROLE_ARN, ACCOUNT_ID, ROLE_ARN)
USER = Principal(f"arn:aws:iam::{ACCOUNT_ID}:user/ann", ACCOUNT_ID)
OTHER_ARN = f"arn:aws:iam::{ACCOUNT_ID}:role/Other"


@pytest.mark.parametrize(
    ("names", "match"),
    [
        ([ROLE_ARN], PrincipalMatch.DIRECT),
        ([SESSION_ARN], PrincipalMatch.DIRECT),
        ([ROOT_ARN, ROLE_ARN], PrincipalMatch.DIRECT),
        (["*"], PrincipalMatch.DIRECT),
        ([ROOT_ARN], PrincipalMatch.ACCOUNT),
        ([ACCOUNT_ID], PrincipalMatch.ACCOUNT),
        ([OTHER_ARN, "AROAEXAMPLEID12345678", "444455556666"], PrincipalMatch.NO),
        ([], PrincipalMatch.NO),
    ],
)
def test_principal_names_a_caller(names: list[str], match: PrincipalMatch) -> None:
    assert match_principals([parse_principal_name("AWS", name) for name in names], CALLER) is match


@pytest.mark.parametrize(
    ("caller", "names", "match"),
    [
        (CALLER, [SESSION_ARN, ROLE_ARN, ROOT_ARN], PrincipalMatch.NO),
        (CALLER, [SESSION_ARN, ROLE_ARN, ACCOUNT_ID], PrincipalMatch.NO),
        (CALLER, ["*"], PrincipalMatch.NO),
        (CALLER, [OTHER_ARN], PrincipalMatch.DIRECT),
        (CALLER, ["444455556666"], PrincipalMatch.DIRECT),
        (CALLER, [ROLE_ARN], PrincipalMatch.UNSETTLED),
        (CALLER, [ROLE_ARN, ROOT_ARN], PrincipalMatch.UNSETTLED),
        (CALLER, [SESSION_ARN], PrincipalMatch.UNSETTLED),
        (CALLER, [ROOT_ARN], PrincipalMatch.UNSETTLED),
        (ROLE, [SESSION_ARN, ROLE_ARN, ROOT_ARN], PrincipalMatch.UNSETTLED),
        (USER, [USER.arn, ROOT_ARN], PrincipalMatch.NO),
        (USER, [USER.arn], PrincipalMatch.UNSETTLED),
        (USER, [ROLE_ARN], PrincipalMatch.DIRECT),
    ],
)
def test_not_principal_excludes_callers_whose_session_role_and_account_are_named(
    caller: Principal, names: list[str], match: PrincipalMatch
) -> None:
    assert match_not_principals([parse_principal_name("AWS", name) for name in names], caller) is match


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("AWS", ""),
        ("AWS", "arn:aws:iam::111122223333:role/*"),
        ("AWS", "arn:aws:iam::111122223333:group/x"),
        ("AWS", "arn:aws:iam::111122223333"),
        ("AWS", "root"),
        ("CanonicalUser", "79a59df900b949e5"),
    ],
)
def test_name_that_kms_does_not_accept_is_refused(kind: str, name: str) -> None:
    with pytest.raises(PolicyError, match=f"Principal {kind}"):
        parse_principal_name(kind, name)
