"""AWS's regions: the partition of each, and the host name of its KMS, from botocore's data."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from botocore.exceptions import EndpointVariantError, UnknownRegionError
from botocore.loaders import Loader
from botocore.regions import EndpointResolver

from nitro_simulator.errors import SimulatorError


@dataclass(frozen=True)
class Region:
    """A region of AWS.

    Attributes:
        name: such as ``cn-north-1``.
        partition: the second part of its ARNs, such as ``aws-cn``.
        dns_suffix: the end of its host names, such as ``amazonaws.com.cn``.
        kms_host: the host name of KMS there.
        kms_hosts: all its host names: also those for FIPS and for IPv6.
    """

    name: str
    partition: str
    dns_suffix: str
    kms_host: str
    kms_hosts: tuple[str, ...]


@cache
def find_region(name: str) -> Region:
    """Return the region with a name; a new one is known by the form of its name.

    Raises:
        SimulatorError: no partition of AWS has regions with such names.
    """
    resolver = _resolver()
    try:
        partition = resolver.get_partition_for_region(name)
    except UnknownRegionError:
        raise SimulatorError(
            f"region: {name!r} is in no partition of AWS", hint="such as us-east-1, cn-north-1 or us-gov-west-1"
        ) from None
    dns_suffix = resolver.get_partition_dns_suffix(partition)
    hosts = dict.fromkeys([f"kms.{name}.{dns_suffix}", *_variants(name, partition)])
    return Region(name, partition, dns_suffix, next(iter(hosts)), tuple(hosts))


def _variants(region: str, partition: str) -> Iterator[str]:
    """Yield the host names of KMS's endpoints for FIPS and for IPv6, which not every partition has."""
    for is_fips, is_dual_stack in ((False, True), (True, False), (True, True)):
        with contextlib.suppress(EndpointVariantError):
            endpoint = _resolver().construct_endpoint(
                "kms", region, partition, use_fips_endpoint=is_fips, use_dualstack_endpoint=is_dual_stack
            )
            if endpoint is not None:
                yield endpoint["hostname"]


@cache
def _resolver() -> EndpointResolver:
    loader = Loader(include_default_search_paths=False)  # without ~/.aws/models
    loader.search_paths.append(Loader.BUILTIN_DATA_PATH)
    return EndpointResolver(loader.load_data("endpoints"))
