"""Where a configuration comes from, and what a route on the command line needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from vsock_proxy.config import source
from vsock_proxy.config.destination import parse_destination
from vsock_proxy.config.model import Route
from vsock_proxy.config.source import BUILT_IN_CONFIG_PATH, ConfigSource
from vsock_proxy.errors import ConfigError, NotAllowedError
from vsock_wire.net.address import UnixAddress, VsockAddress

ROUTE = Route(UnixAddress("/run/p"), parse_destination("a.com", 443))
ALLOWLIST = "allowlist: [{address: a.com, port: 443}]\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(f"{ALLOWLIST}routes: [{{listen: 8000, address: a.com, port: 443}}]\n")
    return path


def test_named_file_wins_even_if_it_does_not_exist() -> None:
    assert ConfigSource(Path("/nowhere")).file == Path("/nowhere")
    with pytest.raises(ConfigError, match="Could not open the file: /nowhere"):
        ConfigSource(Path("/nowhere")).load()


def test_default_file_is_used_once_it_exists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    default = tmp_path / "default.yaml"
    monkeypatch.setattr(source, "DEFAULT_CONFIG_PATH", default)
    unnamed = ConfigSource(None)
    assert unnamed.file == BUILT_IN_CONFIG_PATH
    assert (str(unnamed), unnamed.file_to_write) == ("the built-in list of KMS endpoints", default)
    assert unnamed.load().allowlist.could_permit(parse_destination("kms.us-east-1.amazonaws.com", 443))
    default.write_text(ALLOWLIST)
    assert unnamed.file == default
    assert not unnamed.load().allowlist.permits_name(parse_destination("kms.us-east-1.amazonaws.com", 443))
    assert str(unnamed) == str(default)


def test_route_of_the_command_line_comes_after_those_of_the_file(file: Path) -> None:
    config = ConfigSource(file, cid=5, route=ROUTE).load()
    assert config.routes == (Route(VsockAddress(5, 8000), ROUTE.destination), ROUTE)


def test_file_alone_is_enough(file: Path) -> None:
    assert [route.listen for route in ConfigSource(file, cid=5).load().routes] == [VsockAddress(5, 8000)]


@pytest.mark.parametrize(
    ("host", "port", "is_strict"), [("b.com", 443, True), ("a.com", 80, False), ("10.0.0.1", 443, True)]
)
def test_route_that_the_allowlist_forbids_is_refused_with_a_hint(
    file: Path, host: str, port: int, is_strict: bool
) -> None:
    forbidden = Route(ROUTE.listen, parse_destination(host, port))
    with pytest.raises(NotAllowedError, match="Error at checking the allowlist: The given address and port") as caught:
        ConfigSource(file, route=forbidden, is_strict=is_strict).load()
    assert caught.value.hint == f"add {{address: {host}, port: {port}}} to allowlist in {file}"


def test_hint_never_names_a_file_of_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(source, "DEFAULT_CONFIG_PATH", tmp_path / "default.yaml")
    with pytest.raises(NotAllowedError) as caught:
        ConfigSource(None, route=Route(ROUTE.listen, parse_destination("a.com", 80))).load()
    assert caught.value.hint == f"add {{address: a.com, port: 80}} to allowlist in {tmp_path / 'default.yaml'}"


@pytest.mark.parametrize("host", ["b.com", "10.0.0.1"])
def test_route_that_the_address_of_a_name_may_permit_is_loaded(file: Path, host: str) -> None:
    assert len(ConfigSource(file, route=Route(ROUTE.listen, parse_destination(host, 443))).load().routes) == 2


def test_route_on_an_address_of_the_file_is_refused(file: Path) -> None:
    taken = Route(VsockAddress(5, 8000), ROUTE.destination)
    with pytest.raises(ConfigError, match="the command line already has a route on vsock://5:8000"):
        ConfigSource(file, cid=5, route=taken).load()
    assert len(ConfigSource(file, cid=6, route=taken).load().routes) == 2


def test_file_is_read_again_at_each_load(file: Path) -> None:
    chosen = ConfigSource(file)
    assert len(chosen.load().routes) == 1
    file.write_text(ALLOWLIST)
    assert chosen.load().routes == ()
