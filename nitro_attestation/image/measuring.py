"""The measurements of an enclave image: PCR0, PCR1, PCR2 and PCR8.

A PCR starts as 48 zero bytes and is extended once, by the SHA-384 of what it measures:
``PCR = SHA384(zeros || SHA384(data))``. The data of the sections is measured, without their headers. Metadata, the
signature and the header are not: two files with the same PCRs may differ in them.

Source: AWS Nitro Enclaves user guide, "Cryptographic attestation", and aws-nitro-enclaves-image-format.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nitro_attestation.image.eif_format import (
    CRC_BYTES,
    HEADER_BYTES,
    SectionType,
    encode_header,
    encode_section_header,
)
from nitro_attestation.image.reading import ImageFile
from nitro_attestation.image.sources import Source

PCR_BYTES = 48
IMAGE_PCR, KERNEL_PCR, APPLICATION_PCR, SIGNER_PCR = 0, 1, 2, 8


def ignore_progress(_done_bytes: int) -> None:
    """Take a progress report and do nothing with it."""


class ImageHasher:
    """Computes PCR0, PCR1 and PCR2 from the data of the sections, given in the order of the file."""

    def __init__(self) -> None:
        self._image, self._kernel, self._application = (hashlib.sha384() for _ in range(3))
        self._current: tuple[hashlib._Hash, ...] = ()
        self._ramdisks = 0

    def begin(self, type_: SectionType) -> None:
        """Begin a section. The data of a section that is not measured, such as metadata, changes nothing."""
        if type_ in (SectionType.KERNEL, SectionType.CMDLINE):
            self._current = self._image, self._kernel
        elif type_ is SectionType.RAMDISK:
            self._current = self._image, self._application if self._ramdisks else self._kernel
            self._ramdisks += 1
        else:
            self._current = ()

    def update(self, chunk: bytes) -> None:
        """Add data to the section that began last."""
        for digest in self._current:
            digest.update(chunk)

    def pcrs(self) -> dict[int, bytes]:
        """Return PCR0, PCR1 and PCR2 of what was added so far."""
        digests = {IMAGE_PCR: self._image, KERNEL_PCR: self._kernel, APPLICATION_PCR: self._application}
        return {index: _extend(digest.digest()) for index, digest in digests.items()}


def signer_pcr(certificate_der: bytes) -> bytes:
    """Return PCR8 of an image that was signed with this certificate."""
    return _extend(hashlib.sha384(certificate_der).digest())


def text_pcr(text: str) -> bytes:
    """Return PCR3 or PCR4 for a role's ARN or an instance's id: these hash the ASCII text itself, not its digest."""
    return _extend(text.encode("ascii"))


def _extend(data: bytes) -> bytes:
    return hashlib.sha384(bytes(PCR_BYTES) + data).digest()


@dataclass(frozen=True)
class MeasuredImage:
    """What one pass over a file computes.

    Attributes:
        pcrs: PCR0, PCR1 and PCR2.
        crc32: of the file, to be compared with its header's.
    """

    pcrs: dict[int, bytes]
    crc32: int


def measure_image(image: ImageFile, on_progress: Callable[[int], None] = ignore_progress) -> MeasuredImage:
    """Read a file once, and return its measurements and its CRC.

    Args:
        image: the parsed file.
        on_progress: called with the number of bytes that have been read so far.

    Raises:
        ImageError: the file ends early.
        OSError: it cannot be read.
    """
    hasher = ImageHasher()
    crc32 = zlib.crc32(encode_header(image.header)[:-CRC_BYTES])
    done_bytes = HEADER_BYTES
    for section in image.sections:
        hasher.begin(section.type)
        crc32 = zlib.crc32(encode_section_header(section.type, section.size_bytes), crc32)
        for chunk in image.source(section).chunks():
            hasher.update(chunk)
            crc32 = zlib.crc32(chunk, crc32)
            done_bytes += len(chunk)
            on_progress(done_bytes)
    return MeasuredImage(hasher.pcrs(), crc32)


def measure_parts(
    parts: Iterable[tuple[SectionType, Source]], on_progress: Callable[[int], None] = ignore_progress
) -> dict[int, bytes]:
    """Return PCR0, PCR1 and PCR2 of an image with these sections, in this order, without writing it.

    Args:
        parts: the type of each section, and its data.
        on_progress: called with the number of bytes that have been read so far.

    Raises:
        ImageError: a part ends early.
        OSError: a part cannot be read.
    """
    hasher = ImageHasher()
    done_bytes = 0
    for type_, source in parts:
        hasher.begin(type_)
        for chunk in source.chunks():
            hasher.update(chunk)
            done_bytes += len(chunk)
            on_progress(done_bytes)
    return hasher.pcrs()
