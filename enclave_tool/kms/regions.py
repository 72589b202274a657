"""The server's connections to KMS in each region, shared by all credentials, and the regions that there are.

A region becomes a part of a host name, and the parent instance may choose it. So it must be one that botocore knows, or
that an option of the enclave admits: no other word can lead to a host such as kms.s3.amazonaws.com.
"""

from __future__ import annotations

import difflib
import os
import threading
from collections import OrderedDict
from collections.abc import Collection
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
from vsock_wire.errors import ExitCode, quoted
from vsock_wire.protocol.messages import Credentials
from vsock_wire.protocol.vocabulary import EnclaveCode, KmstoolText, RequestError

MAX_REGIONS = 32
"""Maximum number of regions kept. AWS has about this many; a parent uses one, or a few for multi-Region keys."""
GLOBAL_SUFFIX = "-global"
"""The end of a name in botocore's list that stands for a whole partition, not for a region."""


class UnknownRegionError(RequestError):
    """Neither botocore nor an option of the enclave knows a region."""

    exit_code = ExitCode.USAGE

    def __init__(self, region: str, known: Collection[str]) -> None:
        nearest = " or ".join(f'"{name}"' for name in _nearest(region.lower(), known))
        guess = f"did you mean {nearest}?" if nearest else "expected the name of an AWS region such as us-east-1;"
        super().__init__(
            f"{KmstoolText.CLIENT_FAILED}: unknown region {quoted(region)}",
            EnclaveCode.UNKNOWN_REGION,
            hint=f"{guess} for a new region, start the enclave with --allow-region",
        )


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
        self._session, self._known_regions = _isolated_session()
        self._session_lock = threading.Lock()  # a boto3 session can create only one client at a time
        self._lock = threading.Lock()
        self._slots: OrderedDict[str, _Slot] = OrderedDict()

    def caller(self, credentials: Credentials, region: str) -> KmsCaller:
        """Return a caller with ``credentials`` in ``region``.

        Raises:
            UnknownRegionError: there is no such region.
            RequestError: botocore cannot make a client for that region.
        """
        return KmsCaller(self._regional_kms(region), self._options, credentials)

    def endpoint_url(self, region: str) -> str:
        """Return the URL of the KMS endpoint in ``region``.

        Raises:
            UnknownRegionError: there is no such region.
            RequestError: botocore knows no endpoint for that region.
        """
        return self._regional_kms(region).url

    def _regional_kms(self, region: str) -> RegionalKms:
        if region not in self._known_regions and region not in self._options.allowed_regions:
            raise UnknownRegionError(region, self._known_regions)
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


def known_regions(data: Loader) -> frozenset[str]:
    """Return the names of all regions in botocore's data, in all partitions."""
    partitions = data.load_data("partitions")["partitions"]
    names = {name for partition in partitions for name in partition["regions"]}
    return frozenset(name for name in names if not name.endswith(GLOBAL_SUFFIX))


def _nearest(name: str, known: Collection[str]) -> list[str]:
    """Return the known name that is most like ``name``, or those that are equally like it; none if none is."""
    close = difflib.get_close_matches(name, known, n=len(known))
    likeness = [difflib.SequenceMatcher(None, other, name).ratio() for other in close]
    return sorted(other for other, ratio in zip(close, likeness, strict=True) if ratio == likeness[0])


def _isolated_session() -> tuple[boto3.Session, frozenset[str]]:
    """Return a session with botocore's own defaults and data, and the regions in that data.

    No variable, file or profile affects it.
    """
    session = botocore.session.Session()
    values = {name: variable[2] for name, variable in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()}
    values |= dict.fromkeys(("config_file", "credentials_file"), os.devnull)
    constants = {name: ConstantProvider(value) for name, value in values.items()}
    session.register_component("config_store", ConfigValueStore(mapping=constants))
    # The default search path starts with ~/.aws/models.
    data = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    session.register_component("data_loader", data)
    return boto3.Session(botocore_session=session), known_regions(data)
