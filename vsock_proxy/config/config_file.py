"""The config file: AWS's ``allowlist:`` and our ``routes:`` (pure, except for ``load_config``).

Every error names the line and the key. Anything unknown is an error, because silently ignoring a rule could permit what
its author wanted to forbid.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from yaml.composer import ComposerError

from vsock_proxy.config.allowlist import Allowlist, Entry, parse_pattern
from vsock_proxy.config.destination import parse_destination
from vsock_proxy.config.model import Config, Route
from vsock_proxy.errors import AwsText, ConfigError, NotAllowedError
from vsock_wire.errors import InputError, quoted
from vsock_wire.net.address import CID_ANY, MAX_TCP_PORT, MAX_VSOCK_PORT, Address, VsockAddress, parse_address

MAX_CONFIG_BYTES = 1_048_576
"""Far more than any real file needs: AWS's is 3 KB. Keeps a wrong path (a log, a device) from filling memory."""
MAX_DEPTH = 16
"""Maximum nesting of lists and maps; a real file has 4 levels."""


def load_config(path: Path, *, cid: int = CID_ANY) -> Config:
    """Read and check the config file at ``path``.

    Args:
        path: the file, UTF-8, at most MAX_CONFIG_BYTES.
        cid: the CID for a route with only a port in ``listen``.

    Raises:
        ConfigError: it cannot be read, or something in it is not valid; the error names the line and the key.
        NotAllowedError: its allowlist does not permit one of its routes.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
        text = content.decode("utf-8")
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise ConfigError(f"{AwsText.NO_FILE}: {path}: {reason}", hint="name the config file with --config") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{AwsText.BAD_YAML}: {path}: byte {error.start} is not valid UTF-8") from error
    if len(content) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{AwsText.BAD_YAML}: {path}: the file is larger than {MAX_CONFIG_BYTES} bytes")
    return parse_config(text, source=str(path), cid=cid)


def parse_config(text: str, *, source: str, cid: int = CID_ANY) -> Config:
    """Parse the text of a config file; it raises the same errors as ``load_config``.

    Args:
        text: the file's content.
        source: how errors name the file.
        cid: the CID for a route with only a port in ``listen``.
    """
    try:
        document = yaml.compose(text, Loader=_BoundedLoader)
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{AwsText.BAD_YAML}: {source}{line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{AwsText.BAD_YAML}: {source}: {type(error).__name__}") from error
    if document is None:
        raise ConfigError(f"{AwsText.NO_ALLOWLIST}: {source}: the file is empty")
    return _Reader(source, cid).read(document)


class _BoundedLoader(yaml.SafeLoader):
    """Refuses nesting beyond MAX_DEPTH, because Python's own limit differs between versions."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call] # types-PyYAML does not know it
            raise ComposerError(None, None, f"nested deeper than {MAX_DEPTH}", mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Reader:
    """Turns YAML nodes, which know their lines, into a Config."""

    def __init__(self, source: str, cid: int) -> None:
        self._source = source
        self._cid = cid

    def read(self, document: yaml.Node) -> Config:
        fields = self._mapping(document, "the file", {"allowlist", "routes"})
        if "allowlist" not in fields:
            raise self._error(document, "allowlist", f"{AwsText.NO_ALLOWLIST}: expected a list of addresses and ports")
        allowlist = Allowlist(tuple(self._entry(node) for node in self._sequence(fields["allowlist"], "allowlist")))
        if "routes" not in fields:
            return Config(allowlist)
        nodes = self._sequence(fields["routes"], "routes")
        routes = tuple(self._route(node, allowlist) for node in nodes)
        for index, (node, route) in enumerate(zip(nodes, routes, strict=True)):
            if route.listen in [other.listen for other in routes[:index]]:
                raise self._error(node, "listen", f"an earlier route already listens on {route.listen}")
        return Config(allowlist, routes)

    def _entry(self, node: yaml.Node) -> Entry:
        fields = self._mapping(node, "allowlist entry", {"address", "port"})
        text = self._text(node, fields, "address", AwsText.NO_ADDRESS)
        try:
            pattern = parse_pattern(text)
        except ConfigError as error:
            raise self._error(fields["address"], "address", str(error)) from error
        return Entry(pattern, self._ports(node, fields))

    def _route(self, node: yaml.Node, allowlist: Allowlist) -> Route:
        fields = self._mapping(node, "route", {"listen", "address", "port"})
        if "listen" not in fields:
            raise self._error(node, "listen", "missing; expected a vsock port or an address")
        listen = self._listen(fields["listen"])
        host = self._text(node, fields, "address", AwsText.NO_ADDRESS)
        if "port" not in fields:
            raise self._error(node, "port", f"{AwsText.BAD_PORT}: expected one port")
        try:
            destination = parse_destination(host, self._port(fields["port"]))
        except ConfigError as error:
            raise self._error(fields["address"], "address", str(error)) from error
        if not allowlist.could_permit(destination):
            raise NotAllowedError(self._text_of_error(node, "address", f"{AwsText.NOT_ALLOWED}: {destination}"))
        return Route(listen, destination)

    def _listen(self, node: yaml.Node) -> Address:
        if _is_integer(node):
            return VsockAddress(self._cid, self._number(node, "listen", 0, MAX_VSOCK_PORT))
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, "listen", f"expected a vsock port or an address, got {_kind(node)}")
        try:
            return parse_address(node.value)
        except InputError as error:
            raise self._error(node, "listen", str(error)) from error

    def _ports(self, entry: yaml.Node, fields: dict[str, yaml.Node]) -> frozenset[int]:
        node = fields.get("port")
        if node is None:
            raise self._error(entry, "port", f"{AwsText.BAD_PORT}: expected a port or a list of ports")
        if not isinstance(node, yaml.SequenceNode):
            return frozenset({self._port(node)})
        if not node.value:
            raise self._error(node, "port", f"{AwsText.BAD_PORT}: the list of ports is empty")
        return frozenset(self._port(item) for item in node.value)

    def _port(self, node: yaml.Node) -> int:
        return self._number(node, "port", 1, MAX_TCP_PORT, prefix=f"{AwsText.BAD_PORT}: ")

    def _number(self, node: yaml.Node, key: str, smallest: int, largest: int, *, prefix: str = "") -> int:
        number = yaml.SafeLoader("").construct_object(node) if _is_integer(node) else None
        if number is None or not smallest <= number <= largest:
            got = quoted(node.value) if isinstance(node, yaml.ScalarNode) else _kind(node)
            raise self._error(node, key, f"{prefix}expected a number from {smallest} to {largest}, got {got}")
        return int(number)

    def _text(self, parent: yaml.Node, fields: dict[str, yaml.Node], key: str, missing: str) -> str:
        node = fields.get(key)
        if node is None:
            raise self._error(parent, key, f"{missing}: expected a host name or an address")
        if not isinstance(node, yaml.ScalarNode) or not node.tag.endswith(":str"):
            raise self._error(node, key, f"{missing}: expected text, got {_kind(node)}")
        return str(node.value)

    def _sequence(self, node: yaml.Node, key: str) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode):
            prefix = f"{AwsText.NO_ALLOWLIST}: " if key == "allowlist" else ""
            raise self._error(node, key, f"{prefix}expected a list, got {_kind(node)}")
        return list(node.value)

    def _mapping(self, node: yaml.Node, what: str, known: set[str]) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, what, f"expected keys and values, got {_kind(node)}")
        fields: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else _kind(key_node)
            if key in fields:
                raise self._error(key_node, key, "this key appears twice")
            if key not in known:
                raise self._error(key_node, what, f"expected {' or '.join(sorted(known))}, got {quoted(key)}")
            fields[key] = value
        return fields

    def _error(self, node: yaml.Node, key: str, problem: str) -> ConfigError:
        return ConfigError(self._text_of_error(node, key, problem))

    def _text_of_error(self, node: yaml.Node, key: str, problem: str) -> str:
        return f"{self._source} line {node.start_mark.line + 1}: {key}: {problem}"


def _is_integer(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag.endswith(":int")


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    if isinstance(node, yaml.MappingNode):
        return "keys and values"
    return f"{node.tag.rpartition(':')[2]} {quoted(node.value)}" if node.value else "nothing"
