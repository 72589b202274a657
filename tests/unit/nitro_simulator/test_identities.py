from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from nitro_simulator import identities as identities_module
from nitro_simulator.identities import Identities
from tests.support.kms.world import ROLE, ROLE_ARN, SESSION_ARN, FakeClock

NOW = datetime(2025, 1, 1, tzinfo=UTC)


def test_issued_credentials_are_found_with_their_role_session_and_end() -> None:
    identities = Identities(clock=FakeClock(NOW))

    credentials = identities.issue(ROLE, lifetime_s=900)
    identity = identities.find(credentials.access_key_id)

    assert identity is not None
    assert identity.credentials == credentials
    assert (identity.principal.arn, identity.principal.role_arn) == (SESSION_ARN, ROLE_ARN)
    assert identity.expires_at == NOW + timedelta(seconds=900)
    assert credentials.expiration == "2025-01-01T00:15:00Z"


def test_credentials_look_like_temporary_ones_of_aws() -> None:
    credentials = Identities().issue(ROLE)

    assert len(credentials.access_key_id) == 20
    assert credentials.access_key_id.startswith("ASIA")
    assert len(credentials.secret_access_key) == 40
    assert credentials.session_token is not None
    assert len(credentials.session_token) > 100


def test_access_key_of_a_user_has_no_token_and_does_not_expire() -> None:
    identities = Identities(partition="aws-cn")

    credentials = identities.issue_access_key("alice")
    identity = identities.find(credentials.access_key_id)

    assert (len(credentials.access_key_id), credentials.access_key_id[:4]) == (20, "AKIA")
    assert (credentials.session_token, credentials.expiration) == (None, None)
    assert identity is not None
    assert (identity.principal.arn, identity.principal.role_arn) == ("arn:aws-cn:iam::111122223333:user/alice", None)
    assert identity.expires_at.year == 9999


def test_unknown_key_id_belongs_to_nobody() -> None:
    assert Identities().find("ASIAAAAAAAAAAAAAAAAA") is None


def test_repr_of_an_identity_shows_no_secret() -> None:
    identities = Identities()
    credentials = identities.issue(ROLE)

    text = repr(identities.find(credentials.access_key_id))

    assert credentials.secret_access_key not in text
    assert str(credentials.session_token) not in text


def test_principal_names_other_partitions() -> None:
    principal = Identities("444455556666", partition="aws-cn").principal("R", "s")

    assert principal.arn == "arn:aws-cn:sts::444455556666:assumed-role/R/s"
    assert principal.role_arn == "arn:aws-cn:iam::444455556666:role/R"


def test_oldest_identity_is_forgotten_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities_module, "MAX_IDENTITIES", 2)
    identities = Identities()

    first, second, third = (identities.issue(ROLE) for _ in range(3))

    assert identities.find(first.access_key_id) is None
    assert identities.find(second.access_key_id)
    assert identities.find(third.access_key_id)


def test_many_threads_each_get_their_own_credentials() -> None:
    identities = Identities()
    with ThreadPoolExecutor(8) as pool:
        issued = list(pool.map(lambda _: identities.issue(ROLE), range(200)))

    assert len({credentials.access_key_id for credentials in issued}) == 200
    assert all(identities.find(credentials.access_key_id) for credentials in issued)
