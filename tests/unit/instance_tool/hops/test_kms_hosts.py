from __future__ import annotations

import pytest

from instance_tool.hops.kms_hosts import kms_address
from vsock_wire.net.address import TcpAddress


@pytest.mark.parametrize(
    ("reported", "region"),
    [
        ("kms.us-east-1.amazonaws.com", "us-east-1"),
        ("kms-fips.us-east-1.amazonaws.com", "us-east-1"),
        ("kms.us-east-1.api.aws", "us-east-1"),
        ("kms.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("kms.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
        ("vpce-0123456789abcdef0-abcdefgh.kms.us-east-1.vpce.amazonaws.com", "us-east-1"),
        ("vpce-0123456789abcdef0-abcdefgh-us-east-1a.kms.us-east-1.vpce.amazonaws.com", "us-east-1"),
    ],
)
def test_host_of_the_region_is_accepted_with_its_port(reported: str, region: str) -> None:
    assert kms_address(reported, region) == TcpAddress(reported, 443)
    assert kms_address(f"{reported}:8443", region) == TcpAddress(reported, 8_443)


@pytest.mark.parametrize(
    ("reported", "region"),
    [
        ("kms.us-east-1.amazonaws.com", "us-east-2"),
        ("kms.us-east-1.amazonaws.com.cn", "us-east-1"),
        ("s3.us-east-1.amazonaws.com", "us-east-1"),
        ("evil.kms.us-east-1.vpce.amazonaws.com", "us-east-1"),
        ("vpce-1.s3.us-east-1.vpce.amazonaws.com", "us-east-1"),
        ("kms.x.amazonaws.com", "x"),
        ("kms.us-east-1.amazonaws.com", ""),
        ("kms.us-east-1.amazonaws.com:0", "us-east-1"),
        ("kms.us-east-1.amazonaws.com:65536", "us-east-1"),
        ("kms.us-east-1.amazonaws.com:\u0664\u0664\u0663", "us-east-1"),
        ("kms.us-east-1.amazonaws.com:" + "9" * 5_000, "us-east-1"),
        ("10.0.0.1", "us-east-1"),
        ("", "us-east-1"),
    ],
)
def test_any_other_host_is_not(reported: str, region: str) -> None:
    assert kms_address(reported, region) is None
