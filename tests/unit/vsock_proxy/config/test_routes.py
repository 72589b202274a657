"""CONNECT and ingress routes, the list of enclaves, and limits of one route in a config file."""

from __future__ import annotations

import pytest

from vsock_proxy.config.config_file import parse_config
from vsock_proxy.config.enclaves import EnclaveEntry, NamedEnclave, parse_enclave_address
from vsock_proxy.config.model import AskedByClient, Route
from vsock_proxy.errors import ConfigError, NotAllowedError, ProxyError
from vsock_wire.net.address import TcpAddress, UnixAddress, VsockAddress

ENCLAVES = "enclaves: [{cid: 16, port: [5000, 5001]}, {name: web, port: 443}, {path: /run/e.sock}]\n"


def route(text: str, *, enclaves: str = ENCLAVES) -> Route:
    (only,) = parse_config(f"allowlist: []\n{enclaves}routes: [{{{text}}}]", source="f", cid=3).routes
    return only


def test_connect_route_leads_where_its_clients_ask_for() -> None:
    made = route("listen: 8000, connect: true")
    assert made == Route(VsockAddress(3, 8000), AskedByClient())
    assert str(made) == "vsock://3:8000 -> CONNECT"


@pytest.mark.parametrize(
    ("to", "address"),
    [
        ("vsock://16:5000", VsockAddress(16, 5000)),
        ("vsock://16:5001", VsockAddress(16, 5001)),
        ("vsock://web:443", NamedEnclave("web", 443)),
        ("unix:/run/e.sock", UnixAddress("/run/e.sock")),
    ],
)
def test_ingress_route_leads_to_a_permitted_enclave(to: str, address: object) -> None:
    made = route(f"listen: 'tcp://0.0.0.0:443', to: '{to}'")
    assert (made.listen, made.destination) == (TcpAddress("0.0.0.0", 443), address)  # noqa: S104 - not bound
    assert str(made) == f"tcp://0.0.0.0:443 -> {to}"
    assert not made.sends_proxy_header


def test_enclave_is_told_who_is_calling_if_the_route_says_so() -> None:
    assert route("listen: 'unix:/run/p', to: 'vsock://16:5000', proxy_protocol: v2").sends_proxy_header


def test_route_may_have_limits_of_its_own() -> None:
    made = route("listen: 1, connect: true, max_connections: 100, connect_timeout: 2.5, idle_timeout: 0")
    assert (made.max_connections, made.connect_timeout_s, made.idle_timeout_s) == (100, 2.5, 0)
    assert route("listen: 1, connect: true").max_connections is None


def test_several_routes_may_ask_the_kernel_for_a_tcp_port() -> None:
    text = "{listen: 'tcp://127.0.0.1:0', connect: true}"
    assert len(parse_config(f"allowlist: []\nroutes: [{text}, {text}]", source="f").routes) == 2


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("listen: 1, connect: false", "connect: expected true; leave the key out otherwise"),
        ("listen: 1, connect: 'true'", 'connect: expected true or false, got str "true"'),
        ("listen: 1, connect: yes", 'connect: expected true or false, got str "yes"'),
        ("listen: 1, connect: true, address: a.com", "address: cannot be used together with connect"),
        ("listen: 1, connect: true, port: 1", "port: cannot be used together with connect"),
        ("listen: 1, connect: true, proxy_protocol: v2", "proxy_protocol: only a route with to has it"),
        ("listen: 'unix:/a', to: 'unix:/run/e.sock', connect: true", "connect: cannot be used together with to"),
        ("listen: 'unix:/a', to: 'unix:/run/e.sock', port: 1", "port: cannot be used together with to"),
        ("listen: 1, to: 'vsock://16:5000'", "listen: a route with to listens on tcp://HOST:PORT or unix:PATH"),
        ("listen: 'unix:/a', to: 16", 'to: expected text, got int "16"'),
        ("listen: 'unix:/a', to: 'tcp://a:1'", "to: expected vsock://CID:PORT, vsock://NAME:PORT or unix:PATH"),
        ("listen: 'unix:/a', to: 'vsock://any:1'", "to: expected vsock://CID:PORT, vsock://NAME:PORT or unix:PATH"),
        ("listen: 'unix:/a', to: 'vsock://4294967295:1'", "to: expected vsock://CID:PORT, vsock://NAME:PORT or unix"),
        ("listen: 'unix:/a', to: 'vsock://web:4294967295'", "to: vsock port: expected a number from 0 to 4294967294"),
        ("listen: 'unix:/a', to: 'vsock://we b:1'", "to: address: expected vsock://CID:PORT"),
        ("listen: 'unix:/a', to: 'unix:/run/e.sock', proxy_protocol: v1", "proxy_protocol: expected v2"),
        ("listen: 1, connect: true, max_connections: 0", "max_connections: expected a number from 1 to 1000000"),
        ("listen: 1, connect: true, connect_timeout: 0", "connect_timeout: expected seconds, more than 0 to 31536000"),
        ("listen: 1, connect: true, connect_timeout: .nan", "connect_timeout: expected seconds"),
        ("listen: 1, connect: true, idle_timeout: .inf", "idle_timeout: expected seconds, 0 to 31536000, got float"),
        ("listen: 1, connect: true, idle_timeout: 1e9", "idle_timeout: expected seconds"),
        ("listen: 1, connect: true, idle_timeout: -1", "idle_timeout: expected seconds"),
        ("listen: 1, connect: true, idle_timeout: '1'", "idle_timeout: expected seconds"),
        ("listen: 1, connect: true, idel_timeout: 1", "route: expected address or connect or connect_timeout or"),
    ],
)
def test_route_that_contradicts_itself_or_has_a_bad_value_is_an_error(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        route(text)
    assert f"f line 3: {error}" in str(caught.value)


@pytest.mark.parametrize(
    "to", ["vsock://16:5002", "vsock://17:5000", "vsock://db:443", "vsock://web:80", "unix:/run/f"]
)
def test_enclave_that_is_not_listed_is_not_permitted(to: str) -> None:
    with pytest.raises(NotAllowedError, match=f"f line 3: to: {to} is not one of the permitted enclaves") as caught:
        route(f"listen: 'unix:/a', to: '{to}'")
    assert caught.value.hint == "add it to enclaves in f"


def test_no_enclave_is_permitted_without_a_list() -> None:
    with pytest.raises(NotAllowedError):
        route("listen: 'unix:/a', to: 'vsock://16:5000'", enclaves="\n")


def test_enclaves_are_printed_as_they_were_written() -> None:
    entries = parse_config(f"allowlist: []\n{ENCLAVES}", source="f").enclaves.entries
    assert entries[1] == EnclaveEntry("web", frozenset({443}))
    assert [str(entry) for entry in entries] == [
        "enclave CID 16 port 5000, 5001", "enclave web port 443", "enclave unix:/run/e.sock",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ("{port: 1}", "enclaves entry: expected one of cid, name and path"),
        ("{cid: 16, name: web, port: 1}", "enclaves entry: expected one of cid, name and path"),
        ("{cid: 16}", "port: missing; expected a vsock port or a list of them"),
        ("{cid: 0, port: 1}", "cid: expected a number from 1 to 4294967294"),
        ("{cid: 4294967295, port: 1}", "cid: expected a number from 1 to 4294967294"),
        ("{cid: 16, port: []}", "port: No port field or invalid type: the list of ports is empty"),
        ("{name: 16, port: 1}", 'name: expected text, got int "16"'),
        ("{name: '16', port: 1}", 'name: expected the name of an enclave, got "16"'),
        ("{name: any, port: 1}", 'name: expected the name of an enclave, got "any"'),
        ("{name: a b, port: 1}", 'name: expected the name of an enclave, got "a b"'),
        ("{path: /a, port: 1}", "port: a path has no port"),
        ("{path: ''}", "path: unix socket path: expected 1 to 107 bytes"),
        ("{cid: 16, port: 1, deny: true}", "enclaves entry: expected cid or name or path or port"),
    ],
)
def test_entry_of_another_form_is_an_error(entry: str, error: str) -> None:
    with pytest.raises(ProxyError) as caught:
        parse_config(f"allowlist: []\nenclaves: [{entry}]", source="f")
    assert f"f line 2: {error}" in str(caught.value)


@pytest.mark.parametrize("text", ["vsock://16:1", "vsock://web-1.a_b:1", "unix:/a"])
def test_address_of_an_enclave_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_enclave_address(text)) == text
