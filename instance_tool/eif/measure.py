"""The command that computes the measurements of an image without writing it."""

from __future__ import annotations

import click

from instance_tool.eif.assembly import ASSEMBLY_OPTIONS, AssemblySettings, assembled_parts
from instance_tool.eif.files import image_errors_reported
from instance_tool.eif.terminal import report_warnings, shown_progress
from nitro_attestation.image.description import measurements_json
from nitro_attestation.image.measuring import measure_parts
from vsock_wire.cli.settings import with_settings


@click.command()
@with_settings(AssemblySettings, *ASSEMBLY_OPTIONS)
def measure(settings: AssemblySettings) -> None:
    """Print the measurements that build would print, without writing a file.

    IMAGE and the options are those of build. PCR8 is not among them, because it
    depends on the signing certificate alone.

    \b
    Example:
      kmstool-eif measure app.tar > measurements.json

    Exit codes: 0 success, 1 failure, 2 usage error.
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    with image_errors_reported(settings.source), assembled_parts(settings) as (parts, warnings):
        report_warnings(warnings)
        sections = list(parts.sections())
        total_bytes = sum(source.size_bytes for _, source in sections)
        with shown_progress("measuring", total_bytes) as on_progress:
            pcrs = measure_parts(sections, on_progress)
    click.echo(measurements_json(pcrs))
