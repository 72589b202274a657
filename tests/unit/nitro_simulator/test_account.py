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
