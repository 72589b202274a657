"""The vocabulary of the wire protocol: operations, error codes, texts and limits (pure).

The protocol is kmstool's, extended with fields and operations that its C programs ignore. kmstool's own error texts are
unchanged.
"""

from __future__ import annotations

import enum

from vsock_wire.errors import WireError

PROTOCOL_VERSION = 2
"""Announced in the reply to SetClient. kmstool in C announces no version, which counts as 1."""
DEFAULT_REGION = "us-east-1"
"""kmstool's default, used if neither side sets a region."""

SERVICE_PORT = 3_000
"""The vsock port of kmstool-enclave, the same as kmstool's."""

STATUS_OK = "Ok"
STATUS_ERROR = "Error"
MAX_IN_FLIGHT = 16
"""Maximum number of requests with an Id that a server handles at once for one connection; it reads no more until it has
answered one. That is far more than needed to hide the latency to KMS, and leaves capacity for 256 connections."""
ID = "Id"
"""The field of a request that its reply repeats; kmstool in C ignores it."""
TRIES = "Tries"
"""The field of a reply, Ok or Error, that says how many requests were sent to KMS for it."""
EXPLAIN = "Explain"
"""The field of a request that asks for EVIDENCE; kmstool in C ignores it."""
EVIDENCE = "Evidence"
"""The field of the reply, Ok or Error, that lists the steps of ``vsock_wire.protocol.trace``."""
VERSION = "Version"
"""The field of a Describe reply that has the version of the program."""
PROTOCOL = "Protocol"
"""The field of the replies to SetClient and Describe that has the server's PROTOCOL_VERSION. kmstool in C does not send
it."""
OPERATIONS = "Operations"
"""The field of the reply to SetClient that lists the operations that the server knows."""
REGION = "Region"
"""The field of the replies to SetClient and Describe that has the region set by the server; null if the client chooses
the region."""
CREDENTIALS_HELD = "CredentialsHeld"
"""The field of a Describe reply with which ``kmstool-instance serve`` says that its clients need no credentials."""


class Operation(enum.StrEnum):
    """Operations of this version of the protocol."""

    SET_CLIENT = "SetClient"
    DECRYPT = "Decrypt"
    GENERATE_DATA_KEY = "GenerateDataKey"
    GENERATE_DATA_KEY_PAIR = "GenerateDataKeyPair"
    GENERATE_RANDOM = "GenerateRandom"
    DERIVE_SHARED_SECRET = "DeriveSharedSecret"  # noqa: S105 - the name of an operation
    ENCRYPT = "Encrypt"
    GET_ATTESTATION_DOCUMENT = "GetAttestationDocument"
    DESCRIBE = "Describe"
    DIAGNOSE = "Diagnose"


class Service(enum.StrEnum):
    """What refused a request: the ``Service`` of an error reply."""

    KMS = "kms"
    NSM = "nsm"
    ENCLAVE = "enclave"


class EnclaveCode(enum.StrEnum):
    """Codes of errors that arise in the enclave itself. KMS's and the NSM's own codes are passed on unchanged."""

    INVALID_MESSAGE = "InvalidMessage"
    INVALID_REQUEST = "InvalidRequest"
    UNKNOWN_OPERATION = "UnknownOperation"
    CLIENT_NOT_SET = "ClientNotSet"
    REGION_CONFLICT = "RegionConflict"
    CLIENT_FAILED = "ClientFailed"
    UNKNOWN_REGION = "UnknownRegion"
    PROXY_UNREACHABLE = "ProxyUnreachable"
    KMS_UNREACHABLE = "KmsUnreachable"
    TLS_FAILED = "TlsFailed"
    RECIPIENT_MISSING = "CiphertextForRecipientMissing"
    RECIPIENT_UNREADABLE = "CiphertextForRecipientUnreadable"
    DELIVERY_FAILED = "DeliveryFailed"
    BUSY = "TooManyConnections"
    INTERNAL = "InternalError"


EXPIRED_TOKEN = "ExpiredTokenException"  # noqa: S105 - the name of one of KMS's errors
DRY_RUN_PASSED = "DryRunOperationException"
"""What KMS answers to a request with DryRun that it would perform."""


class KmstoolText(enum.StrEnum):
    """Texts of kmstool in C, to the letter. The Message of the same failure starts with them here."""

    INVALID_JSON = "Error reading JSON object"
    NOT_AN_OBJECT = "JSON is wrong type"
    NO_OPERATION = "JSON structure incomplete"
    OPERATION_NOT_A_STRING = "Operation is wrong type"
    UNKNOWN_OPERATION = "Operation not recognized"
    NO_CREDENTIALS = "Could not read credentials"
    REGION_CONFLICT = "Could not set region correctly, check configuration."
    CLIENT_FAILED = "Could not create new client"
    CLIENT_NOT_SET = "Client not initialized"
    NO_CIPHERTEXT = "Message does not contain a Ciphertext"
    CIPHERTEXT_NOT_BASE64 = "Ciphertext not a base64 string"
    DECRYPT_FAILED = "Could not decrypt ciphertext"


class RequestError(WireError):
    """A request is not valid in this protocol. The text is the Message of the reply.

    Attributes:
        code: the code of the reply.
    """

    def __init__(self, text: str, code: EnclaveCode = EnclaveCode.INVALID_REQUEST, *, hint: str | None = None) -> None:
        super().__init__(text, hint=hint)
        self.code = code
