from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.enclave.scripted_enclave import Message, Peer, ScriptedEnclave
from tests.support.instance.command_line import Ask, Tool


@pytest.fixture
def ask(tool: Tool, short_dir: Path) -> Iterator[Ask]:
    """Return a function that runs a command and returns the request that the enclave got."""
    asked: list[Message] = []

    def converse(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            asked.append(request)
            peer.send({"Status": "Ok", "Protocol": 2, "Message": "AQID", "CiphertextBlob": "BAUG", "PublicKey": "AA=="})

    with ScriptedEnclave(short_dir, converse) as enclave:

        def ask(*arguments: str, stdin: bytes = b"") -> Message:
            assert tool.run("--enclave", str(enclave.address), *arguments, stdin=stdin) == 0, tool.err
            request = asked[-1]
            return {name: value for name, value in request.items() if name not in ("Accepts", "TimeoutS")}

        yield ask
