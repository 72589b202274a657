"""Runs all checks of ``doctor``, hop by hop from this instance to KMS."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from instance_tool.client.client import EnclaveClient
from instance_tool.credentials.found import FoundCredentials
from instance_tool.credentials.region import RegionSource
from instance_tool.credentials.source import CredentialSource
from instance_tool.hops.credentials import examine_credentials
from instance_tool.hops.decryption import try_decrypt
from instance_tool.hops.enclave import walk_to_kms
from vsock_wire.net.address import TcpAddress
from vsock_wire.protocol.diagnosis import Hop, HopName, HopState
from vsock_wire.protocol.kms_operations import KmsRequest

_BEYOND_ENCLAVE = (HopName.NSM, HopName.ENTROPY, HopName.PROXY, HopName.DNS, HopName.KMS, HopName.TLS, HopName.CLOCK)
_ENCLAVE_SIDE = (HopName.VSOCK, HopName.ENCLAVE, HopName.PROTOCOL, HopName.REGION, *_BEYOND_ENCLAVE)


@dataclass(frozen=True)
class Chain:
    """What to check.

    Attributes:
        client: client of the enclave, without credentials.
        region: finds the region for an enclave that sets none.
        find_credentials: finds credentials each time it is called.
        kms_address: where the proxy connects to; None for the host that the enclave asks for.
        decrypt: the Decrypt to perform, or None.
    """

    client: EnclaveClient
    region: RegionSource
    find_credentials: Callable[[], FoundCredentials]
    kms_address: TcpAddress | None = None
    decrypt: KmsRequest | None = None


def examine(chain: Chain) -> Iterator[Hop]:
    """Check the hops in the order of HopName, and yield each as soon as it is checked; skip those that cannot be.

    Nothing proves what the enclave reports. Only ``decrypt`` calls an operation of KMS, and its plaintext is dropped.
    """
    failed: HopName | None = None
    for hop in itertools.chain(_examine_enclave(chain), examine_credentials(chain.find_credentials)):
        if hop.state is HopState.FAILED and failed is None:
            failed = hop.name
        yield hop
    if chain.decrypt is None:
        return
    if failed:
        yield Hop.skipped(HopName.DECRYPT, failed)
        return
    chain.client.set_credentials(CredentialSource(chain.find_credentials), chain.region)
    yield try_decrypt(chain.client, chain.decrypt)


def _examine_enclave(chain: Chain) -> Iterator[Hop]:
    """Yield the hops from here to KMS; the hops after the first that cannot be passed are skipped."""
    seen: dict[HopName, Hop] = {}
    for hop in walk_to_kms(chain.client, chain.region, chain.kms_address):
        seen[hop.name] = hop
        yield hop
    first = next((name for name, hop in seen.items() if hop.state is HopState.FAILED), HopName.PROTOCOL)
    yield from (Hop.skipped(name, first) for name in _ENCLAVE_SIDE if name not in seen)
