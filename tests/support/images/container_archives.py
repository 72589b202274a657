"""Container images as archives, made from a few files."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Item:
    """One entry of a layer.

    Attributes:
        name: path as it stands in the tar archive.
        type: tar's type.
        mode: permissions.
        owner: user and group.
        time_s: last change, possibly with a fraction.
        content: of a file.
        target: of a link.
        device: major and minor number.
    """

    name: str
    type: bytes = tarfile.REGTYPE
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)
    time_s: float = 1_600_000_000
    content: bytes = b""
    target: str = ""
    device: tuple[int, int] = (0, 0)


def folder(name: str, mode: int = 0o755, **more: Any) -> Item:
    return Item(name, tarfile.DIRTYPE, mode, **more)


def layer(*items: Item) -> bytes:
    """Return a layer, an uncompressed tar archive."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for item in items:
            member = tarfile.TarInfo(item.name)
            member.type, member.mode, member.mtime = item.type, item.mode, item.time_s
            member.uid, member.gid = item.owner
            member.linkname, member.size = item.target, len(item.content)
            member.devmajor, member.devminor = item.device
            archive.addfile(member, io.BytesIO(item.content))
    return file.getvalue()


def configuration(layers: Sequence[bytes], start: Mapping[str, Any], **more: Any) -> bytes:
    """Return the configuration of an image with these uncompressed layers."""
    diff_ids = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in layers]
    fields = {"architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z", **more}
    return json.dumps({**fields, "config": start, "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()


def docker_archive(path: Path, layers: Sequence[bytes], start: Mapping[str, Any], **more: Any) -> Path:
    """Write an archive as docker save does."""
    config = configuration(layers, start, **more)
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": ["app:latest"], "Layers": names}]
    files = {"config.json": config, "manifest.json": json.dumps(manifest).encode()}
    return write_archive(path, {**files, **dict(zip(names, layers, strict=True))})


def oci_archive(path: Path, layers: Sequence[bytes], start: Mapping[str, Any]) -> Path:
    """Write an archive as buildah push oci-archive: does, with compressed layers."""
    blobs: dict[str, bytes] = {}

    def descriptor(data: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    config = descriptor(configuration(layers, start), "application/vnd.oci.image.config.v1+json")
    compressed = [
        descriptor(gzip.compress(data, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip") for data in layers
    ]
    manifest = descriptor(
        json.dumps({"schemaVersion": 2, "config": config, "layers": compressed}).encode(),
        "application/vnd.oci.image.manifest.v1+json",
    )
    return write_archive(path, {"index.json": json.dumps({"manifests": [manifest]}).encode(), **blobs})


def write_archive(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write a tar archive with these files."""
    path.write_bytes(layer(*(Item(name, content=content) for name, content in files.items())))
    return path
