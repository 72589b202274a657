"""Reads the ``routes:`` of a config file (pure).

A route has ``listen`` and one of these: ``address`` and ``port`` (a fixed destination), ``connect: true`` (each client
asks for a destination by HTTP CONNECT), or ``to`` (an enclave). Unlike in the allowlist, an unknown key is an error.
"""

from __future__ import annotations

from typing import TypedDict

import yaml

from vsock_proxy.config.allowlist import Allowlist
from vsock_proxy.config.destination import Destination, parse_destination
from vsock_proxy.config.enclaves import EnclaveList, parse_enclave_address
from vsock_proxy.config.hints import not_allowed_hint
from vsock_proxy.config.model import AskedByClient, Route
from vsock_proxy.config.yaml_nodes import NodeReader, is_integer, kind
from vsock_proxy.errors import AwsText, ConfigError, NotAllowedError
from vsock_wire.errors import InputError
from vsock_wire.net.address import MAX_TCP_PORT, MAX_VSOCK_PORT, Address, VsockAddress, parse_address

PROXY_PROTOCOL = "v2"
"""The only version of the PROXY protocol that is spoken."""
MAX_CONNECTIONS_OF_ROUTE = 1_000_000
"""More than any machine has descriptors for."""

_LIMITS = ("max_connections", "connect_timeout", "idle_timeout")
_KEYS = frozenset({"listen", "address", "port", "connect", "to", "proxy_protocol", *_LIMITS})


class _Limits(TypedDict):
    """The limits of a route, as Route takes them."""

    max_connections: int | None
    connect_timeout_s: float | None
    idle_timeout_s: float | None


class RouteReader:
    """Turns nodes into routes that the lists permit.

    Args:
        nodes: reads values, and names the file in errors.
        cid: the CID for a ``listen`` with only a port.
        allowlist: the destinations that are permitted.
        enclaves: the enclaves that are permitted.
    """

    def __init__(self, nodes: NodeReader, *, cid: int, allowlist: Allowlist, enclaves: EnclaveList) -> None:
        self._nodes = nodes
        self._cid = cid
        self._allowlist = allowlist
        self._enclaves = enclaves

    def read(self, node: yaml.Node) -> tuple[Route, ...]:
        """Return the routes of a list.

        Raises:
            ConfigError: something in it is not valid; the error names the line and the key.
            NotAllowedError: a route leads to what the lists do not permit.
        """
        routes: list[Route] = []
        taken: set[Address] = set()
        for item in self._nodes.sequence(node, "routes"):
            route = self._route(item)
            if route.listen in taken and not route.has_own_port:
                raise self._nodes.error(item, "listen", f"an earlier route already listens on {route.listen}")
            taken.add(route.listen)
            routes.append(route)
        return tuple(routes)

    def _route(self, node: yaml.Node) -> Route:
        fields = self._nodes.mapping(node, "route", _KEYS)
        if "listen" not in fields:
            raise self._nodes.error(node, "listen", "missing; expected a vsock port or an address")
        listen = self._listen(fields["listen"])
        limits = self._limits(fields)
        if "to" in fields:
            return self._to_enclave(fields, listen, limits)
        if "proxy_protocol" in fields:
            raise self._nodes.error(fields["proxy_protocol"], "proxy_protocol", "only a route with to has it")
        if "connect" in fields:
            self._refuse_others(fields, "connect", "address", "port")
            if not self._nodes.boolean(fields["connect"], "connect"):
                raise self._nodes.error(fields["connect"], "connect", "expected true; leave the key out otherwise")
            return Route(listen, AskedByClient(), **limits)
        return Route(listen, self._destination(node, fields), **limits)

    def _destination(self, node: yaml.Node, fields: dict[str, yaml.Node]) -> Destination:
        nodes = self._nodes
        if "address" not in fields:
            raise nodes.error(node, "address", f"{AwsText.NO_ADDRESS}: expected a host name or an address")
        if "port" not in fields:
            raise nodes.error(node, "port", f"{AwsText.BAD_PORT}: expected one port")
        port = nodes.number(fields["port"], "port", 1, MAX_TCP_PORT, prefix=f"{AwsText.BAD_PORT}: ")
        try:
            text = nodes.text(fields["address"], "address", prefix=f"{AwsText.NO_ADDRESS}: ")
            destination = parse_destination(text, port)
        except ConfigError as error:
            raise self._in_place(fields["address"], "address", error) from error
        if not self._allowlist.could_permit(destination):
            raise NotAllowedError(
                f"{nodes.place(node, 'address')}: {AwsText.NOT_ALLOWED}: {destination}",
                hint=not_allowed_hint(destination, nodes.source),
            )
        return destination

    def _to_enclave(self, fields: dict[str, yaml.Node], listen: Address, limits: _Limits) -> Route:
        nodes = self._nodes
        self._refuse_others(fields, "to", "address", "port", "connect")
        if isinstance(listen, VsockAddress):
            raise nodes.error(fields["listen"], "listen", "a route with to listens on tcp://HOST:PORT or unix:PATH")
        try:
            target = parse_enclave_address(nodes.text(fields["to"], "to"))
        except ConfigError as error:
            raise self._in_place(fields["to"], "to", error) from error
        if not self._enclaves.permits(target):
            raise NotAllowedError(
                f"{nodes.place(fields['to'], 'to')}: {target} is not one of the permitted enclaves",
                hint=f"add it to enclaves in {nodes.source}",
            )
        sends_header = "proxy_protocol" in fields
        if sends_header and nodes.text(fields["proxy_protocol"], "proxy_protocol") != PROXY_PROTOCOL:
            raise nodes.error(fields["proxy_protocol"], "proxy_protocol", f"expected {PROXY_PROTOCOL}")
        return Route(listen, target, **limits, sends_proxy_header=sends_header)

    def _limits(self, fields: dict[str, yaml.Node]) -> _Limits:
        most, connect, idle = map(fields.get, _LIMITS)
        nodes = self._nodes
        return {
            "max_connections": None
            if most is None
            else nodes.number(most, "max_connections", 1, MAX_CONNECTIONS_OF_ROUTE),
            "connect_timeout_s": None if connect is None else nodes.seconds(connect, "connect_timeout"),
            "idle_timeout_s": None if idle is None else nodes.seconds(idle, "idle_timeout", may_be_zero=True),
        }

    def _listen(self, node: yaml.Node) -> Address:
        if is_integer(node):
            return VsockAddress(self._cid, self._nodes.number(node, "listen", 0, MAX_VSOCK_PORT))
        if not isinstance(node, yaml.ScalarNode):
            raise self._nodes.error(node, "listen", f"expected a vsock port or an address, got {kind(node)}")
        try:
            return parse_address(node.value)
        except InputError as error:
            raise self._nodes.error(node, "listen", str(error)) from error

    def _refuse_others(self, fields: dict[str, yaml.Node], key: str, *others: str) -> None:
        for other in others:
            if other in fields:
                raise self._nodes.error(fields[other], other, f"cannot be used together with {key}")

    def _in_place(self, node: yaml.Node, key: str, error: ConfigError) -> ConfigError:
        """Return ``error`` with the line and the key, unless it names them already."""
        text = str(error)
        return error if text.startswith(self._nodes.place(node, key)) else self._nodes.error(node, key, text)
