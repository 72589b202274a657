"""``vsock-proxy check`` against a listener on loopback, and against destinations that do not answer."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from vsock_proxy.check import check_config
from vsock_proxy.config.config_file import parse_config
from vsock_proxy.config.model import Config
from vsock_proxy.config.source import ConfigSource
from vsock_proxy.errors import DialError, NotAllowedError
from vsock_proxy.settings import AddressFamily, CheckSettings


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def config(*routes: tuple[str, int], allowed: str = "127.0.0.0/8") -> Config:
    ports = ", ".join(str(port) for _, port in routes)
    lines = [f"- {{listen: {i}, address: {host}, port: {port}}}\n" for i, (host, port) in enumerate(routes)]
    return parse_config(f"allowlist: [{{address: {allowed}, port: [{ports}]}}]\nroutes:\n{''.join(lines)}", source="f")


def settings(family: AddressFamily = AddressFamily.ANY) -> CheckSettings:
    return CheckSettings(source=ConfigSource(Path("f")), family=family)


def test_entries_addresses_and_answers_are_printed_in_this_order(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(check_config(config(("localhost", port), ("127.0.0.1", port)), settings(AddressFamily.IPV4)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"allow 127.0.0.0/8 port {port}"
    assert lines[1] == f"route vsock://any:0 -> localhost:{port}: 127.0.0.1"
    answer = r"ok, 127\.0\.0\.1 answered in \d+\.\d ms"
    assert re.fullmatch(rf"route vsock://any:0 -> localhost:{port}: {answer}", lines[2])
    assert re.fullmatch(rf"route vsock://any:1 -> 127\.0\.0\.1:{port}: {answer}", lines[4])


def test_route_that_does_not_answer_ends_the_check(closed_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DialError, match="connection refused"):
        asyncio.run(check_config(config(("127.0.0.1", closed_port), ("127.0.0.2", closed_port)), settings()))
    assert "127.0.0.2" not in capsys.readouterr().out


def test_name_that_resolves_to_forbidden_addresses_only_is_not_dialled(port: int) -> None:
    forbidden = config(("localhost", port), allowed="10.0.0.0/8")
    with pytest.raises(NotAllowedError, match=f"The given address and port are not allowed: localhost:{port}"):
        asyncio.run(check_config(forbidden, settings(AddressFamily.IPV4)))


def test_name_in_the_list_permits_its_address(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(check_config(config(("127.0.0.1", port), allowed="localhost"), settings(AddressFamily.IPV4)))
    assert "127.0.0.1 answered in" in capsys.readouterr().out


def test_warnings_and_names_in_china_without_cn_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    text = "allowlist: [{address: kms.cn-north-1.amazonaws.com, port: 443}]\nx: 1"
    asyncio.run(check_config(parse_config(text, source="f"), settings()))
    warning, entry = capsys.readouterr().out.splitlines()
    assert warning == 'warning: f line 2: the file: "x" is ignored: not a key of this program'
    assert entry.endswith("use kms.cn-north-1.amazonaws.com.cn)")
