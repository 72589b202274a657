"""The root of every error of the project, the exit codes, and the rules for text that came from a peer (pure).

Error text is lower case without a full stop, in the form ``subject: expected X, got Y``. It never holds a secret.
"""

from __future__ import annotations

import enum

PEER_TEXT_CHARS = 64
"""Most characters of a peer's text that an error quotes: enough to recognise it, too little to flood a log."""


class ExitCode(enum.IntEnum):
    """Exit codes of all command line tools."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NO_CREDENTIALS = 4
    REFUSED = 5
    INTERRUPTED = 130


class ToolError(Exception):
    """An operation failed for a reason outside the program; the root of every error this project raises.

    Programmer mistakes stay ``ValueError`` and ``TypeError``.

    Attributes:
        hint: what the reader can do about it, or None where that is not known.
        exit_code: what a command line tool exits with when this ends it.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class InputError(ToolError):
    """A value typed or piped in by the user is not of the form the tool takes."""

    exit_code = ExitCode.USAGE


class WireError(ToolError):
    """The peer sent bytes that are not a message of the wire protocol."""


CONNECT = "connect to"
"""The operation of a TransportError if there never was a connection."""


class TransportError(ToolError):
    """A peer could not be reached, or stopped answering.

    Attributes:
        operation: what was being done: CONNECT, or another such as "read from".
        address: the peer, as text.
        reason: why it failed, without the other two.
    """

    exit_code = ExitCode.UNREACHABLE

    def __init__(self, operation: str, address: object, reason: str, *, hint: str | None = None) -> None:
        super().__init__(f"{operation} {address}: {reason}", hint=hint)
        self.operation = operation
        self.address = str(address)
        self.reason = reason


class CredentialsError(ToolError):
    """No AWS credentials could be found, or those found cannot be used.

    Attributes:
        provider: where these were looked for, such as "environment" or "IMDS"; None where that was more than one place.
        variable: the environment variable that is to be set or corrected, or None.
    """

    exit_code = ExitCode.NO_CREDENTIALS

    def __init__(
        self, message: str, *, provider: str | None = None, variable: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.provider = provider
        self.variable = variable


def printable(text: str) -> str:
    """Return ``text`` with everything that could steer a terminal or forge a log line escaped.

    Line breaks, control characters, bidirectional overrides and lone surrogates come out as backslash escapes.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def quoted(text: str, max_chars: int = PEER_TEXT_CHARS) -> str:
    """Return a peer's ``text`` in double quotes, printable, cut at ``max_chars`` characters."""
    cut = text[:max_chars] + ("..." if len(text) > max_chars else "")
    return f'"{printable(cut)}"'
