"""Text that a stranger wrote, made safe to show (pure).

This package imports none of the project's others, so these two functions have twins in ``vsock_wire.errors``.
"""

from __future__ import annotations

QUOTED_CHARS = 64
"""Maximum number of characters of a stranger's text that an error quotes: enough to recognize it."""


def printable(text: str) -> str:
    """Return ``text`` with everything that could steer a terminal or forge a log line escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def quoted(text: str, max_chars: int = QUOTED_CHARS) -> str:
    """Return a stranger's ``text`` in double quotes, printable, cut at ``max_chars`` characters."""
    cut = text[:max_chars] + ("..." if len(text) > max_chars else "")
    return f'"{printable(cut)}"'
