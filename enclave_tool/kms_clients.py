"""The server's KMS clients: one for each set of credentials and region, kept while they are in use."""

from __future__ import annotations

import ssl
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from enclave_tool.errors import RecipientError
from enclave_tool.kms import attested_kms_client
from enclave_tool.kms_failures import kms_failure
from enclave_tool.recipient import Recipient
from vsock_wire.address import Address
from vsock_wire.messages import Credentials, Decrypt, DecryptResult, EnclaveCode, KmstoolText, RequestError

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_kms.type_defs import DecryptRequestTypeDef

MAX_CLIENTS = 32
"""Kept at once. A parent sends the same credentials with every connection until they are renewed, every few hours."""


@dataclass(frozen=True)
class KmsRoute:
    """How KMS is reached: all that clients have in common."""

    proxy: Address
    tls: ssl.SSLContext
    endpoint_host: str | None = None


class KmsCaller:
    """KMS as one set of credentials sees it. Safe to share between threads."""

    def __init__(self, client: KMSClient, route: KmsRoute) -> None:
        self._client = client
        self._route = route

    def decrypt(self, request: Decrypt) -> DecryptResult:
        """Return what KMS decrypts for this enclave.

        Raises:
            KmsError: KMS refused.
            ProxyUnreachableError: the proxy on the parent could not be reached.
            KmsUnreachableError: KMS behind it could not be reached, or stopped answering.
            TlsError: what answered could not show that it is KMS.
            NsmError: no attestation document could be had.
            RecipientError: KMS answered without a CiphertextForRecipient.
            CmsError: its CiphertextForRecipient could not be opened.
        """
        parameters: DecryptRequestTypeDef = {"CiphertextBlob": request.ciphertext}
        if request.encryption_context:
            parameters["EncryptionContext"] = request.encryption_context
        if request.key_id:
            parameters["KeyId"] = request.key_id
        if request.encryption_algorithm:
            # Any text: a wrong one is for KMS to refuse, in its own words.
            parameters["EncryptionAlgorithm"] = request.encryption_algorithm  # type: ignore[typeddict-item]
        if request.grant_tokens:
            parameters["GrantTokens"] = request.grant_tokens
        try:
            answer = self._client.decrypt(**parameters)
        except (BotoCoreError, ClientError) as error:
            raise kms_failure(error, self._route.proxy) from error
        except (ResponseParserError, AttributeError, TypeError, ValueError):
            # What botocore's parser raises on an answer that is no JSON object; its text may quote the answer.
            raise RecipientError(
                "KMS Decrypt: expected a JSON object in answer, got what botocore cannot read",
                hint="what answers behind the proxy is no real KMS",
            ) from None
        return DecryptResult(answer["Plaintext"], answer.get("KeyId"), answer.get("EncryptionAlgorithm"))


@dataclass
class _Slot:
    """The place of one caller, which is made when it is first asked for."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    caller: KmsCaller | None = None


class KmsClients:
    """Gives each connection the caller for its credentials; the same credentials share one, with its connections."""

    def __init__(self, recipient: Recipient, route: KmsRoute) -> None:
        self._recipient = recipient
        self._route = route
        self._lock = threading.Lock()
        self._slots: OrderedDict[tuple[Credentials, str], _Slot] = OrderedDict()

    def caller(self, credentials: Credentials, region: str) -> KmsCaller:
        """Return the caller for ``credentials`` in ``region``.

        Raises:
            RequestError: botocore cannot make a client for that region.
        """
        slot = self._slot((credentials, region))
        with slot.lock:  # whoever has the same credentials waits for one client; nobody else waits
            if slot.caller is None:
                try:
                    slot.caller = self._new_caller(credentials, region)
                except RequestError:
                    with self._lock:
                        self._slots.pop((credentials, region), None)
                    raise
            return slot.caller

    def _slot(self, key: tuple[Credentials, str]) -> _Slot:
        with self._lock:
            slot = self._slots.pop(key, None) or _Slot()
            self._slots[key] = slot
            if len(self._slots) > MAX_CLIENTS:
                self._slots.popitem(last=False)
            return slot

    def _new_caller(self, credentials: Credentials, region: str) -> KmsCaller:
        try:
            client = attested_kms_client(
                self._recipient,
                region=region,
                credentials=credentials,
                proxy=self._route.proxy,
                tls=self._route.tls,
                endpoint_host=self._route.endpoint_host,
            )
        except (BotoCoreError, ValueError) as error:
            raise RequestError(
                KmstoolText.CLIENT_FAILED,
                EnclaveCode.CLIENT_FAILED,
                hint=f"botocore makes no KMS client for this region ({type(error).__name__})",
            ) from error
        return KmsCaller(client, self._route)
