from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.enclave.scripted_enclave import Peer, ScriptedEnclave
from tests.support.instance.command_line import Tool


class TestDescribe:
    def test_prints_json_and_needs_no_credentials(
        self, tool: Tool, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")

        def converse(peer: Peer) -> None:
            peer.receive()
            peer.send({"Status": "Ok", "Version": "1\x1b[2J"})

        with ScriptedEnclave(short_dir, converse) as enclave:
            assert tool.run("--enclave", str(enclave.address), "describe") == 0
        assert json.loads(tool.out) == {"Version": "1\x1b[2J"}
        assert b"\x1b" not in tool.out
