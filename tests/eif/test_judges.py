"""Enclave image files as AWS's own builder and parser see them.

``make eif-judges`` compiles both from Rust's crate registry into the folder that EIF_JUDGES names. Without them these
tests are skipped, unless REQUIRE_EIF_JUDGES=1 makes that a failure.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from nitro_attestation.image.container.archive import open_container_image
from nitro_attestation.image.container.engine import Engine
from nitro_attestation.image.cpio import Ramdisk
from nitro_attestation.image.description import description_json, measure_image_file
from nitro_attestation.image.eif_format import SectionType
from nitro_attestation.image.metadata import Metadata, encode_metadata
from nitro_attestation.image.ramdisks import container_ramdisk, init_ramdisk, start_command
from nitro_attestation.image.reading import ImageFile, parse_image
from nitro_attestation.image.signature import parse_signature
from nitro_attestation.image.sources import BytesSource
from nitro_attestation.image.writing import ImageParts
from tests.support.images.container_archives import Item, docker_archive, folder, layer
from tests.support.images.image_files import SigningKey, image_bytes, signing_key

JUDGES = Path(os.environ.get("EIF_JUDGES") or Path.home() / ".cache/nitro-kmstool/eif-judges-1").absolute() / "bin"
BUILDER, PARSER = JUDGES / "eif_build", JUDGES / "eif-judge"
BUILD_TIME = "2026-01-02T03:04:05+00:00"
CMDLINE = "reboot=k panic=30 pci=off nomodules console=ttyS0"

if not (BUILDER.exists() and PARSER.exists()):
    reason = f"{BUILDER.name} and {PARSER.name} are not in {JUDGES}: make eif-judges compiles them"
    if os.environ.get("REQUIRE_EIF_JUDGES") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)


@pytest.fixture(scope="module")
def ramdisk(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The second ramdisk of an image with a few files."""
    items = [folder("bin/"), Item("bin/app", mode=0o755, content=os.urandom(300_000)), Item("ä", content=b"x")]
    path = docker_archive(tmp_path_factory.mktemp("archive") / "app.tar", [layer(*items)], {"Cmd": ["/bin/app"]})
    with path.open("rb") as file, open_container_image(file) as image:
        return b"".join(container_ramdisk(image.root, start_command(image.start), Engine.DOCKER).chunks())


@pytest.fixture(scope="module")
def parts(ramdisk: bytes) -> ImageParts:
    first = init_ramdisk(BytesSource(b"init" * 999), BytesSource(b"driver" * 77))
    metadata = Metadata("kernel", "1.0", BUILD_TIME, "eif_build", "0.2.1", "OS", "kernel")
    return ImageParts(
        BytesSource(os.urandom(1_234_567)), CMDLINE, encode_metadata(metadata), (first, BytesSource(ramdisk))
    )


def built_by_aws(parts: ImageParts, folder: Path, key: SigningKey | None = None) -> tuple[bytes, dict[int, bytes]]:
    """Return what AWS's builder makes of the same parts, and the measurements that it prints."""
    options = ["--cmdline", parts.cmdline, "--build-time", BUILD_TIME, "--output", "aws.eif", "--kernel", "kernel"]
    (folder / "kernel").write_bytes(b"".join(parts.kernel.chunks()))
    for number, ramdisk in enumerate(parts.ramdisks, 1):
        (folder / f"ramdisk{number}").write_bytes(b"".join(ramdisk.chunks()))
        options += ["--ramdisk", f"ramdisk{number}"]
    if key is not None:
        (folder / "key.pem").write_bytes(key.private_key_pem)
        (folder / "certificate.pem").write_bytes(key.certificate_pem)
        options += ["--private-key", "key.pem", "--signing-certificate", "certificate.pem"]
    options += ["--arch", "aarch64" if parts.is_arm64 else "x86_64"]
    done = subprocess.run([BUILDER, *options], cwd=folder, capture_output=True, text=True, check=True)
    printed = json.loads(done.stdout[done.stdout.index("{") :])
    return (folder / "aws.eif").read_bytes(), pcrs_of(printed)


def parsed_by_aws(image: bytes, folder: Path) -> dict[str, Any]:
    path = folder / "parsed.eif"
    path.write_bytes(image)
    done = subprocess.run([PARSER, path], capture_output=True, text=True, check=True)
    description: dict[str, Any] = json.loads(done.stdout)
    return description


def pcrs_of(measurements: dict[str, str]) -> dict[int, bytes]:
    names = [name for name in measurements if name.startswith("PCR")]
    return {int(name.removeprefix("PCR")): bytes.fromhex(measurements[name]) for name in names}


def opened(image: bytes) -> ImageFile:
    return parse_image(BytesIO(image))


@pytest.mark.parametrize("is_arm64", [False, True])
def test_file_of_the_same_parts_is_aws_byte_for_byte(parts: ImageParts, is_arm64: bool, tmp_path: Path) -> None:
    theirs, pcrs = built_by_aws(replace(parts, is_arm64=is_arm64), tmp_path)
    ours = image_bytes(replace(parts, is_arm64=is_arm64))
    assert ours == theirs
    assert measure_image_file(BytesIO(ours)) == pcrs


def test_signed_file_differs_in_the_signature_alone(parts: ImageParts, tmp_path: Path) -> None:
    key = signing_key()
    theirs, pcrs = built_by_aws(parts, tmp_path, key)
    ours = image_bytes(parts, key)
    assert measure_image_file(BytesIO(theirs)) == measure_image_file(BytesIO(ours)) == pcrs
    assert 8 in pcrs
    sections = [opened(image).sections[:-1] for image in (ours, theirs)]
    assert sections[0] == sections[1]
    end = sections[0][-1].end_bytes
    assert ours[548:end] == theirs[548:end]
    signatures = [parse_signature(opened(image).data(SectionType.SIGNATURE) or b"") for image in (ours, theirs)]
    assert signatures[0].payload == signatures[1].payload
    assert signatures[0].protected == signatures[1].protected
    assert signatures[0].certificate == signatures[1].certificate


def test_aws_parser_reads_our_file(parts: ImageParts, tmp_path: Path) -> None:
    ours = image_bytes(parts)
    theirs = parsed_by_aws(ours, tmp_path)
    assert theirs["CheckCRC"] is True
    assert theirs["SignatureCheck"] is None
    assert theirs["Metadata"]["ImageName"] == "kernel"
    assert pcrs_of(theirs["Measurements"]) == measure_image_file(BytesIO(ours))


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_aws_parser_verifies_our_signature(parts: ImageParts, curve: ec.EllipticCurve, tmp_path: Path) -> None:
    ours = image_bytes(parts, signing_key(curve))
    theirs = parsed_by_aws(ours, tmp_path)
    assert theirs["SignatureCheck"] is True
    assert bytes.fromhex(theirs["Measurements"]["PCR8"]) == measure_image_file(BytesIO(ours))[8]


def test_aws_parser_finds_the_damage_that_ours_finds(parts: ImageParts, tmp_path: Path) -> None:
    damaged = bytearray(image_bytes(parts))
    damaged[-1] ^= 1
    assert parsed_by_aws(bytes(damaged), tmp_path)["CheckCRC"] is False


def test_description_of_aws_file_has_what_aws_printed(parts: ImageParts, tmp_path: Path) -> None:
    from nitro_attestation.image.description import describe_image

    theirs, pcrs = built_by_aws(parts, tmp_path, signing_key())
    value = json.loads(description_json(describe_image(opened(theirs))))
    assert pcrs_of(value["Measurements"]) == pcrs
    assert value["CheckCRC"] is value["SignatureCheck"] is value["IsSigned"] is True


def test_ramdisk_is_read_back_from_aws_file(parts: ImageParts, tmp_path: Path) -> None:
    from nitro_attestation.image.cpio import decode_ramdisk

    theirs, _ = built_by_aws(parts, tmp_path)
    image = opened(theirs)
    entries = list(decode_ramdisk(image.source(image.sections_of(SectionType.RAMDISK)[1])))
    assert b"".join(Ramdisk(entries).chunks()) == b"".join(parts.ramdisks[1].chunks())
