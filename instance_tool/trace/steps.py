"""Steps of a call as kmstool-instance sees them, recorded beside those that the enclave tells of (pure)."""

from __future__ import annotations

from typing import NamedTuple


class CredentialsFound(NamedTuple):
    """Credentials were found.

    Attributes:
        source: where, in words that may be shown.
        elapsed_ms: milliseconds for finding them.
    """

    source: str
    elapsed_ms: float


class Connected(NamedTuple):
    """A connection was opened.

    Attributes:
        peer: the address that was dialled.
        elapsed_ms: milliseconds for that.
    """

    peer: str
    elapsed_ms: float


class Sent(NamedTuple):
    """A request went out.

    Attributes:
        peer: the address it went to.
        operation: what it asks for.
        fields: the names of what it carries.
        sent_bytes: its size, NUL included.
    """

    peer: str
    operation: str
    fields: tuple[str, ...]
    sent_bytes: int


class Received(NamedTuple):
    """Its reply came; what the enclave told of its own steps stands before this one.

    Attributes:
        operation: what was asked for.
        is_ok: whether it is no error.
        fields: the names of what the reply carries.
        delivery: what the enclave says that it does with a secret; None where it says nothing.
        received_bytes: its size, NUL included.
        elapsed_ms: milliseconds from the request to the end of the reply.
    """

    operation: str
    is_ok: bool
    fields: tuple[str, ...]
    delivery: str | None
    received_bytes: int
    elapsed_ms: float


class Printed(NamedTuple):
    """The result went to standard output.

    Attributes:
        printed_bytes: how much of it.
    """

    printed_bytes: int
