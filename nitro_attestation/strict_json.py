"""JSON from a stranger, read so that no two readers can see two meanings in it (pure)."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 64
"""Most arrays and objects inside each other. A key policy has 6, describe-eif's output about 5."""
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)
"""A string without an end reaches to the end of the text, or looking for the end of each would take quadratic time."""


def decode_strict_json(text: str) -> Any:
    """Return what a JSON text says, without an object that has a member twice.

    Raises:
        ValueError: it is no JSON text (RFC 8259), has a member twice, or is nested deeper than MAX_DEPTH.
    """
    _refuse_depth(text)
    return json.loads(text, object_pairs_hook=_unique_members)


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice in an object")
    return members


def _refuse_depth(text: str) -> None:
    """Count the brackets outside strings, because Python's parser has a limit of its own in some versions only."""
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        match match[0]:
            case "{" | "[":
                depth += 1
                if depth > MAX_DEPTH:
                    raise ValueError(f"nested deeper than {MAX_DEPTH}")
            case "}" | "]":
                depth -= 1
