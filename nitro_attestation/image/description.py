"""What an enclave image file is, as text and as the JSON that ``nitro-cli describe-eif`` prints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from nitro_attestation.errors import ImageError
from nitro_attestation.image.eif_format import Header, Section, SectionType
from nitro_attestation.image.measuring import SIGNER_PCR, ignore_progress, measure_image, signer_pcr
from nitro_attestation.image.metadata import Metadata, parse_metadata
from nitro_attestation.image.reading import ImageFile, parse_image
from nitro_attestation.image.signature import ImageSignature, parse_signature, verify_signature
from nitro_attestation.quoting import printable

HASH_ALGORITHM = "Sha384 { ... }"
"""The name of SHA-384 in nitro-cli's output, up to version 1.4.4."""


@dataclass(frozen=True)
class ImageDescription:
    """What a file says, and what was checked of it.

    Attributes:
        header: its header.
        sections: its sections, in the order of the file.
        pcrs: PCR0, PCR1, PCR2, and PCR8 if it is signed.
        is_crc_right: whether the CRC in the header is the file's.
        cmdline: the kernel's command line.
        metadata: what its builder said; None if it has no metadata.
        signature: None if it is not signed.
        signature_fault: why the signature proves nothing; None if it is right, or there is none.
    """

    header: Header
    sections: tuple[Section, ...]
    pcrs: dict[int, bytes]
    is_crc_right: bool
    cmdline: str
    metadata: Metadata | None
    signature: ImageSignature | None
    signature_fault: str | None

    @property
    def is_sound(self) -> bool:
        """Whether the CRC and the signature, if there is one, are right."""
        return self.is_crc_right and self.signature_fault is None

    @property
    def architecture(self) -> str:
        """Architecture of the kernel."""
        return "arm64" if self.header.is_arm64 else "x86_64"


def describe_image(image: ImageFile, on_progress: Callable[[int], None] = ignore_progress) -> ImageDescription:
    """Read a whole file once, measure it, and check its CRC and its signature.

    Args:
        image: the parsed file.
        on_progress: called with the number of bytes that have been read so far.

    Raises:
        ImageError: its metadata, signature or command line is malformed, or the file ends early.
        OSError: it cannot be read.
    """
    metadata, section = image.data(SectionType.METADATA), image.data(SectionType.SIGNATURE)
    measured = measure_image(image, on_progress)
    signature = None if section is None else parse_signature(section)
    pcrs = measured.pcrs | ({} if signature is None else {SIGNER_PCR: signer_pcr(signature.certificate_der)})
    return ImageDescription(
        header=image.header,
        sections=image.sections,
        pcrs=pcrs,
        is_crc_right=measured.crc32 == image.header.crc32,
        cmdline=_cmdline(image.data(SectionType.CMDLINE) or b""),
        metadata=None if metadata is None else parse_metadata(metadata),
        signature=signature,
        signature_fault=None if signature is None else _fault(signature, pcrs[0]),
    )


def read_measurements(image: ImageFile, on_progress: Callable[[int], None] = ignore_progress) -> dict[int, bytes]:
    """Return the PCRs of a file whose CRC and signature are right.

    Args:
        image: the parsed file.
        on_progress: called with the number of bytes that have been read so far.

    Raises:
        ImageError: the file is damaged, or its signature proves nothing.
        OSError: it cannot be read.
    """
    description = describe_image(image, on_progress)
    if not description.is_crc_right:
        raise ImageError("CRC", "the file is damaged: its CRC is not the one in its header")
    if description.signature_fault is not None:
        raise ImageError("signature", description.signature_fault)
    return description.pcrs


def _cmdline(data: bytes) -> str:
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise ImageError("cmdline", "not ASCII text") from None


def _fault(signature: ImageSignature, pcr0: bytes) -> str | None:
    try:
        verify_signature(signature, pcr0)
    except ImageError as error:
        return str(error)
    return None


def measure_image_file(stream: BinaryIO) -> dict[int, bytes]:
    """Return the PCRs of an enclave image file: PCR0, PCR1, PCR2, and PCR8 if it is signed.

    Whether the image is one to trust is the caller's question: anyone can make a file.

    Args:
        stream: the open file, seekable. It is read once, in pieces, so it may be larger than the memory.

    Raises:
        ImageError: it is not an enclave image file, is damaged, or its signature proves nothing.
        OSError: it cannot be read.
    """
    return read_measurements(parse_image(stream))


def measurements_json(pcrs: dict[int, bytes]) -> str:
    """Return measurements as ``nitro-cli build-enclave`` prints them."""
    return json.dumps({"Measurements": _measurements(pcrs)}, indent=2)


def description_json(description: ImageDescription) -> str:
    """Return a description in the shape of ``nitro-cli describe-eif``; parse_measurements reads it."""
    value: dict[str, Any] = {
        "EifVersion": description.header.version,
        "Measurements": _measurements(description.pcrs),
        "IsSigned": description.signature is not None,
    }
    if description.signature is not None:
        value["SigningCertificate"] = _certificate(description.signature)
    value["CheckCRC"] = description.is_crc_right
    if description.signature is not None:
        value["SignatureCheck"] = description.signature_fault is None
    metadata = description.metadata
    if metadata is not None:
        fields = {**metadata.build_fields(), "DockerInfo": metadata.docker_info}
        fields |= {"CustomMetadata": metadata.custom} if metadata.custom is not None else {}
        value |= {"ImageName": metadata.name, "ImageVersion": metadata.version, "Metadata": fields}
    return json.dumps(value, indent=2)


def _measurements(pcrs: dict[int, bytes]) -> dict[str, str]:
    return {"HashAlgorithm": HASH_ALGORITHM} | {f"PCR{index}": pcr.hex() for index, pcr in sorted(pcrs.items())}


def _certificate(signature: ImageSignature) -> dict[str, Any]:
    certificate = signature.certificate
    return {
        "IssuerName": {attribute.oid._name: str(attribute.value) for attribute in certificate.issuer},
        "Algorithm": certificate.signature_algorithm_oid._name,
        "NotBefore": f"{certificate.not_valid_before_utc:%b %e %H:%M:%S %Y} GMT",
        "NotAfter": f"{certificate.not_valid_after_utc:%b %e %H:%M:%S %Y} GMT",
        "Signature": certificate.signature.hex(":").upper(),
    }


def description_text(description: ImageDescription) -> str:
    """Return a description for people."""
    return "\n".join(f"{name:<12} {value}" for name, value in _lines(description))


def _lines(description: ImageDescription) -> Iterator[tuple[str, str]]:
    header, metadata = description.header, description.metadata
    yield "format", f"version {header.version}, for {description.architecture}"
    yield "CRC", "right" if description.is_crc_right else "WRONG: the file is damaged"
    for index, section in enumerate(description.sections):
        yield f"section {index}", f"{section.type.name.lower():<9} {section.size_bytes:>13,} bytes"
    yield "cmdline", printable(description.cmdline)
    if metadata is not None:
        yield "name", printable(metadata.name)
        yield "version", printable(metadata.version)
        yield "built", printable(f"{metadata.build_time} by {metadata.build_tool} {metadata.build_tool_version}")
        yield "kernel", printable(f"{metadata.operating_system} {metadata.kernel_version}")
    yield "signed", _signature_text(description)
    for index, pcr in sorted(description.pcrs.items()):
        yield f"PCR{index}", pcr.hex()


def _signature_text(description: ImageDescription) -> str:
    if description.signature is None:
        return "no"
    subject = printable(description.signature.certificate.subject.rfc4514_string())
    if description.signature_fault is not None:
        return f"WRONG, by {subject}: {description.signature_fault}"
    return f"by {subject}"
