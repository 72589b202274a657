"""The checks of the credentials: the instance metadata service, and the role of the instance."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from instance_tool.credentials.find import IMDS_SOURCE
from instance_tool.credentials.found import FoundCredentials
from instance_tool.errors import NoCredentialsError, RoleError
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
    yield Hop(HopName.ROLE, HopState.OK, found.description + (f", until {expiration}" if expiration else ""))


def _without_credentials(error: CredentialsError) -> Iterator[Hop]:
    """Yield both hops: what IMDS answered, if it was asked, and why there are no credentials."""
    imds = error.imds if isinstance(error, NoCredentialsError) else error if error.provider == "IMDS" else None
    chain = error.chain if isinstance(error, NoCredentialsError) else None
    if imds is None:
        yield Hop(HopName.IMDS, HopState.OK, "not asked")
    elif isinstance(imds, RoleError):
        yield Hop(HopName.IMDS, HopState.OK, "answers")
    else:
        yield Hop.failed(HopName.IMDS, imds)
        yield Hop.failed(HopName.ROLE, chain) if chain else Hop.skipped(HopName.ROLE, HopName.IMDS)
        return
    yield Hop.failed(HopName.ROLE, chain or error)
