"""The hosts of KMS in a region: the only ones that ``doctor`` connects to because an enclave names them.

Nothing proves what an enclave reports. Without this check it could have the instance connect to any host that it names,
such as one inside the VPC.
"""

from __future__ import annotations

import re

from vsock_wire.net.address import MAX_TCP_PORT, TcpAddress
from vsock_wire.protocol.messages import is_region_name

_SERVICE = "kms"
_HTTPS_PORT = 443
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_VPC_ENDPOINT = re.compile(r"vpce-[a-z0-9-]{1,60}", re.ASCII)
"""The first label of the name of a VPC endpoint. Source: Amazon VPC user guide, "DNS hostnames" of AWS PrivateLink."""


def kms_address(reported: str, region: str) -> TcpAddress | None:
    """Return the address that an enclave reports as KMS's, or None if it is not one of KMS in ``region``.

    Args:
        reported: host name, and the port if that is not 443.
        region: name of the region that the enclave uses.
    """
    host, separator, port = reported.partition(":")
    if not is_region_name(region) or not _is_host(host, region):
        return None
    if not separator:
        return TcpAddress(host, _HTTPS_PORT)
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= MAX_TCP_PORT:
        return None
    return TcpAddress(host, int(port))


def _is_host(host: str, region: str) -> bool:
    names = _public_names(region)
    endpoint, _, rest = host.partition(".")
    return host in names or (
        _VPC_ENDPOINT.fullmatch(endpoint) is not None
        and rest in {name.replace(f".{region}.", f".{region}.vpce.", 1) for name in names}
    )


def _public_names(region: str) -> set[str]:
    """Return the names that AWS gives KMS in a region: the usual one, and those for FIPS and for IPv6."""
    from botocore.loaders import create_loader  # noqa: PLC0415 - only if the enclave does not reach KMS
    from botocore.regions import EndpointResolver  # noqa: PLC0415

    resolver = EndpointResolver(create_loader().load_data("endpoints"))  # no session: profiles may be faulty
    found = [
        resolver.construct_endpoint(_SERVICE, region),
        resolver.construct_endpoint(_SERVICE, region, use_fips_endpoint=True),
        resolver.construct_endpoint(_SERVICE, region, use_dualstack_endpoint=True),
    ]
    return {endpoint["hostname"] for endpoint in found if endpoint}
