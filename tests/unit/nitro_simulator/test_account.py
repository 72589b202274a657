from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from nitro_simulator.account import ADMINISTRATOR_ROLE, ROLE, SimulatedAccount
from vsock_wire.errors import TransportError


def test_own_directory_is_removed_at_the_end() -> None:
    with SimulatedAccount() as account:
        assert account.ca_file.parent == account.directory
        assert account.directory.stat().st_mode & 0o777 == 0o700
    assert not account.directory.exists()


def test_directory_that_was_given_is_kept_without_its_sockets(short_dir: Path) -> None:
    with SimulatedAccount(short_dir) as account:
        assert Path(account.enclave.nsm_address.path).parent == account.directory == short_dir
    left = {path.name for path in short_dir.iterdir()}
    assert left == {"ca.pem", "attestation-root.pem", "vsock-proxy.yaml"}


def test_close_ends_every_service_and_may_be_called_again() -> None:
    before = set(threading.enumerate())
    account = SimulatedAccount()
    assert {thread.name for thread in set(threading.enumerate()) - before} >= {"kmstool-sim-kms", "EC2ws", "nsm-accept"}
    account.close()
    account.close()
    assert set(threading.enumerate()) - before == set()


def test_start_that_fails_leaves_nothing_running(short_dir: Path) -> None:
    before = set(threading.enumerate())
    directory = short_dir / ("x" * 120)  # too long for a unix socket
    directory.mkdir()
    with pytest.raises(TransportError):
        SimulatedAccount(directory)
    assert set(threading.enumerate()) - before == set()


def test_key_is_for_the_enclave_and_separates_administration_from_use() -> None:
    with SimulatedAccount() as account:
        statements = {each["Sid"]: each for each in json.loads(account.key.policy_text)["Statement"]}
        assert {each["Effect"] for each in statements.values()} == {"Allow"}
        use = statements["DecryptionInTheEnclave"]
        condition = {"StringEqualsIgnoreCase": {"kms:RecipientAttestation:ImageSha384": account.enclave.pcr0.hex()}}
        assert (use["Condition"], use["Principal"]["AWS"].rpartition("/")[2]) == (condition, ROLE)
        administration = statements["Administration"]
        assert administration["Principal"]["AWS"].rpartition("/")[2] == ADMINISTRATOR_ROLE
        assert not {"kms:*", *use["Action"]} & {*administration["Action"]}


def test_clients_inside_and_outside_the_enclave_have_different_permissions() -> None:
    with SimulatedAccount(region="eu-west-1") as account:
        outside, inside = account.unattested_client(), account.attested_client()
        blob = outside.encrypt(KeyId=account.key.arn, Plaintext=b"secret")["CiphertextBlob"]
        assert inside.decrypt(CiphertextBlob=blob)["Plaintext"] == b"secret"
        with pytest.raises(ClientError, match="AccessDenied"):
            outside.decrypt(CiphertextBlob=blob)
        outside.close()
        inside.close()
        assert account.key.arn.startswith("arn:aws:kms:eu-west-1:")
        assert [entry.pcr0 for entry in account.kms.journal.entries()] == [None, account.enclave.pcr0.hex(), None]


def test_account_of_two_regions_has_its_key_in_both_and_serves_them_at_one_address() -> None:
    with SimulatedAccount(replica_regions=["eu-west-1"]) as account:
        assert account.replicas["eu-west-1"].arn == account.key.arn.replace("us-east-1", "eu-west-1")
        outside = account.unattested_client()
        blob = outside.encrypt(KeyId="alias/enclave-demo", Plaintext=b"secret")["CiphertextBlob"]
        inside = account.attested_client(region="eu-west-1")
        answer = inside.decrypt(CiphertextBlob=blob)
        assert (answer["Plaintext"], answer["KeyId"]) == (b"secret", account.replicas["eu-west-1"].arn)
        elsewhere = account.unattested_client(region="eu-west-1")
        with pytest.raises(ClientError, match=r"eu-west-1:111122223333:key/mrk-.* because no resource-based policy"):
            elsewhere.decrypt(CiphertextBlob=blob)
        for client in (outside, inside, elsewhere):
            client.close()


def test_account_of_another_partition_has_its_arns_and_its_host() -> None:
    with SimulatedAccount(region="us-gov-west-1") as account:
        assert account.kms_host == "kms.us-gov-west-1.amazonaws.com"
        assert account.key.arn.startswith("arn:aws-us-gov:kms:us-gov-west-1:")
        assert account.role_arn.startswith("arn:aws-us-gov:iam::")


def test_access_key_of_a_user_signs_without_a_token() -> None:
    with SimulatedAccount() as account:
        client = account.unattested_client(account.issue_access_key("alice"))
        text = r"User: arn:aws:iam::111122223333:user/alice is not authorized to perform: kms:Encrypt"
        with pytest.raises(ClientError, match=text):
            client.encrypt(KeyId=account.key.arn, Plaintext=b"x")
        assert len(client.generate_random(NumberOfBytes=8)["Plaintext"]) == 8
        client.close()
