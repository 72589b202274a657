"""The command that shows what an enclave image file is."""

from __future__ import annotations

import sys

import click

from instance_tool.console.options import REPORT_OUTPUT_OPTION
from instance_tool.console.output import ReportFormat
from instance_tool.eif.files import open_image
from instance_tool.eif.terminal import shown_progress
from nitro_attestation.image.description import describe_image, description_json, description_text
from vsock_wire.cli.settings import Settings, with_settings
from vsock_wire.errors import ExitCode


class DescribeSettings(Settings):
    """The options of ``describe``."""

    file: str
    output: str


@click.command()
@with_settings(DescribeSettings, click.argument("file", metavar="FILE"), REPORT_OUTPUT_OPTION)
def describe(settings: DescribeSettings) -> None:
    """Show the sections, metadata and measurements of an image file.

    Checks the CRC and, if the file is signed, the signature. The metadata is
    what the builder wrote; it is not measured, so anyone could have changed it.
    --output json prints what nitro-cli describe-eif would print.

    \b
    Example:
      kmstool-eif describe app.eif --output json > measurements.json
      kmstool-instance policy --measurements measurements.json ...

    Exit codes: 0 success, 1 the file is damaged or wrongly signed, 2 usage error.
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    with (
        open_image(settings.file) as image,
        shown_progress("measuring", image.size_bytes) as on_progress,
    ):
        description = describe_image(image, on_progress)
    is_json = settings.output == ReportFormat.JSON
    click.echo(description_json(description) if is_json else description_text(description))
    if not description.is_sound:
        sys.exit(ExitCode.FAILED)
