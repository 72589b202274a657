"""The command that generates random bytes with KMS."""

from __future__ import annotations

import click

from instance_tool.console.options import NO_NEWLINE_OPTION, RESULT_OPTIONS, with_connection
from instance_tool.console.perform import perform
from instance_tool.console.settings import ResultSettings
from vsock_wire.cli.shared_options import RANDOM_LENGTH
from vsock_wire.protocol.kms_operations import MAX_RANDOM_BYTES, KmsRequest
from vsock_wire.protocol.vocabulary import Operation


class GenrandomSettings(ResultSettings):
    """The options of ``genrandom``."""

    length: int
    no_newline: bool


@click.command()
@with_connection(
    GenrandomSettings,
    *RESULT_OPTIONS,
    RANDOM_LENGTH.declare(click.option, type=click.IntRange(1, MAX_RANDOM_BYTES)),
    NO_NEWLINE_OPTION,
)
def genrandom(settings: GenrandomSettings) -> None:
    """Generate random bytes.

    \b
    Example:
      kmstool-instance genrandom --cid 16 --length 32 --output base64
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    request = KmsRequest(Operation.GENERATE_RANDOM, {"NumberOfBytes": settings.length})
    perform(settings, request, newline=not settings.no_newline)
