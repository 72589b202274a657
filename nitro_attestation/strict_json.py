"""Decode untrusted JSON strictly: refuse what different parsers would read differently (pure)."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 64
"""Maximum nesting of arrays and objects. A key policy has 6 levels, describe-eif's output about 5."""
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)
"""An unterminated string extends to the end of the text; otherwise searching for each end would be quadratic."""


def decode_strict_json(text: str) -> Any:
    """Decode a JSON text.

    Raises:
        ValueError: the text is not JSON (RFC 8259), an object has a duplicate member, or nesting exceeds MAX_DEPTH.
    """
    _refuse_depth(text)
    return json.loads(text, object_pairs_hook=_unique_members)


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member in an object")
    return members


def _refuse_depth(text: str) -> None:
    """Count the brackets outside strings, because only some versions of Python's parser limit the depth."""
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        match match[0]:
            case "{" | "[":
                depth += 1
                if depth > MAX_DEPTH:
                    raise ValueError(f"nested deeper than {MAX_DEPTH}")
            case "}" | "]":
                depth -= 1
