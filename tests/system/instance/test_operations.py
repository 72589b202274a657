"""The operations other than Decrypt, with the real programs."""

from __future__ import annotations

import json
import subprocess
from base64 import b64decode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nitro_simulator.kms.journal import OK
from tests.support.deployment.deployment import CONTEXT, CONTEXT_OPTIONS, Deployment


def _fields(done: subprocess.CompletedProcess[bytes]) -> dict[str, bytes]:
    assert done.returncode == 0, done.stderr
    return {
        label: b64decode(value, validate=True)
        for label, _, value in (line.partition(": ") for line in done.stdout.decode().splitlines())
    }


def _last(deployment: Deployment) -> tuple[str, str, bool]:
    entry = deployment.account.kms.journal.entries()[-1]
    return entry.operation, entry.verdict, entry.has_document


def test_genkey_gives_a_data_key_and_its_ciphertext_which_decrypts_to_it(deployment: Deployment) -> None:
    done = deployment.instance(*CONTEXT_OPTIONS, "--key-id", deployment.account.key.arn, "genkey")
    parts = _fields(done)
    assert list(parts) == ["CIPHERTEXT", "PLAINTEXT"]
    assert len(parts["PLAINTEXT"]) == 32
    assert _last(deployment) == ("GenerateDataKey", OK, True)
    key = deployment.account.key
    assert (
        key.open(parts["CIPHERTEXT"], algorithm="SYMMETRIC_DEFAULT", encryption_context=CONTEXT) == parts["PLAINTEXT"]
    )


@pytest.mark.parametrize(("option", "size"), [(["--key-spec", "AES-128"], 16), (["--length", "57"], 57)])
def test_genkey_gives_keys_of_the_size_asked_for(deployment: Deployment, option: list[str], size: int) -> None:
    done = deployment.instance("genkey", "--key-id", deployment.account.key.arn, *option, "--output", "json")
    answer = json.loads(done.stdout)
    assert len(b64decode(answer["Plaintext"])) == size
    assert answer["KeyId"] == deployment.account.key.arn


def test_raw_genkey_gives_exactly_the_bytes_of_both_parts(deployment: Deployment, tmp_path: Path) -> None:
    sealed = tmp_path / "sealed"
    done = deployment.instance(
        *CONTEXT_OPTIONS,
        "genkey",
        "--key-id",
        deployment.account.key.arn,
        "--output",
        "raw",
        "--ciphertext-out",
        str(sealed),
    )
    assert (done.returncode, len(done.stdout), done.stderr) == (0, 32, b"")
    opened = deployment.instance(*CONTEXT_OPTIONS, "-n", f"fileb://{sealed}")
    assert opened.stdout == done.stdout


def test_raw_ciphertext_of_encrypt_can_be_piped_back(deployment: Deployment) -> None:
    plaintext = b"\x00 any bytes \n"
    key_id = ("--key-id", deployment.account.key.arn)
    sealed = deployment.instance(*CONTEXT_OPTIONS, *key_id, "encrypt", "--output", "raw", stdin=plaintext)
    opened = deployment.instance(*CONTEXT_OPTIONS, "-n", stdin=sealed.stdout)
    assert (opened.returncode, opened.stdout) == (0, plaintext)


def test_genkeypair_gives_a_private_key_that_fits_the_public_one(deployment: Deployment) -> None:
    done = deployment.instance("genkeypair", "--key-pair-spec", "ECC_NIST_P256", "--key-id", deployment.account.key.arn)
    parts = _fields(done)
    private_key = serialization.load_der_private_key(parts["PLAINTEXT"], None)
    public_key_der = private_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert public_key_der == parts["PUBLIC_KEY"]
    assert _last(deployment) == ("GenerateDataKeyPair", OK, True)


def test_genrandom_gives_as_many_bytes_as_asked_for(deployment: Deployment) -> None:
    runs = [deployment.instance("genrandom", "--length", "1024").stdout for _ in range(2)]
    assert [len(random) for random in runs] == [1_024, 1_024]
    assert runs[0] != runs[1]
    assert _last(deployment) == ("GenerateRandom", OK, True)


def test_derive_gives_the_secret_that_the_peer_derives(deployment: Deployment) -> None:
    policy = json.loads(deployment.account.key.policy_text)
    policy["Statement"][2]["Action"].append("kms:DeriveSharedSecret")
    agreement_key = deployment.account.kms.create_key(spec="ECC_NIST_P384", policy=json.dumps(policy))
    peer = ec.generate_private_key(ec.SECP384R1())
    peer_file = deployment.account.directory / "peer.der"
    der = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    peer_file.write_bytes(peer.public_key().public_bytes(*der))
    done = deployment.instance("derive", "--key-id", agreement_key.arn, "--public-key", str(peer_file))
    own_public_key_der = agreement_key.public_key_der()
    assert own_public_key_der is not None
    own_public_key = serialization.load_der_public_key(own_public_key_der)
    assert isinstance(own_public_key, ec.EllipticCurvePublicKey)
    assert (done.returncode, done.stdout) == (0, peer.exchange(ec.ECDH(), own_public_key))
    assert _last(deployment) == ("DeriveSharedSecret", OK, True)


def test_encrypt_round_trips_and_sends_no_document(deployment: Deployment) -> None:
    plaintext = b"\x00 any bytes \n"
    sealed = deployment.instance(*CONTEXT_OPTIONS, "--key-id", deployment.account.key.arn, "encrypt", stdin=plaintext)
    assert _last(deployment) == ("Encrypt", OK, False)
    opened = deployment.instance(*CONTEXT_OPTIONS, "-n", "-", stdin=sealed.stdout)
    assert (opened.returncode, opened.stdout) == (0, plaintext)


@pytest.mark.parametrize("arguments", [["genkey"], ["genkeypair", "--key-pair-spec", "RSA_2048"], ["encrypt"]])
def test_a_missing_key_id_is_a_usage_error(deployment: Deployment, arguments: list[str]) -> None:
    done = deployment.instance(*arguments, stdin=b"x")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"kmstool-instance: error: --key-id: missing")


def test_a_denial_names_the_operation(deployment: Deployment) -> None:
    statement = {"Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*"}
    key = deployment.account.kms.create_key(policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    done = deployment.instance("genkey", "--key-id", key.arn)
    assert (done.returncode, done.stdout) == (5, b"")
    assert b"error: Could not generate data key: AccessDeniedException: " in done.stderr
