"""Base class of all errors of the project, exit codes, and functions that make text from a peer safe to show (pure).

An error's text starts in lower case, has no full stop, and has the form ``subject: what is wrong``. It uses ``expected
X, got Y`` only where both parts help. It never contains a secret.
"""

from __future__ import annotations

import enum

PEER_TEXT_CHARS = 64
"""Maximum number of characters of a peer's text that an error quotes: enough to recognize, too few to flood a log."""


class ExitCode(enum.IntEnum):
    """Exit codes of all command-line tools."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NO_CREDENTIALS = 4
    REFUSED = 5
    INTERRUPTED = 130
    CLOSED_PIPE = 141


class ToolError(Exception):
    """Base class of all errors of this project: an operation failed for a reason outside the program.

    Programming errors remain ``ValueError`` and ``TypeError``.

    Attributes:
        hint: what the reader can do about the error, or None if that is unknown.
        exit_code: the exit code of a command-line tool that this error ends.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class InputError(ToolError):
    """A value that the user typed or piped in is not valid."""

    exit_code = ExitCode.USAGE


class WireError(ToolError):
    """The peer sent bytes that are not a message of the wire protocol."""


CONNECT = "connect to"
"""The operation of a TransportError if no connection was made."""


class TransportError(ToolError):
    """A peer could not be reached, or stopped answering.

    Attributes:
        operation: what failed: CONNECT, or for example "read from".
        address: the peer's address, as text.
        reason: why it failed, without the operation and the address.
    """

    exit_code = ExitCode.UNREACHABLE

    def __init__(self, operation: str, address: object, reason: str, *, hint: str | None = None) -> None:
        super().__init__(f"{operation} {address}: {reason}", hint=hint)
        self.operation = operation
        self.address = str(address)
        self.reason = reason


class TunnelError(TransportError):
    """A proxy was reached, but did not connect to the host that HTTP CONNECT asked it for."""


class CredentialsError(ToolError):
    """No AWS credentials were found, or the ones found cannot be used.

    Attributes:
        provider: where credentials were looked for, such as "environment" or "IMDS"; None for more than one place.
        variable: the environment variable to set or correct, or None.
    """

    exit_code = ExitCode.NO_CREDENTIALS

    def __init__(
        self, message: str, *, provider: str | None = None, variable: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.provider = provider
        self.variable = variable


def printable(text: str) -> str:
    """Return ``text`` with every character escaped that could control a terminal or forge a log line.

    Line breaks, control characters, bidirectional overrides and lone surrogates become backslash escapes.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def quoted(text: str, max_chars: int = PEER_TEXT_CHARS) -> str:
    """Return a peer's ``text`` in double quotes, printable and truncated to ``max_chars`` characters."""
    cut = text[:max_chars] + ("..." if len(text) > max_chars else "")
    return f'"{printable(cut)}"'
