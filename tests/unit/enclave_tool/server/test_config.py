from __future__ import annotations

from pathlib import Path

import pytest

from enclave_tool.server.config import Config, parse_endpoint_host, parse_nsm_location, refuse_non_vsock
from vsock_wire.errors import InputError
from vsock_wire.net.address import CID_ANY, Address, TcpAddress, UnixAddress, VsockAddress


class TestDefaults:
    def test_are_kmstools(self) -> None:
        config = Config()
        assert config.listen == VsockAddress(CID_ANY, 3_000)
        assert config.proxy == VsockAddress(3, 8_000)
        assert config.nsm == Path("/dev/nsm")
        assert (config.key_bits, config.max_document_age_s) == (2_048, 0.0)

    def test_are_allowed_in_an_enclave(self) -> None:
        refuse_non_vsock(Config())


class TestParseNsmLocation:
    def test_takes_a_device_or_a_simulators_socket(self) -> None:
        assert parse_nsm_location("/dev/nsm") == Path("/dev/nsm")
        assert parse_nsm_location("unix:/run/nsm.sock") == UnixAddress("/run/nsm.sock")

    @pytest.mark.parametrize("text", ["", "dev/nsm", "vsock://3:1", "tcp://localhost:1", "unix:", "file:///dev/nsm"])
    def test_refuses_everything_else(self, text: str) -> None:
        with pytest.raises(InputError):
            parse_nsm_location(text)


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
            parse_endpoint_host(text)


class TestRefuseNonVsock:
    @pytest.mark.parametrize("address", [UnixAddress("/x"), TcpAddress("localhost", 1)])
    def test_refuses_a_listener_that_is_no_vsock(self, address: Address) -> None:
        with pytest.raises(InputError, match=r"^--listen: expected a vsock address, got ") as caught:
            refuse_non_vsock(Config(listen=address))
        assert "--allow-non-vsock" in (caught.value.hint or "")

    @pytest.mark.parametrize("address", [UnixAddress("/x"), TcpAddress("localhost", 1)])
    def test_refuses_a_proxy_that_is_no_vsock(self, address: Address) -> None:
        with pytest.raises(InputError, match=r"^--proxy: expected a vsock address, got "):
            refuse_non_vsock(Config(proxy=address))

    def test_refuses_a_simulated_nsm(self) -> None:
        with pytest.raises(InputError, match=r"^--nsm: expected a device, got unix:/x$"):
            refuse_non_vsock(Config(nsm=UnixAddress("/x")))
