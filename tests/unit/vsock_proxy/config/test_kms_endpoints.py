"""The built-in allowlist has exactly the endpoints in botocore's endpoint data."""

from __future__ import annotations

import pytest
from botocore.loaders import Loader

from tools.generate_kms_endpoints import OUTPUT, kms_allowlist
from vsock_proxy.config.config_file import load_config
from vsock_proxy.config.destination import parse_destination
from vsock_proxy.config.source import BUILT_IN_CONFIG_PATH


def test_checked_in_file_is_the_generated_one() -> None:
    assert OUTPUT == BUILT_IN_CONFIG_PATH
    assert OUTPUT.read_text(encoding="utf-8") == kms_allowlist()


@pytest.mark.parametrize(
    ("host", "permitted"),
    [
        ("kms.us-east-1.amazonaws.com", True),
        ("kms-fips.us-east-1.amazonaws.com", True),
        ("kms.us-east-1.api.aws", True),
        ("kms.us-gov-west-1.amazonaws.com", True),
        ("kms.cn-north-1.amazonaws.com.cn", True),
        ("kms.cn-north-1.amazonaws.com", False),
        ("kms.eusc-de-east-1.amazonaws.eu", True),
        ("kms.us-iso-east-1.c2s.ic.gov", True),
        ("kms.us-isob-east-1.sc2s.sgov.gov", True),
        ("kms.aws-global.amazonaws.com", False),
        ("s3.us-east-1.amazonaws.com", False),
    ],
)
def test_kms_of_every_partition_is_permitted(host: str, permitted: bool) -> None:
    allowlist = load_config(BUILT_IN_CONFIG_PATH).allowlist
    assert allowlist.permits_name(parse_destination(host, 443)) is permitted
    assert not allowlist.could_permit(parse_destination(host, 80))


def test_every_host_that_botocores_older_endpoint_data_names_is_permitted() -> None:
    """endpoints.json lists hosts that the rules compute: two sources must agree."""
    allowlist = load_config(BUILT_IN_CONFIG_PATH).allowlist
    hosts = set()
    for partition in Loader().load_data("endpoints")["partitions"]:
        for region, endpoint in partition["services"]["kms"]["endpoints"].items():
            if "hostname" in endpoint:
                hosts.add(endpoint["hostname"])
            elif not endpoint.get("deprecated"):
                hosts.add(f"kms.{region}.{partition['dnsSuffix']}")
            hosts.update(variant["hostname"] for variant in endpoint.get("variants", ()) if "hostname" in variant)
    assert len(hosts) > 60
    assert [host for host in sorted(hosts) if not allowlist.permits_name(parse_destination(host, 443))] == []
