"""Reads the ``routes:`` of a config file (pure).

Unlike in the allowlist, an unknown key is an error.
"""

from __future__ import annotations

import yaml

from vsock_proxy.config.allowlist import Allowlist
from vsock_proxy.config.destination import Destination, parse_destination
from vsock_proxy.config.hints import not_allowed_hint
from vsock_proxy.config.model import Route
from vsock_proxy.config.yaml_nodes import NodeReader, is_integer, kind
from vsock_proxy.errors import AwsText, ConfigError, NotAllowedError
from vsock_wire.errors import InputError
from vsock_wire.net.address import MAX_TCP_PORT, MAX_VSOCK_PORT, Address, VsockAddress, parse_address

_KEYS = frozenset({"listen", "address", "port"})


class RouteReader:
    """Turns nodes into routes that the allowlist permits.

    Args:
        nodes: reads values, and names the file in errors.
        cid: the CID for a ``listen`` with only a port.
        allowlist: the destinations that are permitted.
    """

    def __init__(self, nodes: NodeReader, *, cid: int, allowlist: Allowlist) -> None:
        self._nodes = nodes
        self._cid = cid
        self._allowlist = allowlist

    def read(self, node: yaml.Node) -> tuple[Route, ...]:
        """Return the routes of a list.

        Raises:
            ConfigError: something in it is not valid; the error names the line and the key.
            NotAllowedError: a route leads to what the allowlist does not permit.
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
        return Route(listen, self._destination(node, fields))

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

    def _listen(self, node: yaml.Node) -> Address:
        if is_integer(node):
            return VsockAddress(self._cid, self._nodes.number(node, "listen", 0, MAX_VSOCK_PORT))
        if not isinstance(node, yaml.ScalarNode):
            raise self._nodes.error(node, "listen", f"expected a vsock port or an address, got {kind(node)}")
        try:
            return parse_address(node.value)
        except InputError as error:
            raise self._nodes.error(node, "listen", str(error)) from error

    def _in_place(self, node: yaml.Node, key: str, error: ConfigError) -> ConfigError:
        """Return ``error`` with the line and the key, unless it names them already."""
        text = str(error)
        return error if text.startswith(self._nodes.place(node, key)) else self._nodes.error(node, key, text)
