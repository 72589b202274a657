"""Mistakes of a caller, reported where they are made (pure)."""

from __future__ import annotations


def expect_type(name: str, value: object, types: tuple[type, ...], expected: str) -> None:
    """Raise TypeError unless ``value`` is of one of ``types``; no bool is a number.

    Args:
        name: of the argument.
        value: what was given. The error shows its type only, because the value may be a secret.
        types: what it may be.
        expected: the same in words.
    """
    if not isinstance(value, types) or isinstance(value, bool):
        raise TypeError(f"{name}: expected {expected}, got {type(value).__name__}")
