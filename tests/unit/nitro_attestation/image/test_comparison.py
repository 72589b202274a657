"""What two image files differ in."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import pytest

from nitro_attestation.image.comparison import compare_images
from nitro_attestation.image.cpio import CpioEntry, FileKind, Ramdisk
from nitro_attestation.image.reading import parse_image
from nitro_attestation.image.sources import BytesSource
from nitro_attestation.image.writing import ImageParts
from tests.support.images.image_files import PARTS, image_bytes, signing_key

FILE = CpioEntry(b"app", FileKind.FILE, 0o755, 1, 2, 3, BytesSource(b"code"))
OTHERS = (
    CpioEntry(b"etc/", FileKind.FOLDER, 0o755),
    CpioEntry(b"link", FileKind.SYMLINK, 0o777, content=BytesSource(b"app")),
)


def parts(*entries: CpioEntry) -> ImageParts:
    return replace(PARTS, ramdisks=(Ramdisk((FILE,)), Ramdisk(entries)))


def differences(first: bytes, second: bytes) -> list[str]:
    return list(compare_images(parse_image(BytesIO(first)), parse_image(BytesIO(second))))


def test_same_files_have_no_difference() -> None:
    assert differences(image_bytes(), image_bytes()) == []


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (replace(FILE, mode=0o4755), "app: mode: 0755, then 4755"),
        (replace(FILE, uid=7), "app: owner: 1:2, then 7:2"),
        (replace(FILE, gid=7), "app: owner: 1:2, then 1:7"),
        (replace(FILE, time_s=4), "app: time: 3, then 4"),
        (replace(FILE, content=BytesSource(b"c0de")), "app: content: 4 bytes, SHA-256"),
        (replace(FILE, kind=FileKind.FIFO, content=BytesSource(b"")), "app: type: file, then fifo"),
        (replace(FILE, device=(1, 3)), "app: device: 0:0, then 1:3"),
        (replace(FILE, name=b"app2"), "app: only in the first"),
    ],
)
def test_each_difference_of_a_file_is_named(changed: CpioEntry, line: str) -> None:
    found = differences(image_bytes(parts(FILE, *OTHERS)), image_bytes(parts(changed, *OTHERS)))
    assert found[0].startswith(f"section 4 (ramdisk): {line}")


def test_target_of_a_link_is_shown() -> None:
    other = replace(OTHERS[1], content=BytesSource(b"\x1b[2Jelsewhere"))
    found = differences(image_bytes(parts(*OTHERS)), image_bytes(parts(OTHERS[0], other)))
    assert found == ["section 4 (ramdisk): link: content: app, then \\x1b[2Jelsewhere"]


def test_order_alone_is_a_difference() -> None:
    found = differences(image_bytes(parts(FILE, *OTHERS)), image_bytes(parts(*OTHERS, FILE)))
    assert found == ["section 4 (ramdisk): the order of the entries, from app on"]


def test_second_entry_of_a_name_is_compared_with_the_second() -> None:
    twice = (FILE, replace(FILE, mode=0o700))
    found = differences(image_bytes(parts(*twice)), image_bytes(parts(FILE, FILE)))
    assert found == ["section 4 (ramdisk): app: mode: 0700, then 0755"]


def test_ramdisk_in_another_format_is_compared_as_a_whole() -> None:
    other = replace(PARTS, ramdisks=(PARTS.ramdisks[0], BytesSource(b"\x1f\x8bcompressed")))
    (line,) = differences(image_bytes(), image_bytes(other))
    assert line.startswith("section 4 (ramdisk): other content, which cannot be compared file by file: ")


def test_what_is_not_measured_is_said() -> None:
    (line,) = differences(image_bytes(), image_bytes(replace(PARTS, metadata=PARTS.metadata + b" ")))
    assert line.startswith("section 2 (metadata): other content, which is not measured: ")


def test_kernel_cmdline_architecture_and_signature_are_named() -> None:
    other = replace(PARTS, kernel=BytesSource(b"other"), cmdline="quiet", is_arm64=True)
    found = differences(image_bytes(), image_bytes(other, signing_key()))
    assert found == [
        "header: is_arm64: False, then True",
        "section 0 (kernel): other content: 600 bytes, then 5 bytes",
        "section 1 (cmdline): 'reboot=k panic=30', then 'quiet'",
        "section 5: none, then signature",
    ]
