"""The format of an enclave image file: its header and the headers of its sections, as bytes (pure).

All numbers are big-endian. A file is a header of HEADER_BYTES bytes, followed by sections without padding. Each section
is a header of SECTION_HEADER_BYTES bytes and its data. The file's header repeats where each section begins and how long
its data is, and ends with a CRC-32 of everything but itself.

Source: aws-nitro-enclaves-image-format, src/defs/mod.rs.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

from nitro_attestation.errors import ImageError

MAGIC = b".eif"
CURRENT_VERSION = 4
OLDEST_VERSION = 2
"""Version 1 has no CRC, so a damaged file cannot be told from a sound one."""
MAX_SECTIONS = 32
"""MAX_NUM_SECTIONS: how many the header has places for."""
ARM64_FLAG = 1
"""EIF_HDR_ARCH_ARM64. Clear for x86_64."""
DEFAULT_MEMORY_BYTES = 1 << 30
DEFAULT_CPUS = 2
"""What AWS's builder writes. run-enclave asks for both, so nothing reads them."""

_HEADER = struct.Struct(f">4sHHQQHH{MAX_SECTIONS}Q{MAX_SECTIONS}QII")
_SECTION_HEADER = struct.Struct(">HHQ")
HEADER_BYTES = _HEADER.size
SECTION_HEADER_BYTES = _SECTION_HEADER.size
CRC_BYTES = 4
"""Size of the CRC, the last field of the header."""


class SectionType(enum.IntEnum):
    """What a section contains."""

    KERNEL = 1
    CMDLINE = 2
    RAMDISK = 3
    SIGNATURE = 4
    METADATA = 5


_NEEDED_VERSION = {SectionType.SIGNATURE: 3, SectionType.METADATA: 4}


@dataclass(frozen=True)
class Section:
    """One section of a file.

    Attributes:
        type: what it contains.
        offset_bytes: where its header begins in the file. Its data follows the header.
        size_bytes: size of its data, without its header.
    """

    type: SectionType
    offset_bytes: int
    size_bytes: int

    @property
    def data_offset_bytes(self) -> int:
        """Where its data begins in the file."""
        return self.offset_bytes + SECTION_HEADER_BYTES

    @property
    def end_bytes(self) -> int:
        """Where the next section begins, or the file ends."""
        return self.data_offset_bytes + self.size_bytes


@dataclass(frozen=True)
class Header:
    """The header of a file.

    Attributes:
        version: of the format, from OLDEST_VERSION to CURRENT_VERSION.
        is_arm64: whether the kernel is for arm64, and not for x86_64.
        default_memory_bytes: memory of the enclave; nothing uses it.
        default_cpus: processors of the enclave; nothing uses it.
        section_offsets: where each section begins in the file.
        section_sizes: size of each section's data in bytes.
        crc32: of the whole file except these 4 bytes (zlib's CRC-32).
    """

    version: int
    is_arm64: bool
    default_memory_bytes: int
    default_cpus: int
    section_offsets: tuple[int, ...]
    section_sizes: tuple[int, ...]
    crc32: int


def decode_header(data: bytes) -> Header:
    """Decode the header of a file.

    Does not check the CRC or where the sections are.

    Args:
        data: the first HEADER_BYTES bytes of a file, or all of a shorter one.

    Raises:
        ImageError: it is not a header of a supported version; the error names the field.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise ImageError("magic", "not an enclave image file, which begins with .eif")
    if len(data) < HEADER_BYTES:
        raise ImageError("header", f"truncated: it has {HEADER_BYTES} bytes, the file {len(data)}")
    _, version, flags, memory, cpus, reserved, count, *rest = _HEADER.unpack(data[:HEADER_BYTES])
    offsets, sizes = rest[:MAX_SECTIONS], rest[MAX_SECTIONS : 2 * MAX_SECTIONS]
    unused, crc32 = rest[2 * MAX_SECTIONS :]
    if not OLDEST_VERSION <= version <= CURRENT_VERSION:
        raise ImageError(
            "version", f"unsupported version {version}; {OLDEST_VERSION} to {CURRENT_VERSION} are supported"
        )
    if flags & ~ARM64_FLAG:
        raise ImageError("flags", f"unknown flags {flags:#06x}; only {ARM64_FLAG:#06x} (arm64) has a meaning")
    if not 1 <= count <= MAX_SECTIONS:
        raise ImageError("section count", f"{count} sections; a file has 1 to {MAX_SECTIONS}")
    for name, value in (("reserved", reserved), ("unused", unused)):
        if value:
            raise ImageError(name, f"{value:#x}, but this field is always 0")
    for name, values in (("section offsets", offsets), ("section sizes", sizes)):
        if any(values[count:]):
            raise ImageError(name, f"more of them than the {count} sections of the file")
    return Header(version, bool(flags), memory, cpus, tuple(offsets[:count]), tuple(sizes[:count]), crc32)


def encode_header(header: Header) -> bytes:
    """Encode the header of a file, HEADER_BYTES bytes."""
    unused_places = (0,) * (MAX_SECTIONS - len(header.section_offsets))
    return _HEADER.pack(
        MAGIC,
        header.version,
        ARM64_FLAG if header.is_arm64 else 0,
        header.default_memory_bytes,
        header.default_cpus,
        0,
        len(header.section_offsets),
        *header.section_offsets,
        *unused_places,
        *header.section_sizes,
        *unused_places,
        0,
        header.crc32,
    )


def decode_section_header(data: bytes, *, index: int, offset_bytes: int) -> Section:
    """Decode the header of a section.

    Args:
        data: SECTION_HEADER_BYTES bytes, or fewer at the end of a truncated file.
        index: number of the section in the file, from 0.
        offset_bytes: where the header begins in the file.

    Raises:
        ImageError: it is not the header of a section; the error names the section and the field.
    """
    if len(data) != SECTION_HEADER_BYTES:
        raise ImageError(f"section {index}", "truncated: the file ends in its header")
    type_, flags, size_bytes = _SECTION_HEADER.unpack(data)
    if type_ not in set(SectionType):
        raise ImageError(f"section {index}: type", f"unknown type {type_}")
    if flags:
        raise ImageError(f"section {index}: flags", f"{flags:#06x}, but this field is always 0")
    return Section(SectionType(type_), offset_bytes, size_bytes)


def encode_section_header(type_: SectionType, size_bytes: int) -> bytes:
    """Encode the header of a section, SECTION_HEADER_BYTES bytes."""
    return _SECTION_HEADER.pack(type_, 0, size_bytes)


def verify_order(version: int, types: list[SectionType]) -> None:
    """Check that a file has the sections that an enclave needs, in an order that AWS's loader takes.

    Raises:
        ImageError: a section is missing, out of place, there twice, or newer than the version of the file.
    """
    if types[:2] != [SectionType.KERNEL, SectionType.CMDLINE]:
        raise ImageError("sections", "the first two are not the kernel and its command line")
    if SectionType.RAMDISK not in types:
        raise ImageError("sections", "there is no ramdisk")
    for type_ in set(SectionType) - {SectionType.RAMDISK}:
        if types.count(type_) > 1:
            raise ImageError("sections", f"there is more than one {type_.name.lower()}")
    if SectionType.SIGNATURE in types[:-1]:
        raise ImageError("sections", "the signature is not the last one")
    for type_, needed in _NEEDED_VERSION.items():
        if type_ in types and version < needed:
            raise ImageError("version", f"version {version} has no {type_.name.lower()} section, but the file has one")
