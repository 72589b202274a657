"""The format of a ramdisk: a cpio archive in the "newc" format that Linux unpacks at boot, as linuxkit writes it.

An entry is a header of HEADER_BYTES ASCII characters, the name and a NUL, and the content, each padded to 4 bytes. The
last entry is called TRAILER!!!. Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.

What this module always writes alike is linuxkit's choice, and part of PCR0: lower-case digits, inodes from FIRST_INODE,
2 links for a folder and 1 for anything else, the device 3:1, and an archive padded to 512 bytes.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from nitro_attestation.errors import ImageError
from nitro_attestation.image.sources import BytesSource, Source, StreamPart

MAGIC = b"070701"
HEADER_BYTES = 110
FIRST_INODE = 721
DEVICE = (3, 1)
TRAILER = b"TRAILER!!!"
FIELD_ALIGNMENT_BYTES = 4
ARCHIVE_ALIGNMENT_BYTES = 512
MAX_NAME_BYTES = 4_096
"""PATH_MAX of Linux, which refuses longer names."""
MAX_NUMBER = 0xFFFF_FFFF
"""A field has 8 hexadecimal digits."""
_FIELDS = 13


class FileKind(enum.IntEnum):
    """What an entry is; the value is the file type in its mode."""

    FIFO = 0o010000
    CHARACTER_DEVICE = 0o020000
    FOLDER = 0o040000
    BLOCK_DEVICE = 0o060000
    FILE = 0o100000
    SYMLINK = 0o120000


@dataclass(frozen=True)
class CpioEntry:
    """One entry of a ramdisk.

    Attributes:
        name: its path, without a leading slash.
        kind: what it is.
        mode: permissions with set-user-ID and the like, 12 bits.
        uid: number of its owner.
        gid: number of its group.
        time_s: last change, in seconds since 1970.
        content: data of a file or target of a symbolic link; empty for anything else.
        device: major and minor number of the device that it stands for.
        inode: its number in the archive; None until it is written.
    """

    name: bytes
    kind: FileKind
    mode: int
    uid: int = 0
    gid: int = 0
    time_s: int = 0
    content: Source = field(default_factory=lambda: BytesSource(b""))
    device: tuple[int, int] = (0, 0)
    inode: int | None = None


@dataclass(frozen=True)
class Ramdisk:
    """An archive of these entries, encoded while it is read."""

    entries: Sequence[CpioEntry]

    @property
    def size_bytes(self) -> int:
        """Size of the whole archive."""
        sizes = sum(_entry_bytes(len(entry.name), entry.content.size_bytes) for entry in self.entries)
        return _padded(sizes + _entry_bytes(len(TRAILER), 0), ARCHIVE_ALIGNMENT_BYTES)

    def chunks(self) -> Iterator[bytes]:
        """Yield the archive.

        Raises:
            ImageError: an entry cannot be encoded, or a content ends early.
            OSError: a content cannot be read.
        """
        done_bytes = 0
        for inode, entry in enumerate(self.entries, FIRST_INODE):
            size_bytes = entry.content.size_bytes
            yield _encode_header(entry, inode, size_bytes)
            yield from entry.content.chunks()
            yield bytes(-size_bytes % FIELD_ALIGNMENT_BYTES)
            done_bytes += _entry_bytes(len(entry.name), size_bytes)
        trailer = _encode_fields((FIRST_INODE + len(self.entries), 0, 0, 0, 1, 0, 0, *DEVICE, 0, 0), TRAILER)
        yield trailer
        yield bytes(-(done_bytes + len(trailer)) % ARCHIVE_ALIGNMENT_BYTES)


def _encode_header(entry: CpioEntry, inode: int, size_bytes: int) -> bytes:
    links = 2 if entry.kind is FileKind.FOLDER else 1
    numbers = (
        inode, entry.kind | entry.mode & 0o7777, entry.uid, entry.gid, links, entry.time_s, size_bytes, *DEVICE,
        *entry.device,
    )  # fmt: skip
    if not all(0 <= number <= MAX_NUMBER for number in numbers):
        raise ImageError(_shown(entry.name), "its size, time, owner or device does not fit into a ramdisk's 32 bits")
    if not 1 <= len(entry.name) < MAX_NAME_BYTES or b"\0" in entry.name:
        raise ImageError(_shown(entry.name), f"a name in a ramdisk has 1 to {MAX_NAME_BYTES - 1} bytes without NUL")
    return _encode_fields(numbers, entry.name)


def _encode_fields(numbers: Iterable[int], name: bytes) -> bytes:
    fields = "".join(f"{number:08x}" for number in (*numbers, len(name) + 1, 0)).encode("ascii")
    header = MAGIC + fields + name + b"\0"
    return header + bytes(-len(header) % FIELD_ALIGNMENT_BYTES)


def _entry_bytes(name_bytes: int, content_bytes: int) -> int:
    header_bytes = _padded(HEADER_BYTES + name_bytes + 1, FIELD_ALIGNMENT_BYTES)
    return header_bytes + _padded(content_bytes, FIELD_ALIGNMENT_BYTES)


def _padded(size_bytes: int, alignment_bytes: int) -> int:
    return size_bytes + -size_bytes % alignment_bytes


def decode_ramdisk(source: StreamPart) -> Iterator[CpioEntry]:
    """Yield the entries of an archive, without reading their contents.

    Args:
        source: the archive, uncompressed.

    Raises:
        ImageError: it is not such an archive, or is truncated; the error names the entry.
        OSError: it cannot be read.
    """
    offset = 0
    while True:
        numbers, name, data_offset = _decode_header(source, offset)
        inode, mode, uid, gid, _links, time_s, size_bytes, *devices = numbers
        offset = _padded(data_offset + size_bytes, FIELD_ALIGNMENT_BYTES)
        if name == TRAILER:
            return
        kind = mode & ~0o7777
        if kind not in set(FileKind):
            raise ImageError(source.name, f"{_shown(name)}: unknown file type {kind:#o}")
        if data_offset + size_bytes > source.size_bytes:
            raise ImageError(source.name, f"{_shown(name)}: truncated")
        content = StreamPart(source.stream, source.offset_bytes + data_offset, size_bytes, _shown(name))
        device = (devices[2], devices[3])
        yield CpioEntry(name, FileKind(kind), mode & 0o7777, uid, gid, time_s, content, device, inode)


def _decode_header(source: StreamPart, offset: int) -> tuple[list[int], bytes, int]:
    """Return the numbers of a header before the name's size, the name, and where the content begins."""
    header = _read(source, offset, HEADER_BYTES)
    digits = header[len(MAGIC) :]
    if header[: len(MAGIC)] != MAGIC or not set(digits) <= set(b"0123456789abcdefABCDEF"):
        raise ImageError(source.name, f"no cpio entry at byte {offset}: the ramdisk is compressed, or damaged")
    *numbers, name_bytes, _check = (int(digits[8 * index : 8 * index + 8], 16) for index in range(_FIELDS))
    if not 2 <= name_bytes <= MAX_NAME_BYTES:
        raise ImageError(source.name, f"the entry at byte {offset} has a name of {name_bytes} bytes")
    name = _read(source, offset + HEADER_BYTES, name_bytes)
    if name[-1:] != b"\0":
        raise ImageError(source.name, f"the entry at byte {offset} has a name without an end")
    return numbers, name[:-1], _padded(offset + HEADER_BYTES + name_bytes, FIELD_ALIGNMENT_BYTES)


def _read(source: StreamPart, offset: int, size_bytes: int) -> bytes:
    if offset + size_bytes > source.size_bytes:
        raise ImageError(source.name, f"truncated: it ends in the entry at byte {offset}")
    return b"".join(StreamPart(source.stream, source.offset_bytes + offset, size_bytes, source.name).chunks())


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
