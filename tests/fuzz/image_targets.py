"""The fuzz targets for enclave image files and what they are made of."""

from __future__ import annotations

import contextlib
from io import BytesIO

from nitro_attestation.errors import ImageError
from nitro_attestation.image.container.archive import open_container_image
from nitro_attestation.image.container.engine import add_init_layer, linuxkit_entries
from nitro_attestation.image.container.layers import LayeredTree
from nitro_attestation.image.cpio import Ramdisk, decode_ramdisk
from nitro_attestation.image.description import describe_image, description_json, description_text
from nitro_attestation.image.eif_format import HEADER_BYTES, encode_header
from nitro_attestation.image.reading import parse_image
from nitro_attestation.image.signature import parse_signature, verify_signature
from nitro_attestation.image.sources import StreamPart
from nitro_attestation.measurements import parse_measurements

PCR0 = bytes(range(48))


def enclave_images(data: bytes) -> None:
    """Parse and describe an enclave image file; its header and measurements are read as they are written."""
    with contextlib.suppress(ImageError):
        image = parse_image(BytesIO(data))
        assert encode_header(image.header) == data[:HEADER_BYTES]
        assert image.size_bytes == len(data)
        description = describe_image(image)
        description_text(description)
        if description.is_sound:
            assert parse_measurements(description_json(description).encode()) == description.pcrs


def ramdisks(data: bytes) -> None:
    """Read a ramdisk; its entries, written again, are read alike."""
    with contextlib.suppress(ImageError):
        entries = list(decode_ramdisk(StreamPart(BytesIO(data), 0, len(data), "ramdisk")))
        written = b"".join(Ramdisk(entries).chunks())
        assert len(written) == Ramdisk(entries).size_bytes
        again = list(decode_ramdisk(StreamPart(BytesIO(written), 0, len(written), "ramdisk")))
        assert [(entry.name, entry.kind, entry.mode) for entry in again] == [
            (entry.name, entry.kind, entry.mode) for entry in entries
        ]


def layers(data: bytes) -> None:
    """Apply a layer, and write a ramdisk of it: nothing in it leaves the root, and no name is there twice."""
    with contextlib.suppress(ImageError):
        tree = LayeredTree()
        tree.apply(BytesIO(data), "layer")
        add_init_layer(tree.root)
        entries = list(linuxkit_entries(tree.root, b"rootfs/"))
        names = [entry.name.rstrip(b"/") for entry in entries]
        assert len(names) == len(set(names))
        assert all(name.startswith(b"rootfs/") and b".." not in name.split(b"/") for name in names)
        for _ in Ramdisk(entries).chunks():
            pass


def container_archives(data: bytes) -> None:
    """Open an archive of a container image."""
    with contextlib.suppress(ImageError), open_container_image(BytesIO(data), architecture="amd64"):
        pass


def image_signatures(data: bytes) -> None:
    """Parse and verify the signature of an image; nobody has signed this PCR0."""
    with contextlib.suppress(ImageError):
        verify_signature(parse_signature(data), PCR0)
        raise AssertionError("verified")


TARGETS = (container_archives, enclave_images, image_signatures, layers, ramdisks)
