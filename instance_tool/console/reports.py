"""Errors and warnings of the commands about attestation documents and key policies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click

from instance_tool.console.options import PROGRAM
from nitro_attestation.errors import AttestationError, NitroAttestationError
from vsock_wire.errors import InputError, ToolError, printable


@contextlib.contextmanager
def attestation_errors_reported() -> Iterator[None]:
    """Turn errors of ``nitro_attestation`` into errors of the command; also usable as a decorator.

    Raises:
        ToolError: a document failed verification; exit code 1.
        InputError: a file has no usable document, policy or measurements; exit code 2.
    """
    try:
        yield
    except AttestationError as error:
        raise ToolError(str(error), hint=error.hint) from error
    except NitroAttestationError as error:
        raise InputError(str(error), hint=error.hint) from error


def report_warning(text: str) -> None:
    """Print a warning to standard error, even with ``--quiet``."""
    click.echo(f"{PROGRAM}: warning: {printable(text)}", err=True)
