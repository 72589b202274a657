"""kmstool-enclave-cli as a real process, compared with kmstool-instance and the imported client."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
from base64 import b64decode
from collections.abc import Callable, Iterator
from typing import Any

import cbor2
import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from enclave_tool import KmsOptions, Recipient, attested_kms_client, open_nsm
from nitro_simulator.account import Enclave
from nitro_simulator.deployment import command_lines as commands
from nitro_simulator.kms.journal import OK
from nitro_simulator.kms.keys.key import KmsKey
from tests.support.deployment.deployment import CONTEXT, CONTEXT_OPTIONS, Deployment, deploy
from vsock_wire.protocol.json_codec import encode_base64
from vsock_wire.protocol.messages import Credentials

PLAINTEXT = b"Hello, KMS!"
PUBLIC_DER = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

Fields = dict[str, bytes]


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """Return a deployment with a second enclave from another image, whose server is named "other"."""
    with deploy() as started:
        started.start_enclave("other", "--nsm", str(started.account.other_enclave.nsm_address))
        yield started


def flags(credentials: Credentials) -> list[str]:
    """Return C's flags, in the order of its README."""
    return [
        "--aws-access-key-id", credentials.access_key_id,
        "--aws-secret-access-key", credentials.secret_access_key,
        "--aws-session-token", credentials.session_token or "",
    ]  # fmt: skip


run = Deployment.enclave_cli


def run_as_c(deployment: Deployment, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program under C's name and with C's flags for the credentials, which are not in the environment."""
    credentials = flags(deployment.account.issue_credentials())
    return run(deployment, arguments[0], *credentials, *arguments[1:], environment={}, name="kmstool_enclave_cli")


def parse_lines(stdout: bytes) -> Fields:
    lines = (line.partition(": ") for line in stdout.decode("ascii").splitlines())
    return {label: b64decode(value, validate=True) for label, _, value in lines}


class TestCredentials:
    def test_by_descriptor_and_ciphertext_by_pipe_leave_argv_and_environment_empty(
        self, deployment: Deployment
    ) -> None:
        credentials = deployment.account.issue_credentials()
        imds = {
            "Code": "Success",
            "AccessKeyId": credentials.access_key_id,
            "SecretAccessKey": credentials.secret_access_key,
            "Token": credentials.session_token,
        }
        read_end, write_end = os.pipe()
        with io.FileIO(read_end), io.FileIO(write_end, "w") as writer:
            writer.write(json.dumps(imds).encode())
            writer.close()
            arguments = ["decrypt", "--ciphertext", "-", "--credentials-fd", str(read_end), "-vv"]
            ciphertext = deployment.encrypt(PLAINTEXT, CONTEXT).encode()
            done = run(deployment, *arguments, *CONTEXT_OPTIONS, environment={}, stdin=ciphertext, pass_fds=(read_end,))
        assert (done.returncode, done.stdout) == (0, b"PLAINTEXT: SGVsbG8sIEtNUyE=\n")
        for secret in (credentials.secret_access_key, credentials.session_token or "", "SGVsbG8sIEtNUyE="):
            assert secret.encode() not in done.stderr


def test_attest_gives_a_document_of_this_enclave_with_nonce_and_user_data(deployment: Deployment) -> None:
    done = run(deployment, "attest", "--nonce", "00ff", "--user-data", "ab", environment={})
    assert (done.returncode, done.stderr) == (0, b"")
    payload = cbor2.loads(cbor2.loads(parse_lines(done.stdout)["DOCUMENT"])[2])
    assert (payload["nonce"], payload["user_data"], payload["public_key"]) == (b"\x00\xff", b"\xab", None)
    assert payload["pcrs"][0] == deployment.account.enclave.pcr0


def test_decrypt_opens_what_encrypt_made_without_a_document(deployment: Deployment) -> None:
    plaintext = b"\x00 any bytes \n"
    sealed = run(deployment, "encrypt", *CONTEXT_OPTIONS, "--key-id", deployment.account.key.arn, stdin=plaintext)
    entry = deployment.account.kms.journal.entries()[-1]
    assert (entry.operation, entry.verdict, entry.has_document) == ("Encrypt", OK, False)
    blob = parse_lines(sealed.stdout)["CIPHERTEXT"]
    key = deployment.account.key
    assert key.open(blob, algorithm="SYMMETRIC_DEFAULT", encryption_context=CONTEXT) == plaintext


class Operation:
    """One attested operation: how to call it in each of three ways, and how to check the result.

    Attributes:
        name: KMS's name of it.
        arguments: arguments of both command lines, without the ciphertext and the public key.
        parameters: parameters of boto3.
        stdout: output of kmstool-enclave-cli, byte for byte except for the base64. For the three operations that C
            has, it is what C's README promises.
        check: fails unless the fields, by their labels, are correct.
        has_policy: whether a key policy applies; KMS has none for GenerateRandom.
    """

    def __init__(self, name: str, arguments: list[str], parameters: dict[str, Any], check: Callable[[Fields], None]):
        self.name = name
        self.arguments = arguments
        self.parameters = parameters
        labels = {"GenerateDataKey": "CP", "GenerateDataKeyPair": "CKP"}.get(name, "P")
        self.stdout = b"".join(LINE[label] for label in labels)
        self.check = check
        self.has_policy = name != "GenerateRandom"


LINE = {
    "C": rb"CIPHERTEXT: [A-Za-z0-9+/]+={0,2}\n",
    "K": rb"PUBLIC_KEY: [A-Za-z0-9+/]+={0,2}\n",
    "P": rb"PLAINTEXT: [A-Za-z0-9+/]+={0,2}\n",
}
LABELS = {
    "Plaintext": "PLAINTEXT",
    "PrivateKeyPlaintext": "PLAINTEXT",
    "SharedSecret": "PLAINTEXT",
    "CiphertextBlob": "CIPHERTEXT",
    "PrivateKeyCiphertextBlob": "CIPHERTEXT",
    "PublicKey": "PUBLIC_KEY",
}


def opens(key: KmsKey, fields: Fields) -> None:
    opened = key.open(fields["CIPHERTEXT"], algorithm="SYMMETRIC_DEFAULT", encryption_context=CONTEXT)
    assert opened == fields["PLAINTEXT"]


def decrypt(deployment: Deployment) -> Operation:
    def check(fields: Fields) -> None:
        assert fields == {"PLAINTEXT": PLAINTEXT}

    blob = deployment.encrypt(PLAINTEXT, CONTEXT)
    parameters = {"CiphertextBlob": b64decode(blob), "EncryptionContext": CONTEXT}
    return Operation("Decrypt", ["decrypt", "--ciphertext", blob, *CONTEXT_OPTIONS], parameters, check)


def generate_data_key(deployment: Deployment) -> Operation:
    def check(fields: Fields) -> None:
        assert len(fields["PLAINTEXT"]) == 32
        opens(key, fields)

    key = deployment.account.key
    arguments = ["genkey", "--key-id", key.arn, "--key-spec", "AES-256", *CONTEXT_OPTIONS]
    parameters = {"KeyId": key.arn, "KeySpec": "AES_256", "EncryptionContext": CONTEXT}
    return Operation("GenerateDataKey", arguments, parameters, check)


def generate_data_key_pair(deployment: Deployment) -> Operation:
    def check(fields: Fields) -> None:
        private_key = serialization.load_der_private_key(fields["PLAINTEXT"], None)
        assert private_key.public_key().public_bytes(*PUBLIC_DER) == fields["PUBLIC_KEY"]
        opens(key, fields)

    key = deployment.account.key
    arguments = ["genkeypair", "--key-id", key.arn, "--key-pair-spec", "ECC_NIST_P256", *CONTEXT_OPTIONS]
    parameters = {"KeyId": key.arn, "KeyPairSpec": "ECC_NIST_P256", "EncryptionContext": CONTEXT}
    return Operation("GenerateDataKeyPair", arguments, parameters, check)


def generate_random(_deployment: Deployment) -> Operation:
    def check(fields: Fields) -> None:
        assert [len(value) for value in fields.values()] == [57]

    return Operation("GenerateRandom", ["genrandom", "--length", "57"], {"NumberOfBytes": 57}, check)


def derive_shared_secret(deployment: Deployment) -> Operation:
    policy = json.loads(deployment.account.key.policy_text)
    policy["Statement"][2]["Action"].append("kms:DeriveSharedSecret")
    key = deployment.account.kms.create_key(spec="ECC_NIST_P256", policy=json.dumps(policy))
    peer = ec.generate_private_key(ec.SECP256R1())
    public_key_der = peer.public_key().public_bytes(*PUBLIC_DER)
    own_public_key = serialization.load_der_public_key(key.public_key_der() or b"")
    assert isinstance(own_public_key, ec.EllipticCurvePublicKey)
    expected = {"PLAINTEXT": peer.exchange(ec.ECDH(), own_public_key)}

    def check(fields: Fields) -> None:
        assert fields == expected

    arguments = ["derive", "--key-id", key.arn, "--public-key", encode_base64(public_key_der)]
    parameters = {"KeyId": key.arn, "PublicKey": public_key_der, "KeyAgreementAlgorithm": "ECDH"}
    return Operation("DeriveSharedSecret", arguments, parameters, check)


OPERATIONS = [decrypt, generate_data_key, generate_data_key_pair, generate_random, derive_shared_secret]


def call_boto3(client: Any, operation: Operation) -> Fields:
    method = getattr(client, re.sub(r"(?<!^)([A-Z])", r"_\1", operation.name).lower())
    answer = method(**operation.parameters)
    return {label: answer[name] for name, label in LABELS.items() if name in answer}


def attested(deployment: Deployment, enclave: Enclave) -> Any:
    account = deployment.account
    return attested_kms_client(
        Recipient(open_nsm(enclave.nsm_address)),
        region=account.region,
        credentials=account.issue_credentials(),
        options=KmsOptions(proxy=commands.proxy_address(account), ca_file=account.ca_file),
    )


def instance_arguments(deployment: Deployment, operation: Operation) -> list[str]:
    """Return the same arguments for kmstool-instance: the ciphertext as an argument, and the public key as a file."""
    arguments = [argument for argument in operation.arguments if argument != "--ciphertext"]
    if "--public-key" in arguments:
        place = arguments.index("--public-key") + 1
        file = deployment.account.directory / "peer.der"
        file.write_bytes(b64decode(arguments[place]))
        arguments[place] = str(file)
    return [*arguments, "--output", "json"]


def instance_fields(done: subprocess.CompletedProcess[bytes]) -> Fields:
    answer = json.loads(done.stdout)
    return {label: b64decode(answer[name]) for name, label in LABELS.items() if name in answer}


@pytest.mark.parametrize("make", OPERATIONS, ids=lambda make: make.__name__)
class TestEveryAttestedOperation:
    def test_gives_the_correct_result_in_all_three_ways(
        self, deployment: Deployment, make: Callable[[Deployment], Operation]
    ) -> None:
        operation = make(deployment)
        before = len(deployment.account.kms.journal.entries())
        done = run_as_c(deployment, *operation.arguments)
        assert (done.returncode, done.stderr) == (0, b"")
        assert re.fullmatch(operation.stdout, done.stdout)
        operation.check(parse_lines(done.stdout))
        operation.check(instance_fields(deployment.instance(*instance_arguments(deployment, operation))))
        operation.check(call_boto3(attested(deployment, deployment.account.enclave), operation))
        entries = deployment.account.kms.journal.entries()[before:]
        assert [(entry.operation, entry.verdict, entry.has_document) for entry in entries] == [
            (operation.name, OK, True)
        ] * 3

    def test_is_refused_for_another_image_and_without_a_document(
        self, deployment: Deployment, make: Callable[[Deployment], Operation]
    ) -> None:
        operation = make(deployment)
        if not operation.has_policy:  # without a key there cannot be a key policy: KMS gives random bytes to everyone
            assert call_boto3(deployment.account.unattested_client(), operation)
            return
        other = deployment.account.other_enclave
        in_enclave = run(deployment, *operation.arguments, enclave=other)
        on_instance = deployment.instance(*instance_arguments(deployment, operation), enclave="other")
        for done in (in_enclave, on_instance):
            assert (done.returncode, done.stdout) == (5, b"")
            assert b"AccessDeniedException" in done.stderr
        for client in (attested(deployment, other), deployment.account.unattested_client()):
            with pytest.raises(ClientError, match="AccessDeniedException"):
                call_boto3(client, operation)
