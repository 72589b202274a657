"""Write the proxy's built-in allowlist from botocore's endpoint data: all KMS endpoints of all partitions.

Run it after updating botocore: ``python tools/generate_kms_endpoints.py``. A test compares its output with the file
that is checked in, so that the two cannot drift apart.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader

OUTPUT = Path(__file__).parent.parent / "vsock_proxy" / "config" / "kms_endpoints.yaml"
HEADER = """\
# Every endpoint of AWS KMS in every partition: plain, FIPS, dual-stack and both. Written by
# tools/generate_kms_endpoints.py from botocore's endpoint rules; a copy of it is a good start for a config file.
allowlist:
"""


def kms_allowlist() -> str:
    """Return the text of the file."""
    loader = Loader()
    rules = loader.load_service_model("kms", "endpoint-rule-set-1")
    partitions = loader.load_data("partitions")
    provider = EndpointProvider(rules, partitions)
    regions = {
        partition["partition"]: set(partition["regions"]) for partition in loader.load_data("endpoints")["partitions"]
    }
    for partition in partitions["partitions"]:
        regions.setdefault(partition["id"], set()).update(partition["regions"])
    lines = [HEADER]
    for name, names in regions.items():
        lines.append(f"# {name}\n")
        hosts = (host for region in sorted(names) for host in _hosts(provider, region))
        lines += [f"- {{address: {host}, port: 443}}\n" for host in dict.fromkeys(hosts)]
    return "".join(lines)


def _hosts(provider: EndpointProvider, region: str) -> Iterator[str]:
    if re.fullmatch(r".*-global", region):
        return  # a pseudo region for services without regions; KMS has regions
    for dual_stack, fips in itertools.product((False, True), repeat=2):
        try:
            endpoint = provider.resolve_endpoint(Region=region, UseFIPS=fips, UseDualStack=dual_stack)
        except BotoCoreError:
            continue  # this partition does not have the variant
        host = urlsplit(endpoint.url).hostname
        if host is None:
            raise ValueError(f"{region}: expected a URL with a host name, got {endpoint.url}")
        yield host


if __name__ == "__main__":
    OUTPUT.write_text(kms_allowlist(), encoding="utf-8")
