"""The command that writes the key policy for enclave image files."""

from __future__ import annotations

import click

from instance_tool.commands.policy import POLICY_OPTIONS, PolicyRoleSettings, print_policy
from instance_tool.console.reports import attestation_errors_reported
from instance_tool.eif.files import open_image
from instance_tool.eif.terminal import shown_progress
from nitro_attestation.image.description import read_measurements
from nitro_attestation.measurements import identifying_pcrs, parse_pcr_options
from vsock_wire.cli.settings import with_settings


class ImagePolicySettings(PolicyRoleSettings):
    """The options of ``policy``."""

    files: tuple[str, ...]


@click.command()
@with_settings(
    ImagePolicySettings,
    click.argument("files", nargs=-1, required=True, metavar="FILE..."),
    *POLICY_OPTIONS,
)
@attestation_errors_reported()
def policy(settings: ImagePolicySettings) -> None:
    """Print a key policy that lets only the enclaves of these files use a key.

    Measures each image file, and writes the policy that kmstool-instance policy
    would write for its measurements. During a rolling change, name the old and
    the new file.

    \b
    Example:
      kmstool-eif policy app.eif \\
          --role arn:aws:iam::111122223333:role/Instance \\
          --admin arn:aws:iam::111122223333:role/KeyAdministrator > policy.json

    Exit codes: 0 success, 1 a file is damaged or wrongly signed, 2 usage error.
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    given = parse_pcr_options(settings.pcr)
    print_policy(settings, [identifying_pcrs(_measure(path), given) for path in settings.files])


def _measure(path: str) -> dict[int, bytes]:
    with (
        open_image(path) as image,
        shown_progress("measuring", image.size_bytes) as on_progress,
    ):
        return read_measurements(image, on_progress)
