"""A boto3 KMS client whose calls are attested: it sends the attestation document and opens the response.

``attested_kms_client`` is the library's main entry point. An enclave application can use the client that it returns
instead of boto3's own.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import boto3
from botocore.client import BaseClient
from botocore.config import Config

from enclave_tool.arguments import expect_type
from enclave_tool.kms.attested_operations import (
    PLAINTEXT_FIELDS,
    drop_secret,
    recipient_parameter,
    replace_ciphertext_for_recipient,
)
from enclave_tool.kms.clock import KmsClock
from enclave_tool.kms.clock_skew import ClockedSigner
from enclave_tool.kms.options import KmsOptions
from enclave_tool.kms.transport import ProxySession
from enclave_tool.nsm.device import open_nsm
from enclave_tool.recipient.attested_key import Recipient
from vsock_wire.protocol.messages import Credentials

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

MAX_ATTEMPTS = 3
"""Maximum number of attempts in botocore's standard retry mode; the same as botocore's default."""

_attested_clients: WeakSet[BaseClient] = WeakSet()
_attested_clients_lock = threading.Lock()


def attested_kms_client(
    recipient: Recipient | None = None,
    *,
    region: str,
    credentials: Credentials | None = None,
    session: boto3.Session | None = None,
    options: KmsOptions | None = None,
) -> KMSClient:
    """Return a boto3 KMS client for use inside an enclave.

    It has the methods, responses, errors and retries of boto3's own client, and threads can share it. The operations
    that KMS attests (Decrypt, GenerateDataKey, GenerateDataKeyPair, GenerateRandom, DeriveSharedSecret) send a
    Recipient. KMS returns their plaintext as CiphertextForRecipient, and the client puts it into the field where boto3
    has it. The client does not prove which KMS key decrypted the ciphertext: pass KeyId, or compare the KeyId of the
    response.

    Calls raise botocore's exceptions, and also NsmError, RecipientError and CmsError. If the proxy cannot be reached,
    they raise an EndpointConnectionError that names it.

    Args:
        recipient: the recipient key and its documents; by default a new key, attested by /dev/nsm. Share one between
            clients: generating a key takes about 50 ms.
        region: the AWS region whose KMS is called.
        credentials: the credentials to sign with; by default those of ``session``.
        session: the boto3 session to create the client from; by default a new one, which costs about 100 ms and 9 MB.
            Two threads must not create clients from one session at the same time.
        options: how to reach KMS, and which authorities to trust; by default through the proxy on the parent instance,
            port 8000.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: the region is empty, or both credentials and a session are given.
        NsmError: no recipient is given and /dev/nsm cannot be used.
        InputError: the CA file of ``options`` cannot be read.
        botocore.exceptions.BotoCoreError: botocore knows no endpoint for that region.
    """
    expect_type("recipient", recipient, (Recipient, type(None)), "a Recipient")
    expect_type("region", region, (str,), "the name of an AWS region")
    expect_type("credentials", credentials, (Credentials, type(None)), "enclave_tool.Credentials")
    expect_type("session", session, (boto3.Session, type(None)), "a boto3.Session")
    expect_type("options", options, (KmsOptions, type(None)), "KmsOptions")
    if not region:
        raise ValueError("region: empty; pass the name of an AWS region, such as us-east-1")
    if credentials is not None and session is not None:
        raise ValueError("pass either credentials or session, not both: a session has credentials of its own")
    recipient = recipient or Recipient(open_nsm())
    options = options or KmsOptions()
    client = proxied_kms_client(
        session or boto3.Session(),
        ProxySession(options),
        options.clock or KmsClock(),
        region=region,
        endpoint_host=options.endpoint_host,
        **_signing_arguments(credentials),
    )
    return attest_client(client, recipient)


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
    """Return a boto3 KMS client that connects with ``http`` and signs with ``clock``; its calls are not attested.

    Args:
        session: the boto3 session to create it from.
        http: the HTTP session that connects to KMS.
        clock: what is known about KMS's clock.
        region: the AWS region whose KMS is called.
        endpoint_host: KMS host name, if it is not the region's usual one.
        signature_version: botocore.UNSIGNED for a client that has no credentials.
        arguments: more arguments of ``boto3.Session.client``, such as credentials.

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
    # Private, but the only way to give a client another HTTP session. Tests check it with every version of botocore.
    client._endpoint.http_session = http  # type: ignore[attr-defined]
    ClockedSigner(clock).attach(client)
    return client


def attest_client(client: KMSClient, recipient: Recipient) -> KMSClient:
    """Make a boto3 KMS client send ``recipient`` with its attested operations, and return the client.

    For clients that reach KMS in another way than those of ``attested_kms_client``. Calls then raise NsmError,
    RecipientError and CmsError in addition to botocore's own exceptions.

    Raises:
        TypeError: ``client`` is not a boto3 client of KMS, or ``recipient`` is not a Recipient.
        ValueError: the client is already attested.
    """
    _expect_kms_client(client)
    expect_type("recipient", recipient, (Recipient,), "a Recipient")
    with _attested_clients_lock:
        if client in _attested_clients:
            raise ValueError("client: already attested; a client can have only one recipient")
        _attested_clients.add(client)

    def attach_recipient(params: dict[str, Any], **_: object) -> None:
        if "Recipient" in params:
            raise ValueError("Recipient: this client adds its own")
        params["Recipient"] = recipient_parameter(recipient)

    def open_answer(parsed: dict[str, Any], model: Any, http_response: Any, **_: object) -> None:
        if http_response.status_code < 300:
            replace_ciphertext_for_recipient(parsed, model.name, recipient)
        else:  # becomes a ClientError that carries the whole response
            drop_secret(parsed, model.name)

    for operation in PLAINTEXT_FIELDS:
        client.meta.events.register(f"before-parameter-build.kms.{operation}", attach_recipient)
        client.meta.events.register(f"after-call.kms.{operation}", open_answer)
    return client


def _expect_kms_client(client: object) -> None:
    expect_type("client", client, (BaseClient,), "a boto3 client of KMS")
    service: str = client.meta.service_model.service_name  # type: ignore[attr-defined] # of every BaseClient
    if service != "kms":
        raise TypeError(f"client: expected a boto3 client of KMS, got one of {service}")


def _signing_arguments(credentials: Credentials | None) -> dict[str, Any]:
    if credentials is None:
        return {}
    return {
        "aws_access_key_id": credentials.access_key_id,
        "aws_secret_access_key": credentials.secret_access_key,
        "aws_session_token": credentials.session_token,
    }
