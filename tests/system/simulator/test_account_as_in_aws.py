"""What an account in AWS has besides a role and a key: users, grants, further regions, policies of four kinds."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from nitro_simulator.account import SimulatedAccount
from nitro_simulator.kms.keys.key import KeyState
from tests.support.deployment.deployment import CONTEXT_OPTIONS, Deployment, credential_variables

REPLICA_REGION = "eu-west-1"
SECRET = b"a secret of this account"


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """Start an account of two regions, with an enclave whose region is the caller's, and one in the second region."""
    with contextlib.ExitStack() as stack:
        account = stack.enter_context(SimulatedAccount(replica_regions=[REPLICA_REGION]))
        started = Deployment(account, stack)
        started.start_proxy()
        started.start_enclave()
        started.start_enclave("ireland", "--region", REPLICA_REGION)
        yield started


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    return {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}


@contextlib.contextmanager
def identity_policy(deployment: Deployment, arn: str, *actions: str) -> Iterator[None]:
    policies = deployment.account.kms.policies
    text = json.dumps({"Statement": {"Effect": "Allow", "Action": list(actions), "Resource": "*"}})
    policies.put_identity_policy(arn, text)
    yield
    policies.put_identity_policy(arn, None)


def test_ciphertext_of_a_multi_region_key_opens_in_the_other_region(deployment: Deployment) -> None:
    ciphertext = deployment.encrypt(SECRET)
    done = deployment.instance(*CONTEXT_OPTIONS, ciphertext, enclave="ireland", region=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, SECRET + b"\n", b"")
    entry = deployment.account.kms.journal.entries()[-1]
    assert entry.key_arn == deployment.account.replicas[REPLICA_REGION].arn


def test_ciphertext_of_another_key_does_not_and_kms_says_why(deployment: Deployment) -> None:
    key = deployment.account.kms.create_key(policy=deployment.account.key.policy_text)
    blob = deployment.account.directory / "blob"
    blob.write_bytes(key.seal(SECRET))
    done = deployment.instance(f"fileb://{blob}", enclave="ireland", region=False)
    assert (done.returncode, done.stdout) == (5, b"")
    assert b"does not exist in this region" in done.stderr


def test_access_key_without_a_session_token_decrypts_if_policies_let_the_user(
    deployment: Deployment, files: dict[str, str]
) -> None:
    account = deployment.account
    variables = {**credential_variables(account.issue_access_key("alice")), **files}
    del variables["AWS_SESSION_TOKEN"]
    ciphertext = deployment.encrypt(SECRET)
    refused = deployment.instance(*CONTEXT_OPTIONS, ciphertext, environment=variables)
    assert refused.returncode == 5
    assert b"user/alice is not authorized to perform: kms:Decrypt" in refused.stderr
    account.kms.create_grant(account.key, grantee="arn:aws:iam::111122223333:user/alice", operations=["Decrypt"])
    done = deployment.instance(*CONTEXT_OPTIONS, ciphertext, environment=variables)
    assert (done.returncode, done.stdout, done.stderr) == (0, SECRET + b"\n", b"")


def test_token_lets_a_new_grant_count_at_once(deployment: Deployment) -> None:
    account = deployment.account
    account.kms.grant_delay = timedelta(minutes=5)
    key = account.kms.create_key(policy=json.dumps({"Statement": {
        "Effect": "Allow", "Principal": "*", "Action": "kms:DescribeKey", "Resource": "*",
    }}))  # fmt: skip
    blob = account.directory / "granted"
    blob.write_bytes(key.seal(SECRET))
    token = account.kms.create_grant(key, grantee=account.role_arn, operations=["Decrypt"])
    without = deployment.instance(f"fileb://{blob}")
    assert without.returncode == 5
    done = deployment.instance(f"fileb://{blob}", "--grant-token", token)
    assert (done.returncode, done.stdout, done.stderr) == (0, SECRET + b"\n", b"")
    wrong = deployment.instance(f"fileb://{blob}", "--grant-token", "wrong")
    assert wrong.returncode != 0
    assert b"InvalidGrantTokenException" in wrong.stderr
    account.kms.grant_delay = timedelta(0)


def test_identity_policy_refuses_what_needs_no_key(deployment: Deployment) -> None:
    with identity_policy(deployment, deployment.account.role_arn, "kms:Decrypt"):
        refused = deployment.instance("genrandom", "--length", "8")
    assert refused.returncode == 5
    assert b"kms:GenerateRandom on resource: * because no identity-based policy allows" in refused.stderr
    assert deployment.instance("genrandom", "--length", "8").returncode == 0


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (KeyState.DISABLED, b"DisabledException: arn:aws:kms:us-east-1:111122223333:key/mrk-"),
        (KeyState.PENDING_DELETION, b"is pending deletion."),
        (KeyState.PENDING_IMPORT, b"is pending import."),
        (KeyState.UNAVAILABLE, b"KMSInvalidStateException"),
    ],
)
def test_state_of_the_key_is_named_and_the_replica_goes_on(
    deployment: Deployment, state: KeyState, text: bytes
) -> None:
    ciphertext = deployment.encrypt(SECRET)
    deployment.account.key.state = state
    refused = deployment.instance(*CONTEXT_OPTIONS, ciphertext)
    replica = deployment.instance(*CONTEXT_OPTIONS, ciphertext, enclave="ireland", region=False)
    deployment.account.key.state = KeyState.ENABLED
    assert (refused.returncode != 0, refused.stdout) == (True, b"")
    assert text in refused.stderr
    assert (replica.returncode, replica.stdout) == (0, SECRET + b"\n")
