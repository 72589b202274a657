"""Reads an enclave image file: where its sections are, and their data."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import BinaryIO

from nitro_attestation.errors import ImageError
from nitro_attestation.image.eif_format import (
    HEADER_BYTES,
    SECTION_HEADER_BYTES,
    Header,
    Section,
    SectionType,
    decode_header,
    decode_section_header,
    verify_order,
)
from nitro_attestation.image.sources import StreamPart

MAX_CMDLINE_BYTES = 4_096
"""Linux reads 2,048 bytes of a command line on x86_64 and arm64 (COMMAND_LINE_SIZE)."""
MAX_METADATA_BYTES = 4 << 20
"""Metadata holds what ``docker inspect`` prints, a few KiB; nothing limits it in the format."""
MAX_SIGNATURE_BYTES = 1 << 18
"""A certificate and a signature, each written as an array of integers: a few KiB."""
_IN_MEMORY_BYTES = {
    SectionType.CMDLINE: MAX_CMDLINE_BYTES,
    SectionType.METADATA: MAX_METADATA_BYTES,
    SectionType.SIGNATURE: MAX_SIGNATURE_BYTES,
}


@dataclass(frozen=True)
class ImageFile:
    """An enclave image file whose structure has been checked.

    Attributes:
        stream: the open file.
        header: its header.
        sections: its sections, in the order of the file.
    """

    stream: BinaryIO
    header: Header
    sections: tuple[Section, ...]

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return self.sections[-1].end_bytes

    def sections_of(self, type_: SectionType) -> tuple[Section, ...]:
        """Return the sections of one type, in the order of the file."""
        return tuple(section for section in self.sections if section.type is type_)

    def source(self, section: Section) -> StreamPart:
        """Return the data of a section, to be read in pieces."""
        name = f"section {self.sections.index(section)} ({section.type.name.lower()})"
        return StreamPart(self.stream, section.data_offset_bytes, section.size_bytes, name)

    def data(self, type_: SectionType) -> bytes | None:
        """Return the data of the one section of a type that is read as a whole; None if there is no such section.

        Raises:
            ImageError: it is longer than what is read into memory.
        """
        for section in self.sections_of(type_):
            if section.size_bytes > _IN_MEMORY_BYTES[type_]:
                raise ImageError(
                    type_.name.lower(), f"{section.size_bytes} bytes; at most {_IN_MEMORY_BYTES[type_]} are read"
                )
            return b"".join(self.source(section).chunks())
        return None


def parse_image(stream: BinaryIO) -> ImageFile:
    """Parse the structure of an enclave image file.

    Does not check the CRC or the signature: ``measure_image`` and ``verify_signature`` do.

    Args:
        stream: the open file, seekable.

    Raises:
        ImageError: it is not an enclave image file, or its header contradicts its sections; the error names the field.
        OSError: it cannot be read.
    """
    size_bytes = stream.seek(0, io.SEEK_END)
    header = decode_header(_read_at(stream, 0, HEADER_BYTES))
    sections: list[Section] = []
    offset = HEADER_BYTES
    for index in range(len(header.section_offsets)):
        section = decode_section_header(
            _read_at(stream, offset, SECTION_HEADER_BYTES), index=index, offset_bytes=offset
        )
        _verify_place(header, section, index, size_bytes)
        sections.append(section)
        offset = section.end_bytes
    if offset != size_bytes:
        raise ImageError(
            "section count", f"the file has {size_bytes - offset} more bytes after its {len(sections)} sections"
        )
    verify_order(header.version, [section.type for section in sections])
    return ImageFile(stream, header, tuple(sections))


def _verify_place(header: Header, section: Section, index: int, file_bytes: int) -> None:
    if header.section_offsets[index] != section.offset_bytes:
        raise ImageError(
            f"section {index}: offset",
            f"the header says {header.section_offsets[index]}, but the section begins at {section.offset_bytes}",
        )
    if header.section_sizes[index] != section.size_bytes:
        raise ImageError(
            f"section {index}: size",
            f"the file's header says {header.section_sizes[index]}, the section's own {section.size_bytes}",
        )
    if section.end_bytes > file_bytes:
        raise ImageError(f"section {index}", f"truncated: {section.end_bytes - file_bytes} bytes are missing")


def _read_at(stream: BinaryIO, offset: int, size_bytes: int) -> bytes:
    stream.seek(offset)
    return stream.read(size_bytes)
