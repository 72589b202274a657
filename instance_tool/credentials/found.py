"""What a search for AWS credentials gives."""

from __future__ import annotations

from typing import NamedTuple

from instance_tool.credentials.account import account_of
from vsock_wire.errors import CredentialsError
from vsock_wire.protocol.messages import Credentials, is_credential

UNSENDABLE_HINT = "look for a space, a line break or a wrong encoding where it is set"


class FoundCredentials(NamedTuple):
    """Credentials, and a description of where they were found, which may be logged.

    Attributes:
        credentials: the credentials.
        source: where they were found.
        account_id: the AWS account that they belong to, 12 digits; None if that is not known. Nothing proves it.
    """

    credentials: Credentials
    source: str
    account_id: str | None = None

    @property
    def description(self) -> str:
        """The source, and the account if it is known."""
        return self.source + (f", account {self.account_id}" if self.account_id else "")


def sendable(credentials: Credentials, source: str, *, variable: str | None = None) -> FoundCredentials:
    """Return credentials that can be sent in a request, with their source and account.

    Args:
        credentials: not checked before.
        source: where they were found.
        variable: the environment variable that they come from.

    Raises:
        CredentialsError: they cannot be sent. The text names the part but never quotes it.
    """
    problem = problem_of(credentials)
    if problem:
        raise CredentialsError(
            f"credentials from {source}: {problem}", provider=source, variable=variable, hint=UNSENDABLE_HINT
        )
    return FoundCredentials(credentials, source, account_of(credentials.access_key_id))


def problem_of(credentials: Credentials) -> str | None:
    """Return why credentials cannot be sent, without quoting them; None if they can. Parts may have any type."""
    parts = {
        "access key id": credentials.access_key_id,
        "secret access key": credentials.secret_access_key,
        "session token": credentials.session_token,
    }
    for name, part in parts.items():
        if part is None and name == "session token":
            continue
        if not isinstance(part, str) or not is_credential(part):
            return f"the {name} is empty or has characters other than printable ASCII"
    return None
