"""A BER parser that keeps what is needed to compare encodings: tags and the forms of lengths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Node:
    tag: int
    is_indefinite: bool
    value: bytes
    children: tuple[Node, ...] = field(default=())

    def walk(self) -> Iterator[Node]:
        yield self
        for child in self.children:
            yield from child.walk()

    def shape(self) -> object:
        """Return tags, forms of lengths, and sizes of primitive values, without the values."""
        if self.children:
            return (hex(self.tag), self.is_indefinite, [child.shape() for child in self.children])
        return (hex(self.tag), len(self.value))


def read_ber(data: bytes) -> Node:
    node, rest = _read(data)
    assert rest == b"", "trailing bytes"
    return node


def _read(data: bytes) -> tuple[Node, bytes]:
    tag, first, rest = data[0], data[1], data[2:]
    is_constructed = bool(tag & 0x20)
    if first == 0x80:
        assert is_constructed
        children: list[Node] = []
        while rest[:2] != b"\0\0":
            child, rest = _read(rest)
            children.append(child)
        return Node(tag, True, b"", tuple(children)), rest[2:]
    size = first
    if first > 0x80:
        octets = first & 0x7F
        size, rest = int.from_bytes(rest[:octets], "big"), rest[octets:]
        assert size >= 0x80, "the long form of a short length"
    value, rest = rest[:size], rest[size:]
    assert len(value) == size, "truncated"
    return Node(tag, False, value, tuple(_read_all(value)) if is_constructed else ()), rest


def _read_all(data: bytes) -> Iterator[Node]:
    while data:
        node, data = _read(data)
        yield node
