"""KMS as the server's connections see it: one way there for each region, and credentials to sign with."""

from __future__ import annotations

import logging
import os
import ssl
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import boto3
import botocore.credentials
import botocore.session
from botocore import UNSIGNED
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConfigValueStore, ConstantProvider
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import Loader
from botocore.parsers import ResponseParserError

from enclave_tool.errors import RecipientError
from enclave_tool.kms.client import CONNECT_TIMEOUT_S, MAX_CONNECTIONS, READ_TIMEOUT_S, proxied_kms_client
from enclave_tool.kms.clock_skew import KmsClock
from enclave_tool.kms.failures import kms_failure
from enclave_tool.kms.regional import RegionalKms, Tries
from enclave_tool.kms.transport import ProxySession
from enclave_tool.recipient.recipient import Recipient
from vsock_wire.errors import quoted
from vsock_wire.net.address import Address
from vsock_wire.protocol.kms_operations import KmsRequest
from vsock_wire.protocol.messages import Credentials
from vsock_wire.protocol.vocabulary import EnclaveCode, KmstoolText, RequestError

_logger = logging.getLogger(__name__)

MAX_REGIONS = 32
"""Kept at once. AWS has about as many; a parent uses one, or a few for multi-region keys."""
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

    def __init__(self, kms: RegionalKms, route: KmsRoute, credentials: Credentials) -> None:
        self._kms = kms
        self._route = route
        self._credentials = botocore.credentials.Credentials(
            credentials.access_key_id, credentials.secret_access_key, credentials.session_token
        )
        self._secrets = tuple(filter(None, (credentials.secret_access_key, credentials.session_token)))

    def call(self, request: KmsRequest, tries: Tries) -> dict[str, Any]:
        """Return KMS's answer, with the plaintext where boto3 has it.

        Args:
            request: what is asked.
            tries: counts the requests that KMS gets for it, and bounds their time.

        Raises:
            KmsError: KMS refused.
            ProxyUnreachableError: the proxy on the parent could not be reached.
            KmsUnreachableError: KMS behind it could not be reached, or stopped answering.
            TlsError: what answered could not show that it is KMS.
            NsmError: no attestation document could be had.
            RecipientError: KMS answered without a CiphertextForRecipient, or not about the key that was asked for.
            CmsError: its CiphertextForRecipient could not be opened.
        """
        try:
            answer = self._kms.call(str(request.operation), dict(request.parameters), self._credentials, tries)
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


@dataclass
class _Slot:
    """The place of a region, which is filled when it is first asked for."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    kms: RegionalKms | None = None


class KmsClients:
    """Gives each connection the caller for its credentials; all callers of a region share its connections."""

    def __init__(self, recipient: Recipient, route: KmsRoute) -> None:
        self._recipient = recipient
        self._route = route
        self._clock = KmsClock()
        self._session = _isolated_session()
        self._session_lock = threading.Lock()  # boto3's sessions make one client at a time
        self._lock = threading.Lock()
        self._slots: OrderedDict[str, _Slot] = OrderedDict()

    def caller(self, credentials: Credentials, region: str) -> KmsCaller:
        """Return a caller with ``credentials`` in ``region``.

        Raises:
            RequestError: botocore cannot make a client for that region.
        """
        return KmsCaller(self._regional_kms(region), self._route, credentials)

    def endpoint_url(self, region: str) -> str:
        """Return where KMS is asked for in ``region``.

        Raises:
            RequestError: botocore knows no endpoint for that region.
        """
        if self._route.endpoint_host:
            return f"https://{self._route.endpoint_host}"
        return self._regional_kms(region).url

    def _regional_kms(self, region: str) -> RegionalKms:
        slot = self._slot(region)
        with slot.lock:  # whoever asks for the same region waits for one client; nobody else waits
            if slot.kms is None:
                try:
                    slot.kms = self._new_regional_kms(region)
                except RequestError:
                    with self._lock:
                        self._slots.pop(region, None)
                    raise
            return slot.kms

    def _slot(self, region: str) -> _Slot:
        with self._lock:
            slot = self._slots.pop(region, None) or _Slot()
            self._slots[region] = slot
            if len(self._slots) > MAX_REGIONS:
                self._slots.popitem(last=False)
            return slot

    def _new_regional_kms(self, region: str) -> RegionalKms:
        http = ProxySession(
            self._route.proxy,
            tls=self._route.tls,
            connect_timeout_s=CONNECT_TIMEOUT_S,
            read_timeout_s=READ_TIMEOUT_S,
            max_connections=MAX_CONNECTIONS,
        )
        try:
            with self._session_lock:
                client = proxied_kms_client(
                    self._session,
                    http,
                    self._clock,
                    region=region,
                    endpoint_host=self._route.endpoint_host,
                    signature_version=UNSIGNED,
                )
        except (BotoCoreError, ValueError) as error:
            raise RequestError(
                KmstoolText.CLIENT_FAILED,
                EnclaveCode.CLIENT_FAILED,
                hint=f"botocore makes no KMS client for this region ({type(error).__name__})",
            ) from error
        return RegionalKms(client, http.pool(client.meta.endpoint_url), self._recipient, self._clock)


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
