"""The server's connections to KMS in each region, shared by all credentials."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConfigValueStore, ConstantProvider
from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader

from enclave_tool.kms.caller import KmsCaller
from enclave_tool.kms.client import proxied_kms_client
from enclave_tool.kms.clock import KmsClock
from enclave_tool.kms.clock_skew import ClockedSigner
from enclave_tool.kms.options import KmsOptions
from enclave_tool.kms.regional import RegionalKms
from enclave_tool.kms.tls import load_trust
from enclave_tool.kms.transport import ProxySession
from enclave_tool.recipient.attested_key import Recipient
from vsock_wire.protocol.messages import Credentials
from vsock_wire.protocol.vocabulary import EnclaveCode, KmstoolText, RequestError

MAX_REGIONS = 32
"""Maximum number of regions kept. AWS has about this many; a parent uses one, or a few for multi-Region keys."""


@dataclass
class _Slot:
    """The slot of a region, filled on first use."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    kms: RegionalKms | None = None


class KmsRegions:
    """Returns callers for credentials and regions. All callers in a region share its connections.

    Args:
        recipient: the recipient of attested operations.
        options: how to reach KMS; all regions share its TLS context and its clock.

    Raises:
        InputError: the CA bundle cannot be read.
    """

    def __init__(self, recipient: Recipient, options: KmsOptions) -> None:
        self._recipient = recipient
        self._options = load_trust(options)
        self._clock = options.clock or KmsClock()
        self._session = _isolated_session()
        self._session_lock = threading.Lock()  # a boto3 session can create only one client at a time
        self._lock = threading.Lock()
        self._slots: OrderedDict[str, _Slot] = OrderedDict()

    def caller(self, credentials: Credentials, region: str) -> KmsCaller:
        """Return a caller with ``credentials`` in ``region``.

        Raises:
            RequestError: botocore cannot make a client for that region.
        """
        return KmsCaller(self._regional_kms(region), self._options.proxy_address, credentials)

    def endpoint_url(self, region: str) -> str:
        """Return the URL of the KMS endpoint in ``region``.

        Raises:
            RequestError: botocore knows no endpoint for that region.
        """
        if self._options.endpoint_host:
            return f"https://{self._options.endpoint_host}"
        return self._regional_kms(region).url

    def _regional_kms(self, region: str) -> RegionalKms:
        slot = self._slot(region)
        with slot.lock:  # callers for the same region wait while one creates the client; others do not wait
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
        http = ProxySession(self._options)
        try:
            with self._session_lock:
                client = proxied_kms_client(
                    self._session,
                    http,
                    self._clock,
                    region=region,
                    endpoint_host=self._options.endpoint_host,
                    signature_version=UNSIGNED,
                )
        except (BotoCoreError, ValueError) as error:
            raise RequestError(
                KmstoolText.CLIENT_FAILED,
                EnclaveCode.CLIENT_FAILED,
                hint=f"botocore cannot create a KMS client for this region ({type(error).__name__})",
            ) from error
        return RegionalKms(client, http.pool(client.meta.endpoint_url), self._recipient, ClockedSigner(self._clock))


def _isolated_session() -> boto3.Session:
    """Return a session with botocore's own defaults and data, not affected by any variable, file or profile."""
    session = botocore.session.Session()
    values = {name: variable[2] for name, variable in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()}
    values |= dict.fromkeys(("config_file", "credentials_file"), os.devnull)
    constants = {name: ConstantProvider(value) for name, value in values.items()}
    session.register_component("config_store", ConfigValueStore(mapping=constants))
    # The default search path starts with ~/.aws/models.
    data = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    session.register_component("data_loader", data)
    return boto3.Session(botocore_session=session)
