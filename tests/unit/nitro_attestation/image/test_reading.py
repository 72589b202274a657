"""Enclave image files as they are parsed, and which changes of one byte are refused."""

from __future__ import annotations

from io import BytesIO

import pytest

from nitro_attestation.errors import ImageError
from nitro_attestation.image.eif_format import HEADER_BYTES, SECTION_HEADER_BYTES, SectionType
from nitro_attestation.image.measuring import measure_image
from nitro_attestation.image.reading import MAX_CMDLINE_BYTES, ImageFile, parse_image
from nitro_attestation.image.sources import BytesSource
from nitro_attestation.image.writing import ImageParts, write_image
from tests.support.images.image_files import PARTS, image_bytes, signing_key, with_right_crc

IMAGE = image_bytes()
CRC_OFFSET = 544
FIELDS = {
    range(4): "magic",
    range(4, 6): "version",
    range(6, 8): "flags",
    range(24, 26): "reserved",
    range(26, 28): "section count",
    range(28, 68): "section {index}: offset",
    range(68, 284): "section offsets",
    range(284, 324): "section {index}: size",
    range(324, 540): "section sizes",
    range(540, 544): "unused",
}
"""What an error names when a byte of the header is changed. Memory and processors (8 to 23) may have any value."""
MUTATIONS = [(offset, field) for offsets, field in FIELDS.items() for offset in offsets]


def parsed(data: bytes) -> ImageFile:
    return parse_image(BytesIO(data))


def flipped(offset: int) -> bytes:
    return with_right_crc(IMAGE[:offset] + bytes([IMAGE[offset] ^ 0x80]) + IMAGE[offset + 1 :])


def test_sections_are_where_the_header_says() -> None:
    image = parsed(IMAGE)
    assert [section.type.name for section in image.sections] == ["KERNEL", "CMDLINE", "METADATA", "RAMDISK", "RAMDISK"]
    assert image.sections[0].offset_bytes == HEADER_BYTES
    assert image.size_bytes == len(IMAGE)
    assert image.data(SectionType.CMDLINE) == b"reboot=k panic=30"
    assert image.data(SectionType.SIGNATURE) is None
    ramdisks = [b"".join(image.source(section).chunks()) for section in image.sections_of(SectionType.RAMDISK)]
    assert ramdisks == [b"first" * 50, b"second" * 70]


@pytest.mark.parametrize(("offset", "field"), MUTATIONS)
def test_changed_byte_of_the_header_is_refused_by_its_field(offset: int, field: str) -> None:
    index = (offset - 28) // 8 % 32
    with pytest.raises(ImageError) as raised:
        parsed(flipped(offset))
    assert raised.value.field == field.format(index=index)


@pytest.mark.parametrize("index", range(5))
@pytest.mark.parametrize(
    ("place", "field"), [(0, "type"), (1, "type"), (2, "flags"), (3, "flags"), (4, "size"), (11, "size")]
)
def test_changed_byte_of_a_section_header_is_refused_by_its_field(index: int, place: int, field: str) -> None:
    offset = parsed(IMAGE).sections[index].offset_bytes + place
    with pytest.raises(ImageError) as raised:
        parsed(flipped(offset))
    assert raised.value.field == f"section {index}: {field}"


@pytest.mark.parametrize(
    "offset", [*range(8, 24), CRC_OFFSET, CRC_OFFSET + 3, *range(HEADER_BYTES + 12, len(IMAGE), 97)]
)
def test_changed_byte_of_anything_else_changes_the_crc(offset: int) -> None:
    image = parsed(IMAGE)
    changed = IMAGE[:offset] + bytes([IMAGE[offset] ^ 0x80]) + IMAGE[offset + 1 :]
    headers = {section.offset_bytes + place for section in image.sections for place in range(SECTION_HEADER_BYTES)}
    if offset in headers:
        pytest.fail("the test below covers the headers of the sections")
    damaged = parsed(changed)
    assert measure_image(damaged).crc32 != damaged.header.crc32
    assert measure_image(image).crc32 == image.header.crc32


@pytest.mark.parametrize("size", [0, 3, 4, 547, 548, 559, 600, len(IMAGE) - 1])
def test_truncated_file_is_refused(size: int) -> None:
    with pytest.raises(ImageError, match=r"magic|truncated"):
        parsed(IMAGE[:size])


def test_bytes_after_the_last_section_are_refused() -> None:
    with pytest.raises(ImageError, match=r"^section count: the file has 3 more bytes after its 5 sections$"):
        parsed(with_right_crc(IMAGE + b"abc"))


def test_signature_is_the_last_section() -> None:
    image = parsed(image_bytes(key=signing_key()))
    assert image.sections[-1].type is SectionType.SIGNATURE


def test_older_file_with_a_newer_section_is_refused() -> None:
    with pytest.raises(ImageError, match=r"^version: version 3 has no metadata section, but the file has one$"):
        parsed(with_right_crc(IMAGE[:4] + b"\0\3" + IMAGE[6:]))


def _reordered(types: list[int]) -> bytes:
    """Return a file whose sections claim these types."""
    data = bytearray(IMAGE)
    for section, type_ in zip(parsed(IMAGE).sections, types, strict=True):
        data[section.offset_bytes : section.offset_bytes + 2] = type_.to_bytes(2, "big")
    return with_right_crc(bytes(data))


@pytest.mark.parametrize(
    ("types", "reason"),
    [
        ([2, 1, 5, 3, 3], "the first two are not the kernel and its command line"),
        ([1, 3, 5, 3, 3], "the first two are not the kernel and its command line"),
        ([1, 2, 5, 4, 1], "there is no ramdisk"),
        ([1, 2, 5, 5, 3], "there is more than one metadata"),
        ([1, 2, 1, 3, 3], "there is more than one kernel"),
        ([1, 2, 4, 3, 3], "the signature is not the last one"),
    ],
)
def test_sections_in_another_order_are_refused(types: list[int], reason: str) -> None:
    with pytest.raises(ImageError, match=f"^sections: {reason}$"):
        parsed(_reordered(types))


def test_long_command_line_is_not_read_into_memory() -> None:
    file = BytesIO()
    write_image(file, ImageParts(PARTS.kernel, "x" * MAX_CMDLINE_BYTES, PARTS.metadata, PARTS.ramdisks))
    data = bytearray(file.getvalue())
    section = parsed(bytes(data)).sections[1]
    longer = MAX_CMDLINE_BYTES + 1
    data[section.data_offset_bytes : section.data_offset_bytes] = b"y"
    for offset in (section.offset_bytes + 4, 284 + 8):
        data[offset : offset + 8] = longer.to_bytes(8, "big")
    for place in range(28 + 16, 28 + 40, 8):
        data[place : place + 8] = (int.from_bytes(data[place : place + 8], "big") + 1).to_bytes(8, "big")
    image = parsed(with_right_crc(bytes(data)))
    with pytest.raises(ImageError, match=r"^cmdline: 4097 bytes; at most 4096 are read$"):
        image.data(SectionType.CMDLINE)


def test_size_that_changes_while_the_file_is_written_is_refused() -> None:
    class Growing(BytesSource):
        @property
        def size_bytes(self) -> int:
            return len(self.content) - 1

    with pytest.raises(ImageError, match=r"^kernel: its size changed while it was read$"):
        write_image(BytesIO(), ImageParts(Growing(b"kernel"), "", PARTS.metadata, PARTS.ramdisks))
