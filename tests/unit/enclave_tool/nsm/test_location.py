"""Where ``open_nsm`` looks for the module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from enclave_tool.errors import NsmError
from enclave_tool.nsm.device import open_nsm, parse_nsm_location
from nitro_simulator.clock import utc_now
from nitro_simulator.nsm.authority import AttestationAuthority
from nitro_simulator.nsm.server import NsmServer
from nitro_simulator.nsm.service import SimulatedNsm
from vsock_wire.errors import InputError
from vsock_wire.net.address import TcpAddress, UnixAddress, VsockAddress

MODULE_ID = "i-0123456789abcdef0-enc0123456789abcdef"


class TestLocation:
    def test_is_a_device_or_a_simulators_socket(self) -> None:
        assert parse_nsm_location("/dev/nsm") == Path("/dev/nsm")
        assert parse_nsm_location("unix:/run/nsm.sock") == UnixAddress("/run/nsm.sock")

    @pytest.mark.parametrize("text", ["", "dev/nsm", "vsock://3:1", "tcp://localhost:1", "unix:", "file:///dev/nsm"])
    def test_refuses_everything_else(self, text: str) -> None:
        with pytest.raises(InputError):
            parse_nsm_location(text)
        with pytest.raises(InputError):
            open_nsm(text)

    def test_is_taken_as_text_as_a_path_and_as_an_address(self, short_dir: Path) -> None:
        authority = AttestationAuthority.create(at=utc_now())
        simulated = SimulatedNsm(authority, module_id=MODULE_ID)
        with NsmServer(simulated, UnixAddress(str(short_dir / "nsm"))) as server:
            for location in (server.address, str(server.address)):
                with open_nsm(location) as nsm:
                    assert (nsm.describe().module_id, nsm.is_device) == (MODULE_ID, False)
        for missing in (short_dir / "none", str(short_dir / "none")):
            with pytest.raises(NsmError, match=f"^NSM open {missing}: no such file or directory$"):
                open_nsm(missing)

    @pytest.mark.parametrize("location", [None, 3, b"/dev/nsm", VsockAddress(3, 1), TcpAddress("localhost", 1)])
    def test_of_another_type_is_a_type_error(self, location: Any) -> None:
        with pytest.raises(TypeError, match=r"^location: expected a path such as /dev/nsm, or unix:PATH, got "):
            open_nsm(location)
