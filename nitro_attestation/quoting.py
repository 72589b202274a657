"""Make untrusted text safe to display (pure).

This package does not import the project's other packages, so these two functions have twins in ``vsock_wire.errors``.
"""

from __future__ import annotations

QUOTED_CHARS = 64
"""Maximum number of characters of untrusted text that an error quotes: enough to recognize it."""


def printable(text: str) -> str:
    """Return ``text`` with everything that could steer a terminal or forge a log line escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def quoted(text: str, max_chars: int = QUOTED_CHARS) -> str:
    """Return untrusted ``text`` in double quotes, escaped, and truncated to ``max_chars`` characters."""
    cut = text[:max_chars] + ("..." if len(text) > max_chars else "")
    return f'"{printable(cut)}"'
