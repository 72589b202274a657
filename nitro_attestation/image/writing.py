"""Writes an enclave image file.

The sections are written in one pass, because a ramdisk is encoded while it is written. The header and its CRC follow at
the end, when all sizes are known.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from nitro_attestation.errors import ImageError
from nitro_attestation.image.eif_format import (
    CRC_BYTES,
    CURRENT_VERSION,
    DEFAULT_CPUS,
    DEFAULT_MEMORY_BYTES,
    HEADER_BYTES,
    SECTION_HEADER_BYTES,
    Header,
    SectionType,
    encode_header,
    encode_section_header,
)
from nitro_attestation.image.measuring import ImageHasher, ignore_progress
from nitro_attestation.image.reading import MAX_CMDLINE_BYTES
from nitro_attestation.image.sources import CHUNK_BYTES, BytesSource, Source

Signer = Callable[[bytes], bytes]
"""Returns the signature section for a value of PCR0."""


@dataclass(frozen=True)
class ImageParts:
    """What an enclave image is made of.

    Attributes:
        kernel: a bzImage (x86_64) or Image (arm64).
        cmdline: the kernel's command line.
        metadata: see ``metadata``; it is not measured.
        ramdisks: AWS's first, then the application's.
        is_arm64: whether the kernel is for arm64.
    """

    kernel: Source
    cmdline: str
    metadata: bytes
    ramdisks: Sequence[Source]
    is_arm64: bool = False

    def sections(self) -> Iterator[tuple[SectionType, Source]]:
        """Yield the sections in the order of a file, without the signature.

        Raises:
            ImageError: the command line is not text that a kernel reads.
        """
        yield SectionType.KERNEL, self.kernel
        yield SectionType.CMDLINE, BytesSource(encode_cmdline(self.cmdline))
        yield SectionType.METADATA, BytesSource(self.metadata)
        for ramdisk in self.ramdisks:
            yield SectionType.RAMDISK, ramdisk


def encode_cmdline(cmdline: str) -> bytes:
    """Encode a kernel's command line, without white space around it, as nitro-cli does.

    Raises:
        ImageError: it has characters that are not printable ASCII, or is too long.
    """
    text = cmdline.strip()
    if not (text.isascii() and text.isprintable()) or len(text) > MAX_CMDLINE_BYTES:
        raise ImageError("command line", f"not one line of at most {MAX_CMDLINE_BYTES} printable ASCII characters")
    return text.encode("ascii")


def write_image(
    stream: BinaryIO,
    parts: ImageParts,
    *,
    sign: Signer | None = None,
    on_progress: Callable[[int], None] = ignore_progress,
) -> dict[int, bytes]:
    """Write an enclave image file.

    Args:
        stream: an empty file, opened for reading and writing.
        parts: what the image is made of.
        sign: signs PCR0; None leaves the image unsigned.
        on_progress: called with the number of bytes that have been written so far.

    Returns:
        PCR0, PCR1 and PCR2. PCR8 of a signed image depends on its certificate alone.

    Raises:
        ImageError: a part cannot be encoded, or ends early.
        OSError: the file cannot be written, or a part cannot be read.
    """
    hasher = ImageHasher()
    stream.seek(HEADER_BYTES)
    offsets, sizes = [], []
    for type_, source in parts.sections():
        offsets.append(stream.tell())
        sizes.append(source.size_bytes)
        stream.write(encode_section_header(type_, source.size_bytes))
        hasher.begin(type_)
        for chunk in source.chunks():
            hasher.update(chunk)
            stream.write(chunk)
            on_progress(stream.tell())
        if stream.tell() != offsets[-1] + SECTION_HEADER_BYTES + sizes[-1]:
            raise ImageError(type_.name.lower(), "its size changed while it was read")
    pcrs = hasher.pcrs()
    if sign is not None:
        signature = sign(pcrs[0])
        offsets.append(stream.tell())
        sizes.append(len(signature))
        stream.write(encode_section_header(SectionType.SIGNATURE, len(signature)) + signature)
    _write_header(stream, parts.is_arm64, tuple(offsets), tuple(sizes))
    return pcrs


def _write_header(stream: BinaryIO, is_arm64: bool, offsets: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    header = Header(CURRENT_VERSION, is_arm64, DEFAULT_MEMORY_BYTES, DEFAULT_CPUS, offsets, sizes, crc32=0)
    crc32 = zlib.crc32(encode_header(header)[:-CRC_BYTES])
    stream.seek(HEADER_BYTES)
    while chunk := stream.read(CHUNK_BYTES):
        crc32 = zlib.crc32(chunk, crc32)
    stream.seek(0)
    stream.write(encode_header(replace(header, crc32=crc32)))
