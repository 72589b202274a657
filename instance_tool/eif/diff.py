"""The command that compares two enclave image files."""

from __future__ import annotations

import sys

import click

from instance_tool.eif.files import image_errors_reported, open_image
from nitro_attestation.image.comparison import compare_images
from vsock_wire.cli.settings import Settings, with_settings
from vsock_wire.errors import ExitCode


class DiffSettings(Settings):
    """The options of ``diff``."""

    first: str
    second: str


@click.command()
@with_settings(
    DiffSettings,
    click.argument("first", metavar="FILE"),
    click.argument("second", metavar="FILE"),
)
def diff(settings: DiffSettings) -> None:
    """Show what differs between two image files.

    Names the section and, for a ramdisk, the file in it and what differs: type,
    mode, owner, time, content. Says where a difference is not measured, so that
    both files still have the same PCR0.

    \b
    Example:
      kmstool-eif diff theirs.eif mine.eif

    Exit codes: 0 no difference, 1 differences or a damaged file, 2 usage error.
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    is_different = False
    with (
        open_image(settings.first) as first,
        open_image(settings.second) as second,
        image_errors_reported(f"{settings.first}, {settings.second}"),
    ):
        for line in compare_images(first, second):
            is_different = True
            click.echo(line)
    if is_different:
        sys.exit(ExitCode.FAILED)
