"""The checks of the credentials: the instance metadata service, and the role of the instance."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from instance_tool.credentials.find import IMDS_SOURCE, FoundCredentials
from instance_tool.errors import RoleError
from vsock_wire.errors import CredentialsError
from vsock_wire.protocol.diagnosis import Hop, HopName, HopState


def examine_credentials(find_credentials: Callable[[], FoundCredentials]) -> Iterator[Hop]:
    """Yield the hops of the instance metadata service and of the role's credentials."""
    try:
        found = find_credentials()
    except CredentialsError as error:
        yield from _without_credentials(error)
        return
    is_of_role = found.source.startswith(IMDS_SOURCE)
    yield Hop(
        HopName.IMDS, HopState.OK, "answers" if is_of_role else f"not needed: credentials come from {found.source}"
    )
    expiration = found.credentials.expiration
    yield Hop(HopName.ROLE, HopState.OK, found.source + (f", until {expiration}" if expiration else ""))


def _without_credentials(error: CredentialsError) -> Iterator[Hop]:
    """Yield both hops. If IMDS was asked before the credential chain, its error is the cause of the chain's error."""
    cause = error if isinstance(error, RoleError) else error.__cause__
    if isinstance(cause, CredentialsError) and not isinstance(cause, RoleError):
        yield Hop.failed(HopName.IMDS, error)
        yield Hop.skipped(HopName.ROLE, HopName.IMDS)
        return
    yield Hop(HopName.IMDS, HopState.OK, "answers" if isinstance(cause, RoleError) else "not asked")
    yield Hop.failed(HopName.ROLE, error)
