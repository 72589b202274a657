"""Reads YAML into checked values; every error names the line and the key (pure).

Plain values have the types of YAML 1.2, the version that AWS's proxy reads: ``0443`` is 443, ``7:23`` and ``on`` are
text. PyYAML reads version 1.1, in which ``0443`` is octal and ``7:23`` is 443. This module reads nodes and not Python
objects, because only nodes know their lines.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import ClassVar

import yaml

from vsock_proxy.errors import AwsText, ConfigError
from vsock_wire.errors import quoted

MAX_DEPTH = 16
"""Maximum nesting of lists and maps; a real file has 4 levels."""
MAX_SECONDS = 86_400.0 * 365
"""Longest duration: one year."""

_INTEGER = re.compile(r"[-+]?[0-9]{1,19}|0o[0-7]{1,21}|0x[0-9a-fA-F]{1,16}", re.ASCII)
_CORE_SCHEMA = (
    ("null", re.compile(r"~|null|Null|NULL|", re.ASCII), ["~", "n", "N", ""]),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE", re.ASCII), list("tTfF")),
    ("int", re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z", re.ASCII), list("-+0123456789")),
    (
        "float",
        re.compile(r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|"
                   r"\.(?:nan|NaN|NAN))\Z", re.ASCII),
        list("-+.0123456789"),
    ),
)  # fmt: skip
"""Tag, form and first characters. Source: YAML 1.2.2, section 10.3.2."""


def compose_first(text: str, *, source: str) -> tuple[yaml.Node | None, int]:
    """Return the first document of a YAML text, or None if there is none, and the number of later ones.

    Args:
        text: the text.
        source: how errors name it.

    Raises:
        ConfigError: it is not YAML, or is nested deeper than MAX_DEPTH.
    """
    try:
        _check_depth(text, source)
        documents = list(yaml.compose_all(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{AwsText.BAD_YAML}: {source}{line}: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a character that YAML does not allow, or no character
        raise ConfigError(f"{AwsText.BAD_YAML}: {source}: {type(error).__name__}") from error
    return (documents[0] if documents else None), max(0, len(documents) - 1)


def _check_depth(text: str, source: str) -> None:
    """Refuse nesting beyond MAX_DEPTH, because composing nodes recurses, and Python's own limit differs."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                line = f" line {event.start_mark.line + 1}" if event.start_mark else ""
                raise ConfigError(f"{AwsText.BAD_YAML}: {source}{line}: nested deeper than {MAX_DEPTH}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # 10 times as fast, if it was built
    """Resolves plain values as YAML 1.2 does."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}


for _tag, _form, _first in _CORE_SCHEMA:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_form.pattern})\Z", re.ASCII), _first)


class NodeReader:
    """Turns nodes into values.

    Args:
        source: how errors name the file.

    Attributes:
        source: how errors name the file.
        warnings: what was ignored, one text for each.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.warnings: list[str] = []

    def mapping(
        self, node: yaml.Node, what: str, known: Iterable[str], *, ignores_unknown: bool = False
    ) -> dict[str, yaml.Node]:
        """Return the values of a map by key; an unknown key is an error, or a warning if ``ignores_unknown``."""
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, what, f"expected keys and values, got {kind(node)}")
        fields: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else kind(key_node)
            if key in fields:
                raise self.error(key_node, key, "this key appears twice")
            fields[key] = value
            if key in known:
                continue
            problem = f"expected {' or '.join(sorted(known))}, got {quoted(key)}"
            if not ignores_unknown:
                raise self.error(key_node, what, problem)
            self.warnings.append(f"{self.place(key_node, what)}: {quoted(key)} is ignored: not a key of this program")
        return fields

    def sequence(self, node: yaml.Node, key: str, *, prefix: str = "") -> list[yaml.Node]:
        """Return the items of a list."""
        if not isinstance(node, yaml.SequenceNode):
            raise self.error(node, key, f"{prefix}expected a list, got {kind(node)}")
        return list(node.value)

    def text(self, node: yaml.Node, key: str, *, prefix: str = "") -> str:
        """Return a text."""
        if not isinstance(node, yaml.ScalarNode) or not node.tag.endswith(":str"):
            raise self.error(node, key, f"{prefix}expected text, got {kind(node)}")
        return str(node.value)

    def boolean(self, node: yaml.Node, key: str) -> bool:
        """Return true or false."""
        if not isinstance(node, yaml.ScalarNode) or node.value.lower() not in {"true", "false"} or node.style:
            raise self.error(node, key, f"expected true or false, got {kind(node)}")
        return bool(node.value.lower() == "true")

    def number(self, node: yaml.Node, key: str, smallest: int, largest: int, *, prefix: str = "") -> int:
        """Return an integer from ``smallest`` to ``largest``."""
        number = _parse_integer(node.value) if is_integer(node) else None
        if number is None or not smallest <= number <= largest:
            got = quoted(node.value) if isinstance(node, yaml.ScalarNode) else kind(node)
            raise self.error(node, key, f"{prefix}expected a number from {smallest} to {largest}, got {got}")
        return number

    def seconds(self, node: yaml.Node, key: str, *, may_be_zero: bool = False) -> float:
        """Return a duration in seconds, at most MAX_SECONDS."""
        seconds = math.nan
        if isinstance(node, yaml.ScalarNode) and node.tag.endswith((":int", ":float")) and not node.style:
            try:
                seconds = float(node.value)
            except ValueError:  # octal, hexadecimal, .inf and .nan
                seconds = math.nan
        if not (0 <= seconds <= MAX_SECONDS and (seconds or may_be_zero)):
            smallest = "0" if may_be_zero else "more than 0"
            raise self.error(node, key, f"expected seconds, {smallest} to {MAX_SECONDS:.0f}, got {kind(node)}")
        return seconds

    def error(self, node: yaml.Node, key: str, problem: str, *, hint: str | None = None) -> ConfigError:
        """Return the error that ``problem`` in ``node`` is."""
        return ConfigError(f"{self.place(node, key)}: {problem}", hint=hint)

    def place(self, node: yaml.Node, key: str) -> str:
        """Return how texts name the place of a node."""
        return f"{self.source} line {node.start_mark.line + 1}: {key}"


def is_integer(node: yaml.Node) -> bool:
    """Return whether a node is a number without quotes."""
    return isinstance(node, yaml.ScalarNode) and node.tag.endswith(":int") and not node.style


def kind(node: yaml.Node) -> str:
    """Return what a node is, for errors."""
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    if isinstance(node, yaml.MappingNode):
        return "keys and values"
    return f"{node.tag.rpartition(':')[2]} {quoted(node.value)}" if node.value else "nothing"


def _parse_integer(text: str) -> int | None:
    if not _INTEGER.fullmatch(text):
        return None
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text, base)
