"""Regions of every partition."""

from __future__ import annotations

from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.loaders import Loader

from nitro_simulator.errors import SimulatorError
from nitro_simulator.kms.regions import find_region

PARTITIONS = Loader().load_data("endpoints")["partitions"]
REGIONS = [(partition["partition"], name) for partition in PARTITIONS for name in partition["regions"]]


def test_every_partition_is_there() -> None:
    names = {partition["partition"] for partition in PARTITIONS}
    assert names >= {"aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f", "aws-eusc"}


def test_region_has_the_partition_and_the_host_that_clients_use() -> None:
    session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b")
    for partition, name in REGIONS:
        region = find_region(name)
        assert (region.name, region.partition) == (name, partition)
        url = session.client("kms", region_name=name).meta.endpoint_url
        assert urlsplit(url).hostname == region.kms_host
        assert region.kms_host.endswith(f".{region.dns_suffix}")


@pytest.mark.parametrize("is_fips", [False, True])
@pytest.mark.parametrize("is_dual_stack", [False, True])
def test_region_has_the_hosts_of_clients_for_fips_and_ipv6(*, is_fips: bool, is_dual_stack: bool) -> None:
    session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b")
    config = Config(use_fips_endpoint=is_fips, use_dualstack_endpoint=is_dual_stack)
    for name in ("us-east-1", "cn-north-1", "us-gov-west-1"):
        url = session.client("kms", region_name=name, config=config).meta.endpoint_url
        assert urlsplit(url).hostname in find_region(name).kms_hosts


def test_new_region_is_known_by_its_form() -> None:
    assert find_region("cn-east-7").kms_host == "kms.cn-east-7.amazonaws.com.cn"


@pytest.mark.parametrize("name", ["", "nowhere", "us_east_1", "us-east-1.amazonaws.com", "US-EAST-1"])
def test_other_name_is_refused(name: str) -> None:
    with pytest.raises(SimulatorError, match=r"^region: .* is in no partition of AWS$") as error:
        find_region(name)
    assert error.value.hint
