"""The server's KMS clients: one for each set of credentials and region, kept while they are in use."""

from __future__ import annotations

import logging
import os
import ssl
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
import botocore.session
from botocore import UNSIGNED, xform_name
from botocore.config import Config
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConfigValueStore, ConstantProvider
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import Loader
from botocore.parsers import ResponseParserError

from enclave_tool.clock import KmsClock
from enclave_tool.errors import RecipientError
from enclave_tool.kms import attested_kms_client
from enclave_tool.kms_failures import kms_failure
from enclave_tool.recipient import Recipient
from vsock_wire.address import Address
from vsock_wire.errors import quoted
from vsock_wire.messages import Credentials, EnclaveCode, KmstoolText, RequestError
from vsock_wire.operations import KmsRequest

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

_logger = logging.getLogger(__name__)

MAX_CLIENTS = 32
"""Kept at once. A parent sends the same credentials with every connection until they are renewed, every few hours."""
MAX_KEY_ID_CHARS = 2_048
"""KMS API, KeyId."""


@dataclass(frozen=True)
class KmsRoute:
    """How KMS is reached: all that clients have in common."""

    proxy: Address
    tls: ssl.SSLContext
    endpoint_host: str | None = None


class KmsCaller:
    """KMS as one set of credentials sees it. Safe to share between threads."""

    def __init__(self, client: KMSClient, route: KmsRoute, credentials: Credentials) -> None:
        self._client = client
        self._route = route
        self._secrets = tuple(filter(None, (credentials.secret_access_key, credentials.session_token)))

    def call(self, request: KmsRequest) -> dict[str, Any]:
        """Return KMS's answer, with the plaintext where boto3 has it.

        Raises:
            KmsError: KMS refused.
            ProxyUnreachableError: the proxy on the parent could not be reached.
            KmsUnreachableError: KMS behind it could not be reached, or stopped answering.
            TlsError: what answered could not show that it is KMS.
            NsmError: no attestation document could be had.
            RecipientError: KMS answered without a CiphertextForRecipient, or not about the key that was asked for.
            CmsError: its CiphertextForRecipient could not be opened.
        """
        method = getattr(self._client, xform_name(request.operation))
        try:
            answer: dict[str, Any] = method(**request.parameters)
        except (BotoCoreError, ClientError) as error:
            raise kms_failure(error, self._route.proxy, self._secrets) from None
        except (ResponseParserError, AttributeError, TypeError, ValueError) as error:
            # What botocore's parser raises on an answer that is no JSON object; its text may quote the answer.
            _logger.warning("KMS %s: botocore failed with %s", request.operation, type(error).__name__)
            raise RecipientError(
                f"KMS {request.operation}: expected a JSON object in answer, got what botocore cannot read",
                hint="what answers behind the proxy is no real KMS",
            ) from None
        _check_key(request, answer)
        return answer


def _check_key(request: KmsRequest, answer: dict[str, Any]) -> None:
    """Refuse an answer about another key than the request named by id or ARN; what an alias stands for only KMS knows.

    KMS enforces this itself; a difference here means that something between it and this code is broken.
    """
    wanted, used = request.parameters.get("KeyId"), str(answer.get("KeyId"))
    if wanted is None or "alias/" in wanted:
        return
    if used != wanted and not used.endswith(f":key/{wanted}"):
        raise RecipientError(
            f"KMS {request.operation}: KeyId: expected {quoted(wanted, MAX_KEY_ID_CHARS)} in answer,"
            f" got {quoted(used, MAX_KEY_ID_CHARS)}"
        )


_UNSIGNED = Config(signature_version=UNSIGNED, ignore_configured_endpoint_urls=True)  # type: ignore[call-arg] # missing in botocore-stubs
"""Of a client that is asked for nothing but its endpoint."""


class _Key(NamedTuple):
    """What makes two connections share a client. Not the expiration: it is no part of what signs."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None
    region: str


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
        self._clock = KmsClock()
        self._session = _isolated_session()
        self._session_lock = threading.Lock()  # boto3's sessions make one client at a time
        self._lock = threading.Lock()
        self._slots: OrderedDict[_Key, _Slot] = OrderedDict()

    def caller(self, credentials: Credentials, region: str) -> KmsCaller:
        """Return the caller for ``credentials`` in ``region``.

        Raises:
            RequestError: botocore cannot make a client for that region.
        """
        key = _Key(credentials.access_key_id, credentials.secret_access_key, credentials.session_token, region)
        slot = self._slot(key)
        with slot.lock:  # whoever has the same credentials waits for one client; nobody else waits
            if slot.caller is None:
                try:
                    slot.caller = self._new_caller(credentials, region)
                except RequestError:
                    with self._lock:
                        self._slots.pop(key, None)
                    raise
            return slot.caller

    def endpoint_url(self, region: str) -> str:
        """Return where KMS is asked for in ``region``.

        Raises:
            RequestError: botocore knows no endpoint for that region.
        """
        if self._route.endpoint_host:
            return f"https://{self._route.endpoint_host}"
        try:
            with self._session_lock:
                client = self._session.client("kms", region_name=region, config=_UNSIGNED)
        except (BotoCoreError, ValueError) as error:
            raise _no_client(error) from error
        return client.meta.endpoint_url

    def _slot(self, key: _Key) -> _Slot:
        with self._lock:
            slot = self._slots.pop(key, None) or _Slot()
            self._slots[key] = slot
            if len(self._slots) > MAX_CLIENTS:
                self._slots.popitem(last=False)
            return slot

    def _new_caller(self, credentials: Credentials, region: str) -> KmsCaller:
        try:
            with self._session_lock:
                client = attested_kms_client(
                    self._recipient,
                    region=region,
                    credentials=credentials,
                    session=self._session,
                    proxy=self._route.proxy,
                    tls=self._route.tls,
                    endpoint_host=self._route.endpoint_host,
                    clock=self._clock,
                )
        except (BotoCoreError, ValueError) as error:
            raise _no_client(error) from error
        return KmsCaller(client, self._route, credentials)


def _no_client(error: Exception) -> RequestError:
    return RequestError(
        KmstoolText.CLIENT_FAILED,
        EnclaveCode.CLIENT_FAILED,
        hint=f"botocore makes no KMS client for this region ({type(error).__name__})",
    )


def _isolated_session() -> boto3.Session:
    """Return a session with botocore's own defaults and data: no variable, file or profile has a say in the enclave."""
    session = botocore.session.Session()
    values = {name: variable[2] for name, variable in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()}
    values |= dict.fromkeys(("config_file", "credentials_file"), os.devnull)
    constants = {name: ConstantProvider(value) for name, value in values.items()}
    session.register_component("config_store", ConfigValueStore(mapping=constants))
    # The default paths would begin with ~/.aws/models.
    data = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    session.register_component("data_loader", data)
    return boto3.Session(botocore_session=session)
