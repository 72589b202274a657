"""Calls to KMS with boto3's methods, and responses to them, for tests of the client and of the server's calls."""

from __future__ import annotations

import ssl
import traceback
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enclave_tool.recipient.attested_key import Recipient, RecipientKey
from tests.support.enclave.scripted_nsm import ScriptedNsm
from tests.support.kms.ber_messages import seal
from tests.support.kms.canned_kms import Answer, Call, CannedKms
from vsock_wire.protocol.messages import Credentials

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

REGION = "us-east-1"
CREDENTIALS = Credentials("AKIDEXAMPLE", "theSecretAccessKey", "theSessionToken")
PLAINTEXT = b"the attested plaintext"

ATTESTED: dict[str, Callable[[KMSClient], Any]] = {
    "Decrypt": lambda client: client.decrypt(CiphertextBlob=b"blob"),
    "GenerateDataKey": lambda client: client.generate_data_key(KeyId="k", KeySpec="AES_256"),
    "GenerateDataKeyPair": lambda client: client.generate_data_key_pair(KeyId="k", KeyPairSpec="ECC_NIST_P256"),
    "GenerateRandom": lambda client: client.generate_random(NumberOfBytes=32),
    "DeriveSharedSecret": lambda client: client.derive_shared_secret(
        KeyId="k", KeyAgreementAlgorithm="ECDH", PublicKey=b"point"
    ),
}
UNATTESTED: dict[str, Callable[[KMSClient], Any]] = {
    "Encrypt": lambda client: client.encrypt(KeyId="k", Plaintext=b"p"),
    "ReEncrypt": lambda client: client.re_encrypt(CiphertextBlob=b"c", DestinationKeyId="k"),
    "Sign": lambda client: client.sign(KeyId="k", Message=b"m", SigningAlgorithm="ECDSA_SHA_256"),
    "GenerateMac": lambda client: client.generate_mac(KeyId="k", Message=b"m", MacAlgorithm="HMAC_SHA_256"),
    "GenerateDataKeyWithoutPlaintext": lambda client: client.generate_data_key_without_plaintext(
        KeyId="k", KeySpec="AES_256"
    ),
    "GenerateDataKeyPairWithoutPlaintext": lambda client: client.generate_data_key_pair_without_plaintext(
        KeyId="k", KeyPairSpec="RSA_2048"
    ),
    "DescribeKey": lambda client: client.describe_key(KeyId="k"),
    "ListKeys": lambda client: client.list_keys(),
}


def encoded(data: bytes) -> str:
    return b64encode(data).decode()


def sealing(key: RecipientKey, plaintext: bytes = PLAINTEXT, **fields: object) -> Callable[[Call], Answer]:
    """Return a function that responds to every call with ``fields`` and ``plaintext`` encrypted to ``key``."""
    sealed = encoded(seal(key, plaintext))
    return lambda _call: Answer({"CiphertextForRecipient": sealed, **fields})


def chain_text(error: BaseException) -> str:
    """Return everything that printing ``error`` can show, including causes and contexts."""
    texts = ["".join(traceback.format_exception(error))]
    seen: BaseException | None = error
    while seen is not None:
        texts += [repr(seen), repr(seen.args), repr(vars(seen))]
        seen = seen.__cause__ or seen.__context__
    return "\n".join(texts)


@dataclass
class ClientWorld:
    """A KMS and an attested client for it."""

    kms: CannedKms
    nsm: ScriptedNsm
    recipient: Recipient
    tls: ssl.SSLContext
    client: KMSClient
