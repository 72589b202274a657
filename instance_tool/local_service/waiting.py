"""Waiting for an enclave that is not up yet, so that ``serve`` can be started before it."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable

from instance_tool.client.client import EnclaveClient
from vsock_wire.errors import CONNECT, TransportError

RETRY_S = 0.5
"""Time between two attempts to connect. An enclave takes seconds to start."""
_LASTING = frozenset({errno.EPERM, errno.EACCES, errno.EAFNOSUPPORT, errno.EINVAL})
"""Reasons that no enclave changes by starting: this process may not connect, or this machine has no vsock."""


def send_credentials_when_up(client: EnclaveClient, announce: Callable[[TransportError], None]) -> None:
    """Send the credentials as soon as the enclave accepts connections, however long that takes.

    Args:
        client: client of the enclave, with credentials set.
        announce: called once, with the first failure, if the enclave is not up.

    Raises:
        CredentialsError, EnclaveError, WireError: as ``EnclaveClient.send_credentials``.
        TransportError: the enclave stopped answering, or waiting cannot help.
    """
    is_announced = False
    while True:
        try:
            client.send_credentials()
        except TransportError as error:
            if not _is_worth_waiting(error):
                raise
            if not is_announced:
                announce(error)
                is_announced = True
            time.sleep(RETRY_S)
        else:
            return


def _is_worth_waiting(error: TransportError) -> bool:
    cause = error.__cause__
    return error.operation == CONNECT and isinstance(cause, OSError) and cause.errno not in _LASTING
