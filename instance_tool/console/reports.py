"""What the commands about attestation documents and key policies share: how they warn, and how they fail."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click

from instance_tool.console.options import PROGRAM
from nitro_attestation.errors import AttestationError, NitroAttestationError
from vsock_wire.errors import InputError, ToolError, printable


@contextlib.contextmanager
def attestation_errors_reported() -> Iterator[None]:
    """Raise as an error of the command what ``nitro_attestation`` raises in the block; also usable as a decorator.

    Raises:
        ToolError: a document does not prove what it says; exit code 1.
        InputError: a file holds no document, policy or measurements that can be used; exit code 2.
    """
    try:
        yield
    except AttestationError as error:
        raise ToolError(str(error), hint=error.hint) from error
    except NitroAttestationError as error:
        raise InputError(str(error), hint=error.hint) from error


def report_warning(text: str) -> None:
    """Print a warning to standard error: none of these is for ``--quiet`` to hide."""
    click.echo(f"{PROGRAM}: warning: {printable(text)}", err=True)
