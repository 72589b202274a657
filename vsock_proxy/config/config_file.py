"""The config file: AWS's ``allowlist:``, and our ``routes:`` and ``enclaves:`` (pure, except for ``load_config``).

Every error names the line and the key. What AWS's proxy ignores (other keys next to the allowlist and in it, documents
after the first) is ignored with a warning. In ``routes`` and ``enclaves``, which are ours, anything unknown is an
error.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import cast

import yaml

from vsock_proxy.config.allowlist import Allowlist, Entry, parse_pattern
from vsock_proxy.config.enclaves import EnclaveEntry, EnclaveList, parse_enclave_name
from vsock_proxy.config.model import Config
from vsock_proxy.config.route_reader import RouteReader
from vsock_proxy.config.yaml_nodes import NodeReader, compose_first
from vsock_proxy.errors import AwsText, ConfigError
from vsock_wire.errors import InputError
from vsock_wire.net.address import CID_ANY, MAX_CID, MAX_TCP_PORT, MAX_VSOCK_PORT, UnixAddress, parse_address

MAX_CONFIG_BYTES = 1_048_576
"""Far more than any real file needs: AWS's is 3 KB. Keeps a wrong path (a log, a device) from filling memory."""

_PARTS = frozenset({"allowlist", "routes", "enclaves"})


def load_config(path: Path, *, cid: int = CID_ANY, is_strict: bool = False) -> Config:
    """Read and check the config file at ``path``.

    Args:
        path: a regular file, UTF-8, at most MAX_CONFIG_BYTES.
        cid: the CID for a route with only a port in ``listen``.
        is_strict: whether the entries of the allowlist permit only what they say; see ``Allowlist``.

    Raises:
        ConfigError: it cannot be read, or something in it is not valid; the error names the line and the key.
        NotAllowedError: its lists do not permit one of its routes.
    """
    try:
        content = _read_file(path)
        text = content.decode("utf-8")
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise ConfigError(f"{AwsText.NO_FILE}: {path}: {reason}", hint="name the config file with --config") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{AwsText.BAD_YAML}: {path}: byte {error.start} is not valid UTF-8") from error
    if len(content) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{AwsText.BAD_YAML}: {path}: the file is larger than {MAX_CONFIG_BYTES} bytes")
    return parse_config(text, source=str(path), cid=cid, is_strict=is_strict)


def parse_config(text: str, *, source: str, cid: int = CID_ANY, is_strict: bool = False) -> Config:
    """Parse the text of a config file; it raises the same errors as ``load_config``.

    Args:
        text: the file's content.
        source: how errors name the file.
        cid: the CID for a route with only a port in ``listen``.
        is_strict: whether the entries of the allowlist permit only what they say.
    """
    document, later = compose_first(text, source=source)
    if document is None:
        raise ConfigError(f"{AwsText.NO_ALLOWLIST}: {source}: the file is empty")
    nodes = NodeReader(source)
    if later:
        nodes.warnings.append(f"{source}: {later} YAML documents after the first are ignored, as in AWS's proxy")
    fields = nodes.mapping(document, "the file", _PARTS, ignores_unknown=True)
    if "allowlist" not in fields:
        raise nodes.error(document, "allowlist", f"{AwsText.NO_ALLOWLIST}: expected a list of addresses and ports")
    allowlist = Allowlist(_allowlist_entries(nodes, fields["allowlist"]), is_strict=is_strict)
    enclaves = EnclaveList(_enclave_entries(nodes, fields["enclaves"]) if "enclaves" in fields else ())
    routes = RouteReader(nodes, cid=cid, allowlist=allowlist, enclaves=enclaves)
    return Config(
        allowlist,
        routes.read(fields["routes"]) if "routes" in fields else (),
        enclaves,
        tuple(nodes.warnings),
    )


def _read_file(path: Path) -> bytes:
    """Return up to one byte more than the limit; never waits, as opening a FIFO would."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        content = bytearray()
        while len(content) <= MAX_CONFIG_BYTES and (part := os.read(descriptor, MAX_CONFIG_BYTES + 1 - len(content))):
            content += part
        return bytes(content)
    finally:
        os.close(descriptor)


def _allowlist_entries(nodes: NodeReader, node: yaml.Node) -> tuple[Entry, ...]:
    items = nodes.sequence(node, "allowlist", prefix=f"{AwsText.NO_ALLOWLIST}: ")
    return tuple(_allowlist_entry(nodes, item) for item in items)


def _allowlist_entry(nodes: NodeReader, node: yaml.Node) -> Entry:
    fields = nodes.mapping(node, "allowlist entry", {"address", "port"}, ignores_unknown=True)
    if "address" not in fields:
        raise nodes.error(node, "address", f"{AwsText.NO_ADDRESS}: expected a host name or an address")
    text = nodes.text(fields["address"], "address", prefix=f"{AwsText.NO_ADDRESS}: ")
    try:
        pattern = parse_pattern(text)
    except ConfigError as error:
        raise nodes.error(fields["address"], "address", str(error)) from error
    if "port" not in fields:
        raise nodes.error(node, "port", f"{AwsText.BAD_PORT}: expected a port or a list of ports")
    return Entry(pattern, _ports(nodes, fields["port"], 1, MAX_TCP_PORT))


def _enclave_entries(nodes: NodeReader, node: yaml.Node) -> tuple[EnclaveEntry, ...]:
    return tuple(_enclave_entry(nodes, item) for item in nodes.sequence(node, "enclaves"))


def _enclave_entry(nodes: NodeReader, node: yaml.Node) -> EnclaveEntry:
    fields = nodes.mapping(node, "enclaves entry", {"cid", "name", "path", "port"})
    if len(fields.keys() & {"cid", "name", "path"}) != 1:
        raise nodes.error(node, "enclaves entry", "expected one of cid, name and path")
    if "path" in fields:
        if "port" in fields:
            raise nodes.error(fields["port"], "port", "a path has no port")
        return EnclaveEntry(_unix_address(nodes, fields["path"]))
    if "port" not in fields:
        raise nodes.error(node, "port", "missing; expected a vsock port or a list of them")
    ports = _ports(nodes, fields["port"], 0, MAX_VSOCK_PORT)
    if "cid" in fields:
        return EnclaveEntry(nodes.number(fields["cid"], "cid", 1, MAX_CID - 1), ports)
    name = nodes.text(fields["name"], "name")
    try:
        return EnclaveEntry(parse_enclave_name(name), ports)
    except ConfigError as error:
        raise nodes.error(fields["name"], "name", str(error)) from error


def _unix_address(nodes: NodeReader, node: yaml.Node) -> UnixAddress:
    try:
        return cast("UnixAddress", parse_address(f"unix:{nodes.text(node, 'path')}"))
    except InputError as error:
        raise nodes.error(node, "path", str(error)) from error


def _ports(nodes: NodeReader, node: yaml.Node, smallest: int, largest: int) -> frozenset[int]:
    prefix = f"{AwsText.BAD_PORT}: "
    if not isinstance(node, yaml.SequenceNode):
        return frozenset({nodes.number(node, "port", smallest, largest, prefix=prefix)})
    if not node.value:
        raise nodes.error(node, "port", f"{prefix}the list of ports is empty")
    return frozenset(nodes.number(item, "port", smallest, largest, prefix=prefix) for item in node.value)
