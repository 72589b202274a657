"""Looks up what a refusal of KMS means (pure)."""

from __future__ import annotations

from vsock_wire.errors import ExitCode
from vsock_wire.protocol.refusals.access import ACCESS_REFUSALS
from vsock_wire.protocol.refusals.others import (
    CREDENTIAL_REFUSALS,
    KEY_REFUSALS,
    SERVICE_REFUSALS,
    VALUE_REFUSALS,
)
from vsock_wire.protocol.refusals.row import Reason, Refusal

REFUSALS = (*ACCESS_REFUSALS, *VALUE_REFUSALS, *KEY_REFUSALS, *CREDENTIAL_REFUSALS, *SERVICE_REFUSALS)
"""Every row. A code has a row without a reason and without operations, for what the other rows do not cover."""

_ROWS: dict[tuple[str, Reason | None, str | None], Refusal] = {
    (code, row.reason, operation): row
    for row in REFUSALS
    for code in row.codes
    for operation in row.operations or (None,)
}


def find_refusal(code: str, reason: Reason | None = None, operation: str | None = None) -> Refusal | None:
    """Return the row for a refusal, or None if the table does not know the code.

    Args:
        code: KMS's error code.
        reason: the reason, or None if it is not known.
        operation: the operation that was refused, or None for what is true of all.
    """
    keys = ((code, reason, operation), (code, reason, None), (code, None, operation), (code, None, None))
    return next((_ROWS[key] for key in keys if key in _ROWS), None)


def refusal_exit_code(code: str, reason: Reason | None) -> ExitCode:
    """Return the exit code of a program that a refusal ends, whatever the operation."""
    row = find_refusal(code, reason)
    return ExitCode.FAILED if row is None else row.exit_code


def parse_reason(text: str | None) -> Reason | None:
    """Return the Reason of an error reply, or None if it has none or one that this version does not know."""
    return None if text is None else _REASONS.get(text)


_REASONS = {str(reason): reason for reason in Reason}
