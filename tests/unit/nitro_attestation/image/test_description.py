"""What an image file is, in nitro-cli's shape and as text."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from io import BytesIO

import pytest

from nitro_attestation.errors import ImageError, MeasurementError
from nitro_attestation.image.description import (
    ImageDescription,
    describe_image,
    description_json,
    description_text,
    measurements_json,
    read_measurements,
)
from nitro_attestation.image.measuring import measure_parts, signer_pcr, text_pcr
from nitro_attestation.image.metadata import parse_kernel_config, parse_metadata
from nitro_attestation.image.reading import parse_image
from nitro_attestation.image.signature import certificate_der
from nitro_attestation.measurements import parse_measurements
from tests.support.images.image_files import METADATA, PARTS, image_bytes, signing_key, with_right_crc

KEY = signing_key()
KERNEL, CMDLINE, FIRST, SECOND = b"kernel" * 100, b"reboot=k panic=30", b"first" * 50, b"second" * 70


def described(data: bytes) -> ImageDescription:
    return describe_image(parse_image(BytesIO(data)))


def extended(data: bytes) -> bytes:
    return hashlib.sha384(bytes(48) + hashlib.sha384(data).digest()).digest()


def test_pcrs_are_of_the_data_of_the_sections() -> None:
    assert described(image_bytes()).pcrs == {
        0: extended(KERNEL + CMDLINE + FIRST + SECOND),
        1: extended(KERNEL + CMDLINE + FIRST),
        2: extended(SECOND),
    }


def test_measuring_parts_gives_what_the_written_file_has() -> None:
    assert measure_parts(PARTS.sections()) == described(image_bytes()).pcrs


def test_metadata_and_architecture_are_not_measured() -> None:
    other = replace(PARTS, metadata=PARTS.metadata.replace(b"app", b"abb"), is_arm64=True)
    assert described(image_bytes(other)).pcrs == described(image_bytes()).pcrs


@pytest.mark.parametrize("name", ["kernel", "cmdline", "ramdisks"])
def test_one_changed_byte_of_anything_measured_changes_pcr0(name: str) -> None:
    changed = {
        "kernel": replace(PARTS, kernel=PARTS.ramdisks[0]),
        "cmdline": replace(PARTS, cmdline="reboot=k panic=31"),
        "ramdisks": replace(PARTS, ramdisks=(PARTS.ramdisks[0], PARTS.ramdisks[0])),
    }[name]
    assert described(image_bytes(changed)).pcrs[0] != described(image_bytes()).pcrs[0]


def test_role_and_instance_are_hashed_without_an_inner_digest() -> None:
    arn = "arn:aws:iam::111122223333:role/Instance"
    assert text_pcr(arn) == hashlib.sha384(bytes(48) + arn.encode()).digest()


def test_json_is_what_parse_measurements_reads() -> None:
    description = described(image_bytes(key=KEY))
    assert parse_measurements(description_json(description).encode()) == description.pcrs
    assert parse_measurements(measurements_json(description.pcrs).encode()) == description.pcrs


def test_json_has_nitro_clis_members_in_its_order() -> None:
    value = json.loads(description_json(described(image_bytes(key=KEY))))
    assert list(value) == [
        "EifVersion", "Measurements", "IsSigned", "SigningCertificate", "CheckCRC", "SignatureCheck", "ImageName",
        "ImageVersion", "Metadata",
    ]  # fmt: skip
    assert list(value["Metadata"]) == [
        "BuildTime", "BuildTool", "BuildToolVersion", "OperatingSystem", "KernelVersion", "DockerInfo",
    ]  # fmt: skip
    assert value["SigningCertificate"]["IssuerName"] == {"commonName": "signer"}
    assert value["SigningCertificate"]["NotBefore"] == "Jan  1 00:00:00 2026 GMT"


def test_unsigned_file_has_no_members_about_a_signature() -> None:
    value = json.loads(description_json(described(image_bytes())))
    assert value["IsSigned"] is False
    assert {"SigningCertificate", "SignatureCheck"} & value.keys() == set()


def test_pcr8_is_of_the_signer() -> None:
    assert described(image_bytes(key=KEY)).pcrs[8] == signer_pcr(certificate_der(KEY.certificate_pem))


def test_damaged_file_is_described_and_gives_no_measurements() -> None:
    data = bytearray(image_bytes())
    data[-1] ^= 1
    description = described(bytes(data))
    assert not description.is_sound
    assert "CRC          WRONG: the file is damaged" in description_text(description)
    with pytest.raises(MeasurementError, match=r"CheckCRC"):
        parse_measurements(description_json(description).encode())
    with pytest.raises(ImageError, match=r"^CRC: the file is damaged"):
        read_measurements(parse_image(BytesIO(bytes(data))))


def test_image_changed_after_it_was_signed_is_described_and_gives_no_measurements() -> None:
    data = bytearray(image_bytes(key=KEY))
    data[600] ^= 1
    changed = with_right_crc(bytes(data))
    description = described(changed)
    assert description.is_crc_right
    assert not description.is_sound
    assert "signed       WRONG, by CN=signer: signature: payload: signed for another PCR0" in description_text(
        description
    )
    with pytest.raises(MeasurementError, match=r"SignatureCheck"):
        parse_measurements(description_json(description).encode())
    with pytest.raises(ImageError, match=r"^signature: .*signed for another PCR0"):
        read_measurements(parse_image(BytesIO(changed)))


def test_text_escapes_what_the_builder_wrote() -> None:
    metadata = PARTS.metadata.replace(b'"app"', b'"\\u001b[2Japp"')
    assert "name         \\x1b[2Japp" in description_text(described(image_bytes(replace(PARTS, metadata=metadata))))


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (b"\xff", "metadata"),
        (b"[]", "metadata"),
        (b"{}", "metadata: BuildMetadata"),
        (PARTS.metadata.replace(b'"1.0"', b"1"), "metadata: ImageVersion"),
        (PARTS.metadata.replace(b"KernelVersion", b"Kernel"), "metadata: KernelVersion"),
    ],
)
def test_malformed_metadata_is_refused_by_its_field(text: bytes, field: str) -> None:
    with pytest.raises(ImageError) as raised:
        described(image_bytes(replace(PARTS, metadata=text)))
    assert raised.value.field == field


def test_metadata_is_read_as_it_was_written() -> None:
    assert parse_metadata(PARTS.metadata) == METADATA


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "#\n# Automatically generated\n# Linux/x86_64 4.14.177-104.253.amzn2.x86_64 Kernel Configuration\n",
            ("Linux", "4.14.177"),
        ),
        ("# Linux/arm64 6.1.102 Kernel Configuration\n", ("Linux", "6.1.102")),
        ("CONFIG_A=y\n", ("Unknown", "Unknown")),
    ],
)
def test_kernel_is_named_by_its_configuration(text: str, expected: tuple[str, str]) -> None:
    assert parse_kernel_config(text) == expected
