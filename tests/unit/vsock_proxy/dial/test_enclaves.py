"""Enclaves found by name, with a nitro-cli that each test scripts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.support.proxy.scripted_nitro_cli import enclave, nitro_cli, times_asked
from vsock_proxy.config.enclaves import NamedEnclave
from vsock_proxy.dial.enclaves import EnclaveFinder, parse_running_enclaves
from vsock_proxy.errors import DialError
from vsock_wire.net.address import VsockAddress

WEB = NamedEnclave("web", 443)


def test_running_enclave_is_found_and_the_answer_used_for_a_while(tmp_path: Path) -> None:
    async def check() -> None:
        finder = EnclaveFinder(nitro_cli(tmp_path, enclave("db", 17), enclave("web", 16)))
        assert finder.known(WEB) is None
        found = await asyncio.gather(*(finder.find(WEB) for _ in range(5)))
        assert found == [VsockAddress(16, 443)] * 5
        assert finder.known(WEB) == VsockAddress(16, 443)
        assert times_asked(tmp_path) == 1
        finder.suspect()
        assert finder.known(WEB) is None
        await finder.find(WEB)
        assert times_asked(tmp_path) == 2

    asyncio.run(check())


def test_answer_is_asked_for_again_when_it_is_old(tmp_path: Path) -> None:
    async def check() -> None:
        finder = EnclaveFinder(nitro_cli(tmp_path, enclave("web", 16)), kept_s=-1)
        await finder.find(WEB)
        nitro_cli(tmp_path, enclave("web", 20))
        assert await finder.find(WEB) == VsockAddress(20, 443)

    asyncio.run(check())


@pytest.mark.parametrize(
    "enclaves", [[], [enclave("web", 16, "TERMINATING")], [enclave("web", 16), enclave("web", 17)]]
)
def test_enclave_that_does_not_run_once_is_an_error(tmp_path: Path, enclaves: list[dict[str, object]]) -> None:
    with pytest.raises(DialError, match="enclave web: none, or more than one, of this name runs") as caught:
        asyncio.run(EnclaveFinder(nitro_cli(tmp_path, *enclaves)).find(WEB))
    assert "enclaves of other users" in str(caught.value.hint)


def test_missing_program_is_an_error() -> None:
    with pytest.raises(DialError, match=r"enclave web: /nowhere/nitro-cli: no such file or directory"):
        asyncio.run(EnclaveFinder(("/nowhere/nitro-cli",)).find(WEB))


@pytest.mark.parametrize("answer", [b"", b"[1]", b'[{"EnclaveName": "web"}]', b"[" * 100_000, b"\xff"])
def test_output_of_another_form_is_an_error_that_quotes_it(answer: bytes) -> None:
    with pytest.raises(DialError, match="expected a list of enclaves, got"):
        parse_running_enclaves(answer)


@pytest.mark.parametrize("cid", [0, -1, "16", 16.0, True, 4_294_967_295])
def test_cid_that_cannot_be_one_is_left_out(cid: object) -> None:
    assert parse_running_enclaves(json.dumps([enclave("web", cid)]).encode()) == {}
