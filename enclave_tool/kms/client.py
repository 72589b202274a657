"""A boto3 KMS client whose calls are attested: it sends the document along and opens what comes back.

``attested_kms_client`` is the library's front door: anyone's enclave application can use the client it returns in place
of boto3's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from enclave_tool.errors import RecipientError
from enclave_tool.kms.clock_skew import KmsClock
from enclave_tool.kms.transport import ProxySession, tls_context
from enclave_tool.nsm.device import open_nsm
from enclave_tool.recipient.recipient import KEY_ENCRYPTION_ALGORITHM, Recipient
from vsock_wire.net.address import CID_PARENT, Address, VsockAddress
from vsock_wire.protocol.kms_operations import KMS_OPERATIONS
from vsock_wire.protocol.messages import Credentials

if TYPE_CHECKING:
    import ssl

    from mypy_boto3_kms import KMSClient

ATTESTED_OPERATIONS = {str(name): spec.delivers for name, spec in KMS_OPERATIONS.items() if spec.delivers}
"""Operations that take a Recipient, and the field whose place CiphertextForRecipient takes. Source: KMS API reference;
there are no others: Encrypt, ReEncrypt and Sign cannot be attested."""

PROXY_PORT = 8_000
"""Default of the vsock-proxy's examples and of kmstool's code."""
CONNECT_TIMEOUT_S = 3.0
"""For the proxy and the TLS handshake behind it."""
READ_TIMEOUT_S = 5.0
"""KMS answers within tens of milliseconds; kmstool in C waits for ever when it does not. Three attempts of 8 s and at
most 3 s between them end before kmstool-instance gives up on the enclave after 30 s, so the reason still reaches it."""
MAX_ATTEMPTS = 3
"""Of botocore's standard retry mode, its own default."""
MAX_CONNECTIONS = 64


def attested_kms_client(
    recipient: Recipient | None = None,
    *,
    region: str,
    credentials: Credentials | None = None,
    session: boto3.Session | None = None,
    proxy: Address = VsockAddress(CID_PARENT, PROXY_PORT),
    endpoint_host: str | None = None,
    tls: ssl.SSLContext | None = None,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    read_timeout_s: float = READ_TIMEOUT_S,
    max_connections: int = MAX_CONNECTIONS,
    clock: KmsClock | None = None,
) -> KMSClient:
    """Return a boto3 KMS client for use inside an enclave.

    It behaves as boto3's own: same methods, answers, errors, retries; safe to share between threads. The five
    ATTESTED_OPERATIONS carry a Recipient, and their answers hold the plaintext where callers of boto3 look for it,
    although KMS sent it as CiphertextForRecipient. It does not prove to the caller which KMS key opened the ciphertext:
    pass KeyId, or compare the KeyId of the answer.

    Args:
        recipient: the recipient key and its documents; by default a new key, attested by /dev/nsm. Share one between
            clients: making a key costs about 50 ms.
        region: the AWS region whose KMS is called.
        credentials: what to sign with. Without them, ``session``'s are used.
        session: the boto3 session to make the client from; by default a new one, which costs about 100 ms and 9 MB.
            Two threads must not make clients of one session at the same time.
        proxy: the vsock-proxy to dial; by default on the parent instance, port 8000.
        endpoint_host: KMS host name, where it is not the region's usual one.
        tls: from ``tls_context``; by default it trusts what botocore trusts. Share one between clients.
        connect_timeout_s: seconds for reaching the proxy, and for the TLS handshake behind it.
        read_timeout_s: seconds for each wait on KMS.
        max_connections: how many connections to KMS are kept.
        clock: what is known of KMS's clock; by default nothing yet. Share one between clients, so that only the first
            of them has to be refused to learn it.

    Raises:
        NsmError: no recipient was given and /dev/nsm cannot be used.
        botocore.exceptions.BotoCoreError: botocore knows no endpoint for that region.
    """
    http = ProxySession(
        proxy,
        tls=tls or tls_context(),
        connect_timeout_s=connect_timeout_s,
        read_timeout_s=read_timeout_s,
        max_connections=max_connections,
    )
    client = proxied_kms_client(
        session or boto3.Session(),
        http,
        clock or KmsClock(),
        region=region,
        endpoint_host=endpoint_host,
        **_signing_arguments(credentials),
    )
    attest_client(client, recipient or Recipient(open_nsm()))
    return client


def proxied_kms_client(
    session: boto3.Session,
    http: ProxySession,
    clock: KmsClock,
    *,
    region: str,
    endpoint_host: str | None = None,
    signature_version: Any = None,
    **arguments: Any,
) -> KMSClient:
    """Return a boto3 KMS client that reaches KMS through ``http`` and signs by ``clock``; it attests nothing.

    Args:
        session: the boto3 session to make it from.
        http: the way to KMS.
        clock: what is known of KMS's clock.
        region: whose KMS it is.
        endpoint_host: KMS host name, where it is not the region's usual one.
        signature_version: botocore.UNSIGNED for a client that has no credentials.
        arguments: more of ``boto3.Session.client``'s, such as credentials.

    Raises:
        botocore.exceptions.BotoCoreError: botocore knows no endpoint for that region.
    """
    client: KMSClient = session.client(
        "kms",
        region_name=region,
        endpoint_url=f"https://{endpoint_host}" if endpoint_host else None,
        config=Config(
            retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
            signature_version=signature_version,
            ignore_configured_endpoint_urls=True,  # type: ignore[call-arg] # missing in botocore-stubs
        ),
        **arguments,
    )
    # Private, and the only place where a client takes another HTTP session; tests hold every version to it.
    client._endpoint.http_session = http  # type: ignore[attr-defined]
    clock.attach(client)
    return client


def attest_client(client: KMSClient, recipient: Recipient) -> None:
    """Make the attested operations of any boto3 KMS client carry ``recipient``.

    For clients that reach KMS in another way than ``attested_kms_client`` makes them. Calls then raise RecipientError
    and CmsError beside botocore's own exceptions.
    """

    def attach_recipient(params: dict[str, Any], **_: object) -> None:
        if "Recipient" in params:
            raise ValueError("Recipient: this client attaches its own")
        params["Recipient"] = recipient_parameter(recipient)

    def open_answer(parsed: dict[str, Any], model: Any, http_response: Any, **_: object) -> None:
        if http_response.status_code < 300:
            replace_ciphertext_for_recipient(parsed, model.name, recipient)
        else:  # becomes a ClientError that carries the whole answer
            drop_secret(parsed, model.name)

    for operation in ATTESTED_OPERATIONS:
        client.meta.events.register(f"before-parameter-build.kms.{operation}", attach_recipient)
        client.meta.events.register(f"after-call.kms.{operation}", open_answer)


def recipient_parameter(recipient: Recipient) -> dict[str, Any]:
    """Return the parameter Recipient of an attested operation, with a document as ``recipient`` gives it.

    Raises:
        NsmError: the module refused or did not answer.
    """
    return {"KeyEncryptionAlgorithm": KEY_ENCRYPTION_ALGORITHM, "AttestationDocument": recipient.document()}


def drop_secret(answer: dict[str, Any], operation: str) -> None:
    """Take out of an error answer what only a good one may carry, and that not in the clear."""
    answer.pop(ATTESTED_OPERATIONS[operation], None)


def replace_ciphertext_for_recipient(answer: dict[str, Any], operation: str, recipient: Recipient) -> None:
    """Put the plaintext into KMS's ``answer`` to an attested operation, in place of CiphertextForRecipient.

    Raises:
        RecipientError: the answer has none, or a plaintext beside it: KMS, or whoever speaks for it, ignored the
            Recipient, so the plaintext may have been seen outside the enclave. It is dropped.
        CmsError: the CiphertextForRecipient cannot be opened.
    """
    field = ATTESTED_OPERATIONS[operation]
    leaked = answer.pop(field, None)
    ciphertext_for_recipient = answer.pop("CiphertextForRecipient", None)
    if leaked:
        raise RecipientError(
            f"KMS {operation}: expected CiphertextForRecipient, got {field} in the clear",
            hint="the endpoint ignores Recipient, so it is no real KMS; the plaintext was dropped",
        )
    if not ciphertext_for_recipient:
        raise RecipientError(f"KMS {operation}: expected CiphertextForRecipient, got neither that nor {field}")
    answer[field] = recipient.open(ciphertext_for_recipient)


def _signing_arguments(credentials: Credentials | None) -> dict[str, Any]:
    if credentials is None:
        return {}
    return {
        "aws_access_key_id": credentials.access_key_id,
        "aws_secret_access_key": credentials.secret_access_key,
        "aws_session_token": credentials.session_token,
    }
