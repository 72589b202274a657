from __future__ import annotations

import pytest

from enclave_tool.commands.options import KmsSettings
from enclave_tool.kms.options import KmsOptions
from enclave_tool.nsm.device import NSM_DEVICE
from vsock_wire.errors import InputError
from vsock_wire.net.address import Address, TcpAddress, UnixAddress


def settings(
    *, nsm: str = NSM_DEVICE, proxy: str | None = None, proxy_connect: bool = False, allow_regions: tuple[str, ...] = ()
) -> KmsSettings:
    return KmsSettings(
        nsm=nsm,
        allow_non_vsock=False,
        proxy_port=8_000,
        parent_cid=3,
        endpoint=None,
        allow_regions=allow_regions,
        ca_file=None,
        proxy=proxy,
        proxy_connect=proxy_connect,
    )


class TestAllowRegion:
    def test_names_further_regions(self) -> None:
        regions = ("xx-new-1", "eusc-de-east-2")
        assert settings(allow_regions=regions).kms_options().allowed_regions == regions

    @pytest.mark.parametrize("text", ["", "s3", "S3", "us-east", "us-east-1a", "us-east-1.evil.example", "-", "a" * 99])
    def test_refuses_what_can_be_no_region(self, text: str) -> None:
        with pytest.raises(InputError, match=r"^--allow-region: expected the name of a region such as us-east-1, got "):
            settings(allow_regions=(text,)).kms_options()


class TestWithoutAllowNonVsock:
    def test_defaults_are_allowed_in_an_enclave(self) -> None:
        assert settings().kms_options() == KmsOptions()
        assert str(settings().nsm_location()) == "/dev/nsm"

    @pytest.mark.parametrize("address", [UnixAddress("/x"), TcpAddress("localhost", 1)])
    def test_refuses_a_listener_other_than_vsock(self, address: Address) -> None:
        with pytest.raises(InputError, match=r"^--listen: expected a vsock address, got ") as caught:
            settings().check_address("--listen", address)
        assert "--allow-non-vsock" in (caught.value.hint or "")

    @pytest.mark.parametrize("address", [UnixAddress("/x"), TcpAddress("localhost", 1)])
    def test_refuses_a_proxy_other_than_vsock(self, address: Address) -> None:
        with pytest.raises(InputError, match=r"^--proxy: expected a vsock address, got "):
            settings(proxy=str(address)).kms_options()

    def test_a_connect_route_is_asked_for_hosts_only_if_that_is_wanted(self) -> None:
        assert settings(proxy_connect=True).kms_options() == KmsOptions(proxy_connect=True)
        assert not KmsOptions().proxy_connect

    def test_refuses_a_simulated_nsm(self) -> None:
        with pytest.raises(InputError, match=r"^--nsm: expected a device, got unix:/x$"):
            settings(nsm="unix:/x").nsm_location()
