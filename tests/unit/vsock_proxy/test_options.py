"""Command lines, and the typed settings they are parsed into."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any, cast

import click
import pytest

from vsock_proxy.config.destination import parse_destination
from vsock_proxy.config.model import Route
from vsock_proxy.config.source import ConfigSource
from vsock_proxy.errors import ConfigError
from vsock_proxy.options import ROUTE_OPTIONS, Seconds, parse_check_settings, parse_serve_settings
from vsock_proxy.settings import AddressFamily, CheckSettings, Limits, ServeSettings
from vsock_wire.cli.shared_options import with_options
from vsock_wire.errors import InputError
from vsock_wire.net.address import CID_ANY, TcpAddress, UnixAddress, VsockAddress


@click.command
@with_options(ROUTE_OPTIONS)
def probe(**options: Any) -> CheckSettings:
    return parse_check_settings(**options)


def parse(*arguments: str) -> CheckSettings:
    return cast("CheckSettings", probe.main(list(arguments), standalone_mode=False))


@pytest.fixture
def many_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for a process that may open 3,128 files."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (3_128, 3_128))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)


def test_without_arguments_everything_comes_from_the_default_file() -> None:
    assert parse() == CheckSettings(source=ConfigSource(None, CID_ANY, None), family=AddressFamily.ANY)


def test_route_is_one_of_the_source() -> None:
    settings = parse("--config", "/etc/x", "8000", "a.com", "443")
    route = Route(VsockAddress(CID_ANY, 8000), parse_destination("a.com", 443))
    assert settings == CheckSettings(source=ConfigSource(Path("/etc/x"), CID_ANY, route))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("8000", VsockAddress(5, 8000)),
        ("0", VsockAddress(5, 0)),
        ("+8000", VsockAddress(5, 8000)),
        ("vsock://7:8000", VsockAddress(7, 8000)),
        ("unix:/run/p", UnixAddress("/run/p")),
        ("tcp://127.0.0.1:1", TcpAddress("127.0.0.1", 1)),
    ],
)
def test_local_port_is_a_vsock_port_on_the_cid_or_an_address(text: str, address: object) -> None:
    source = parse("--cid", "5", text, "a.com", "443").source
    assert source.cid == 5
    assert source.route is not None
    assert source.route.listen == address


@pytest.mark.parametrize(
    ("flags", "family"), [(["-4"], AddressFamily.IPV4), (["--ipv6"], AddressFamily.IPV6), ([], AddressFamily.ANY)]
)
def test_flag_chooses_the_family(flags: list[str], family: AddressFamily) -> None:
    assert parse(*flags).family is family


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["8000"], "LOCAL_PORT, REMOTE_ADDR and REMOTE_PORT must be given together"),
        (["8000", "a.com"], "LOCAL_PORT, REMOTE_ADDR and REMOTE_PORT must be given together"),
        (["-4", "-6"], "-4 and -6 cannot be used together"),
    ],
)
def test_incomplete_or_contradictory_options_are_a_usage_error(arguments: list[str], text: str) -> None:
    with pytest.raises(click.UsageError, match=text):
        parse(*arguments)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["8000", "a.com", "https"], 'Remote port is not valid: expected a number, got "https"'),
        (["8000", "a.com", "99999999999"], "Remote port is not valid: expected a number"),
        (["8000", "a.com", "²"], "Remote port is not valid: expected a number"),
        (["8000", "a.com", "0"], "Remote port is not valid: expected a number from 1 to 65535, got 0"),
        (["x", "a.com", "443"], "Local port is not valid: expected a number from 0 to 4294967294 or an address"),
        (["4294967295", "a.com", "443"], "Local port is not valid"),
        (["-6", "8000", "10.0.0.1", "443"], "No accepted IP was found: 10.0.0.1 is not in the address family"),
        (["-4", "8000", "::1", "443"], "No accepted IP was found"),
    ],
)  # fmt: skip
def test_malformed_part_of_the_route_is_refused(arguments: list[str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        parse(*arguments)


def test_address_of_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match="address: expected vsock://"):
        parse("http://x:1", "a.com", "443")


def serve_options(**changes: Any) -> dict[str, Any]:
    shared = dict.fromkeys(("config_path", "local_port", "remote_addr", "remote_port"))
    return {
        **shared,
        "ipv4": False,
        "ipv6": False,
        "cid": 3,
        "is_strict": True,
        "max_connections": None,
        "connect_timeout": 1.0,
        "idle_timeout": 2.0,
        "drain_timeout": 3.0,
        "dns_refresh": 4.0,
        "metrics": None,
        "log_format": "text",
        "verbose": 0,
        "quiet": 0,
        **changes,
    }


@pytest.mark.usefixtures("many_descriptors")
def test_every_option_of_serving_reaches_its_setting() -> None:
    assert parse_serve_settings(**serve_options(metrics=0, log_format="json", ipv6=True)) == ServeSettings(
        source=ConfigSource(None, 3, None, is_strict=True),
        family=AddressFamily.IPV6,
        limits=Limits(None, 1.0, 2.0, 3.0, 4.0),
        metrics_port=0,
        verbosity=2,
        logs_json=True,
    )


@pytest.mark.usefixtures("many_descriptors")
@pytest.mark.parametrize(("verbose", "quiet", "verbosity"), [(0, 1, 1), (0, 2, 0), (1, 0, 3), (1, 1, 2)])
def test_each_flag_changes_the_verbosity_by_one(verbose: int, quiet: int, verbosity: int) -> None:
    assert parse_serve_settings(**serve_options(verbose=verbose, quiet=quiet)).verbosity == verbosity


@pytest.mark.usefixtures("many_descriptors")
@pytest.mark.parametrize("text", ["7", "=7", "+7", "007"])
def test_number_of_connections_may_be_given_as_to_aws_proxy(text: str) -> None:
    assert parse_serve_settings(**serve_options(max_connections=text)).limits.max_connections == 7


@pytest.mark.parametrize("text", ["nan", "-nan", "inf", "-1", "31536001", "x"])
def test_duration_that_is_not_a_number_of_seconds_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.UsageError):
        Seconds(may_be_zero=True).convert(text, None, None)


def test_duration_may_be_zero_only_where_that_means_something() -> None:
    assert Seconds(may_be_zero=True).convert("0", None, None) == 0
    with pytest.raises(click.UsageError):
        Seconds().convert("0", None, None)


@pytest.mark.usefixtures("many_descriptors")
@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("0", "Number of workers must not be 0: expected at least 1, got 0"),
        ("-1", 'Number of workers is not valid: expected a number, got "-1"'),
        ("many", 'Number of workers is not valid: expected a number, got "many"'),
    ],
)
def test_number_of_connections_that_is_not_valid_is_refused(text: str, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        parse_serve_settings(**serve_options(max_connections=text))
