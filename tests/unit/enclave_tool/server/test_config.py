from __future__ import annotations

from pathlib import Path

from enclave_tool.server.config import Config
from vsock_wire.net.address import CID_ANY, VsockAddress


class TestDefaults:
    def test_are_kmstools(self) -> None:
        config = Config()
        assert config.listen == VsockAddress(CID_ANY, 3_000)
        assert config.kms.proxy == VsockAddress(3, 8_000)
        assert config.nsm == Path("/dev/nsm")
        assert (config.key_bits, config.max_document_age_s) == (2_048, 0.0)
