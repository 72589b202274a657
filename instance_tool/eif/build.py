"""The command that builds an enclave image file."""

from __future__ import annotations

import click

from instance_tool.eif.assembly import ASSEMBLY_OPTIONS, AssemblySettings, assembled_parts
from instance_tool.eif.files import image_errors_reported, replaced_file
from instance_tool.eif.terminal import report_warnings, shown_progress
from nitro_attestation.image.description import measurements_json
from nitro_attestation.image.measuring import PCR_BYTES, SIGNER_PCR, signer_pcr
from nitro_attestation.image.signature import certificate_der, sign_pcr0
from nitro_attestation.image.writing import Signer, write_image
from vsock_wire.cli.settings import with_settings
from vsock_wire.cli.streams import read_file
from vsock_wire.errors import InputError

MAX_PEM_BYTES = 65_536
"""Of a private key or a certificate; both are a few hundred bytes."""


class BuildSettings(AssemblySettings):
    """The options of ``build``."""

    out: str
    private_key: str | None
    signing_certificate: str | None


@click.command()
@with_settings(
    BuildSettings,
    *ASSEMBLY_OPTIONS,
    click.option("--out", required=True, metavar="FILE", help="Where to write the image file."),
    click.option("--private-key", metavar="FILE", help="Private key to sign with, in PEM."),
    click.option("--signing-certificate", metavar="FILE", help="Certificate of that key, in PEM; PCR8 measures it."),
)  # fmt: skip
def build(settings: BuildSettings) -> None:
    """Build an image file, and print its measurements as JSON.

    IMAGE is an archive from docker save, podman save or buildah push, or a
    folder that contains a root file system. The same IMAGE and the same files
    from AWS always give the same image file, with the PCR0 that nitro-cli would
    compute. --blobs names AWS's files: a kernel, cmdline, init and nsm.ko.

    The enclave starts CMD if the image has one, otherwise ENTRYPOINT.

    \b
    Examples:
      docker save app -o app.tar
      kmstool-eif build app.tar --out app.eif > measurements.json
      kmstool-eif build rootfs/ --arg /app/server --out app.eif

    Exit codes: 0 success, 1 failure, 2 usage error.
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    certificate, sign = _signer(settings)
    with image_errors_reported(settings.source), assembled_parts(settings) as (parts, warnings):
        report_warnings(warnings)
        total_bytes = sum(source.size_bytes for _, source in parts.sections())
        with replaced_file(settings.out) as stream, shown_progress("building", total_bytes) as on_progress:
            pcrs = write_image(stream, parts, sign=sign, on_progress=on_progress)
    if certificate is not None:
        pcrs[SIGNER_PCR] = signer_pcr(certificate_der(certificate))
    click.echo(measurements_json(pcrs))


def _signer(settings: BuildSettings) -> tuple[bytes | None, Signer | None]:
    """Return the certificate in PEM and what signs with its key; None twice for an unsigned image."""
    if settings.private_key is None and settings.signing_certificate is None:
        return None, None
    if settings.private_key is None or settings.signing_certificate is None:
        missing = "--private-key" if settings.private_key is None else "--signing-certificate"
        raise InputError(f"{missing} is missing: signing needs --private-key and --signing-certificate")
    key = read_file(settings.private_key, "private key", max_bytes=MAX_PEM_BYTES)
    certificate = read_file(settings.signing_certificate, "certificate", max_bytes=MAX_PEM_BYTES)
    with image_errors_reported(settings.signing_certificate):
        sign_pcr0(bytes(PCR_BYTES), key, certificate)  # so that a wrong key is found before the image is written
    return certificate, lambda pcr0: sign_pcr0(pcr0, key, certificate)
