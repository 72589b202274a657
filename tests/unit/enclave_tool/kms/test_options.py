from __future__ import annotations

import math
import ssl
from pathlib import Path
from typing import Any

import pytest

from enclave_tool.kms.clock import KmsClock
from enclave_tool.kms.options import KmsOptions, parse_endpoint_host
from enclave_tool.kms.tls import load_trust
from vsock_wire.errors import InputError
from vsock_wire.net.address import Address, TcpAddress, UnixAddress, VsockAddress


class TestDefaults:
    def test_are_kmstools(self) -> None:
        assert KmsOptions().proxy_address == VsockAddress(3, 8_000)

    def test_know_no_clock_and_no_context(self) -> None:
        assert (KmsOptions().clock, KmsOptions().tls, KmsOptions().ca_file) == (None, None, None)


class TestProxy:
    @pytest.mark.parametrize("address", [VsockAddress(3, 1), UnixAddress("/p"), TcpAddress("localhost", 1)])
    def test_is_the_same_as_an_address_and_as_its_text(self, address: Address) -> None:
        assert KmsOptions(proxy=str(address)) == KmsOptions(proxy=address)
        assert KmsOptions(proxy=str(address)).proxy_address == address

    @pytest.mark.parametrize("text", ["", "nonsense", "vsock://3", "http://localhost:1"])
    def test_malformed_text_is_an_input_error(self, text: str) -> None:
        with pytest.raises(InputError, match=r"^(address|unix socket path): "):
            KmsOptions(proxy=text)


class TestMistakes:
    """Each is reported when the options are created, not by the first call."""

    @pytest.mark.parametrize(
        ("field", "value", "expected"),
        [
            ("proxy", 8_000, "an address, or its text, got int"),
            ("proxy", (3, 8_000), "an address, or its text, got tuple"),
            ("proxy", None, "an address, or its text, got NoneType"),
            ("proxy_connect", "yes", "True or False, got str"),
            ("endpoint_host", b"kms.local", "a host name, got bytes"),
            ("ca_file", b"ca.pem", "the path of a PEM file, got bytes"),
            ("tls", "ca.pem", "an ssl.SSLContext, from tls_context, got str"),
            ("tls", True, "an ssl.SSLContext, from tls_context, got bool"),
            ("connect_timeout_s", "3", "a number of seconds, got str"),
            ("read_timeout_s", None, "a number of seconds, got NoneType"),
            ("read_timeout_s", True, "a number of seconds, got bool"),
            ("max_connections", 1.5, "a number, got float"),
            ("clock", 0.0, "a KmsClock, got float"),
        ],
    )
    def test_wrong_type_is_named_with_its_field(self, field: str, value: object, expected: str) -> None:
        wrong: Any = {field: value}
        with pytest.raises(TypeError) as caught:
            KmsOptions(**wrong)
        assert str(caught.value) == f"{field}: expected {expected}"

    @pytest.mark.parametrize("field", ["connect_timeout_s", "read_timeout_s"])
    @pytest.mark.parametrize("seconds", [0, -1.0, math.inf, math.nan])
    def test_invalid_timeout_is_a_value_error(self, field: str, seconds: float) -> None:
        wrong: Any = {field: seconds}
        with pytest.raises(ValueError, match=f"^{field}: expected a number of seconds greater than 0, got "):
            KmsOptions(**wrong)

    @pytest.mark.parametrize("count", [0, -1])
    def test_no_connection_at_all_is_a_value_error(self, count: int) -> None:
        with pytest.raises(ValueError, match=r"^max_connections: expected at least 1, got "):
            KmsOptions(max_connections=count)

    def test_trust_given_twice_is_a_value_error(self) -> None:
        with pytest.raises(ValueError, match="pass either ca_file or tls, not both"):
            KmsOptions(ca_file="ca.pem", tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    def test_malformed_endpoint_host_is_an_input_error(self) -> None:
        with pytest.raises(InputError, match=r"^endpoint_host: expected a host name"):
            KmsOptions(endpoint_host="http://kms.local")


class TestLoadTrust:
    def test_makes_one_context_that_all_clients_share(self) -> None:
        clock = KmsClock()
        loaded = load_trust(KmsOptions(proxy="unix:/p", clock=clock))
        assert loaded.tls is not None
        assert loaded == KmsOptions(proxy="unix:/p", tls=loaded.tls, clock=clock)
        assert load_trust(loaded) is loaded

    def test_bundle_that_cannot_be_read_is_an_input_error(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"^CA bundle "):
            load_trust(KmsOptions(ca_file=tmp_path / "missing.pem"))


class TestParseEndpointHost:
    @pytest.mark.parametrize(
        ("text", "host"),
        [
            ("kms.us-east-1.amazonaws.com", "kms.us-east-1.amazonaws.com"),
            ("https://kms.us-east-1.amazonaws.com", "kms.us-east-1.amazonaws.com"),
            ("https://kms.us-east-1.amazonaws.com/", "kms.us-east-1.amazonaws.com"),
            ("localhost:4566", "localhost:4566"),
        ],
    )
    def test_takes_a_host_and_a_port(self, text: str, host: str) -> None:
        assert parse_endpoint_host(text) == host

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "https://",
            "http://kms.example",
            "HTTPS://kms.example",
            "https://https://x",
            "kms.example/path",
            "user@kms.example",
            "kms.example?x=1",
            "kms.example#x",
            "kms example",
            "kms.example\n",
            "kms\x00.example",
            "kms\x1b.example",
            "kms.example:port",
            "kms.example:99999",
            "kms.example:",
            ":443",
            "kms\\.example",
        ],
    )
    def test_refuses_everything_else(self, text: str) -> None:
        with pytest.raises(InputError, match=r"^--endpoint: expected a host name"):
            parse_endpoint_host(text, subject="--endpoint")
