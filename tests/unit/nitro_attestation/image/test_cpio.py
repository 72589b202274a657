"""Ramdisks as they are written and read."""

from __future__ import annotations

from io import BytesIO

import pytest

from nitro_attestation.errors import ImageError
from nitro_attestation.image.cpio import CpioEntry, FileKind, Ramdisk, decode_ramdisk
from nitro_attestation.image.sources import BytesSource, StreamPart

ENTRIES = [
    CpioEntry(b"etc/", FileKind.FOLDER, 0o755, 1, 2, 3),
    CpioEntry(b"etc/a\xc3\xa4", FileKind.FILE, 0o4755, 10, 20, 0x7FFF_FFFF, BytesSource(b"hello")),
    CpioEntry(b"link", FileKind.SYMLINK, 0o777, content=BytesSource(b"etc/a")),
    CpioEntry(b"null", FileKind.CHARACTER_DEVICE, 0o666, device=(1, 3)),
    CpioEntry(b"disk", FileKind.BLOCK_DEVICE, 0o660, device=(8, 17)),
    CpioEntry(b"pipe", FileKind.FIFO, 0o600),
]


def encoded(*entries: CpioEntry) -> bytes:
    return b"".join(Ramdisk(entries).chunks())


def decoded(data: bytes) -> list[CpioEntry]:
    return list(decode_ramdisk(StreamPart(BytesIO(data), 0, len(data), "ramdisk")))


def fields(entry: CpioEntry) -> tuple[object, ...]:
    content = b"".join(entry.content.chunks())
    return entry.name, entry.kind, entry.mode, entry.uid, entry.gid, entry.time_s, content, entry.device


def test_entries_are_read_as_they_were_written() -> None:
    data = encoded(*ENTRIES)
    assert len(data) == Ramdisk(ENTRIES).size_bytes
    assert len(data) % 512 == 0
    assert [fields(entry) for entry in decoded(data)] == [fields(entry) for entry in ENTRIES]


def test_first_bytes_are_linuxkits() -> None:
    data = encoded(CpioEntry(b"rootfs", FileKind.FOLDER, 0o755, time_s=1_492_533_000))
    header = (
        "070701000002d1000041ed00000000000000000000000258f63f080000000000000003000000010000000000000000000000070000"
    )
    assert data.startswith(header.encode() + b"0000rootfs\0\0\0\0")
    trailer = (
        "070701000002d2000000000000000000000000000000010000000000000000000000030000000100000000000000000000000b00000000"
    )
    assert data[120:].rstrip(b"\0") == trailer.encode() + b"TRAILER!!!"


def test_inodes_count_up_from_the_first() -> None:
    assert [entry.inode for entry in decoded(encoded(*ENTRIES))] == [721, 722, 723, 724, 725, 726]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (CpioEntry(b"a", FileKind.FILE, 0o644, time_s=1 << 32), "does not fit"),
        (CpioEntry(b"a", FileKind.FILE, 0o644, time_s=-1), "does not fit"),
        (CpioEntry(b"a", FileKind.FILE, 0o644, uid=1 << 32), "does not fit"),
        (CpioEntry(b"a" * 4096, FileKind.FILE, 0o644), "a name in a ramdisk has 1 to 4095 bytes"),
        (CpioEntry(b"", FileKind.FILE, 0o644), "a name in a ramdisk has 1 to 4095 bytes"),
        (CpioEntry(b"a\0b", FileKind.FILE, 0o644), "without NUL"),
    ],
)
def test_entry_that_does_not_fit_is_refused(entry: CpioEntry, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        encoded(entry)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: b"\x1f\x8b" + data[2:], "no cpio entry at byte 0: the ramdisk is compressed, or damaged"),
        (lambda data: data[:10] + b"x" + data[11:], "no cpio entry at byte 0"),
        (lambda data: data[:100], "truncated"),
        (lambda data: data[:14] + b"0000c1ed" + data[22:], "unknown file type"),
        (lambda data: data[:94] + b"00000000" + data[102:], "a name of 0 bytes"),
        (lambda data: data[:94] + b"00001001" + data[102:], "a name of 4097 bytes"),
        (lambda data: data[:94] + b"00000003" + data[102:], "a name without an end"),
        (lambda data: data[:54] + b"ffffffff" + data[62:], "truncated"),
        (lambda data: data[:-512], "truncated"),
    ],
)
def test_damaged_archive_is_refused(change: object, reason: str) -> None:
    assert callable(change)
    with pytest.raises(ImageError, match=reason):
        decoded(change(encoded(*ENTRIES)))
