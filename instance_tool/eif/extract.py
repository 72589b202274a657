"""The command that takes an enclave image file apart."""

from __future__ import annotations

from pathlib import Path

import click
from cryptography.hazmat.primitives.serialization import Encoding

from instance_tool.eif.files import open_image, replaced_file
from nitro_attestation.image.eif_format import SectionType
from nitro_attestation.image.reading import ImageFile
from nitro_attestation.image.signature import parse_signature
from vsock_wire.cli.settings import Settings, with_settings
from vsock_wire.errors import InputError

_NAMES = {
    SectionType.KERNEL: "kernel",
    SectionType.CMDLINE: "cmdline",
    SectionType.METADATA: "metadata.json",
    SectionType.SIGNATURE: "signature.cbor",
}


class ExtractSettings(Settings):
    """The options of ``extract``."""

    file: str
    to: str


@click.command()
@with_settings(
    ExtractSettings,
    click.argument("file", metavar="FILE"),
    click.option("--to", required=True, metavar="FOLDER", help="Where to write the parts; made if it does not exist."),
)
def extract(settings: ExtractSettings) -> None:
    """Write the parts of an image file to a folder, and print their names.

    These are kernel, cmdline, metadata.json, ramdisk1.cpio, ramdisk2.cpio, and
    for a signed image signature.cbor and certificate.pem. cpio -t lists what
    is in a ramdisk.

    \b
    Example:
      kmstool-eif extract app.eif --to parts
      cpio -t < parts/ramdisk2.cpio

    Exit codes: 0 success, 1 failure, 2 usage error.
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    folder = Path(settings.to)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--to: {folder}: {(error.strerror or str(error)).lower()}") from None
    with open_image(settings.file) as image:
        _extract(image, folder)


def _extract(image: ImageFile, folder: Path) -> None:
    ramdisks = image.sections_of(SectionType.RAMDISK)
    for section in image.sections:
        name = _NAMES.get(section.type) or f"ramdisk{ramdisks.index(section) + 1}.cpio"
        with replaced_file(str(folder / name)) as file:
            for chunk in image.source(section).chunks():
                file.write(chunk)
        click.echo(folder / name)
    signature = image.data(SectionType.SIGNATURE)
    if signature is not None:
        certificate = folder / "certificate.pem"
        with replaced_file(str(certificate)) as file:
            file.write(parse_signature(signature).certificate.public_bytes(Encoding.PEM))
        click.echo(certificate)
