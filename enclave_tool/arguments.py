"""Type checks of public arguments, so that a caller's mistake is reported where it is made (pure)."""

from __future__ import annotations


def expect_type(name: str, value: object, types: tuple[type, ...], expected: str) -> None:
    """Raise TypeError unless ``value`` has one of ``types``; a bool does not count as a number.

    Args:
        name: the argument's name.
        value: the argument's value. The error shows only its type, because the value may be a secret.
        types: the types that are allowed.
        expected: the same in words.
    """
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise TypeError(f"{name}: expected {expected}, got {type(value).__name__}")
