"""Reads a container image from an archive: what ``docker save``, ``podman save`` and ``buildah push`` write.

A docker archive has a ``manifest.json``, an OCI archive an ``index.json``. Newer programs write both into one file, and
then the first is used. The digests of the layers are verified, since they are what the image's name stands for.

Source: OCI image specification, image-layout.md, manifest.md and config.md; Docker image specification 1.2.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import platform
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from nitro_attestation.errors import ImageError
from nitro_attestation.image.container.file_tree import Node
from nitro_attestation.image.container.layers import LayeredTree
from nitro_attestation.image.sources import CHUNK_BYTES
from nitro_attestation.strict_json import decode_strict_json

MAX_JSON_BYTES = 4 << 20
"""Of a manifest, an index or a configuration. Source: OCI distribution specification, limit on manifests."""
MAX_INDEXES = 3
"""How many indexes may follow one another; an index of an index is rare, and a loop must end."""
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_INDEX_TYPES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_CONVERT_HINT = "save the image again with: docker save, podman save, or skopeo copy docker://NAME docker-archive:FILE"


@dataclass(frozen=True)
class ContainerImage:
    """A container image, with all of its layers applied.

    Attributes:
        name: as it was tagged, or empty.
        image_id: SHA-256 of its configuration, in hexadecimal; what ``docker inspect`` calls Id.
        architecture: as Go calls it, such as amd64 or arm64.
        config: its configuration as JSON, with the parts ``config``, ``rootfs``, ``created`` and others.
        root: its files. Their contents are read from the archive.
        unlisted: folders that a layer changes without listing them.
    """

    name: str
    image_id: str
    architecture: str
    config: Mapping[str, Any]
    root: Node
    unlisted: tuple[bytes, ...]

    @property
    def start(self) -> Mapping[str, Any]:
        """How a container of this image starts: Cmd, Entrypoint, Env and so on."""
        start = self.config.get("config")
        return start if isinstance(start, dict) else {}


@dataclass(frozen=True)
class _Manifest:
    name: str
    config_path: str
    layer_paths: tuple[str, ...]


@contextlib.contextmanager
def open_container_image(
    stream: BinaryIO, *, architecture: str | None = None, name: str | None = None
) -> Iterator[ContainerImage]:
    """Open a container image in an archive. Its files can be read until the context ends.

    Args:
        stream: the archive, seekable; compressed with gzip or not. It must stay open as long as the context.
        architecture: as Go calls it; which image to take from an OCI archive with several. Default: this machine's.
        name: which image to take from a docker archive with several, as it was tagged.

    Raises:
        ImageError: it is not such an archive, has several images of which none was chosen, or is damaged.
        OSError: it cannot be read, or there is no space for its uncompressed layers in the folder for temporary files.
    """
    with contextlib.ExitStack() as opened:
        try:
            yield _read(stream, architecture or _machine(), name, opened)
        except tarfile.TarError as error:
            raise ImageError("archive", f"not a tar archive, or a damaged one ({error})", hint=_CONVERT_HINT) from None


def _read(stream: BinaryIO, architecture: str, name: str | None, opened: contextlib.ExitStack) -> ContainerImage:
    archive = opened.enter_context(tarfile.open(fileobj=_expand(stream, "archive", opened), mode="r:"))  # noqa: SIM115 - closed by the stack
    manifest = _find_manifest(archive, architecture, name)
    config_text = _read_member(archive, manifest.config_path)
    config = _json_object(manifest.config_path, config_text)
    tree = _apply_layers(archive, manifest, _diff_ids(config), opened)
    return ContainerImage(
        manifest.name,
        hashlib.sha256(config_text).hexdigest(),
        str(config.get("architecture", "")),
        config,
        tree.root,
        tuple(tree.unlisted),
    )


def _machine() -> str:
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def _find_manifest(archive: tarfile.TarFile, architecture: str, name: str | None) -> _Manifest:
    names = set(archive.getnames())
    if "manifest.json" in names:
        return _docker_manifest(_json("manifest.json", _read_member(archive, "manifest.json")), name)
    if "index.json" in names:
        return _oci_manifest(archive, architecture)
    raise ImageError("archive", "no image: it has neither manifest.json nor index.json", hint=_CONVERT_HINT)


def _docker_manifest(images: object, name: str | None) -> _Manifest:
    if not (isinstance(images, list) and images and all(isinstance(image, dict) for image in images)):
        raise ImageError("manifest.json", "it does not list images")
    chosen = [image for image in images if name is None or name in (image.get("RepoTags") or [])]
    if len(chosen) != 1:
        tags = sorted(str(tag) for image in images for tag in image.get("RepoTags") or [])
        raise ImageError(
            "manifest.json",
            f"{len(chosen) or 'none'} of its {len(images)} images {'match' if name is None else f'are called {name}'}",
            hint=f"choose one with --image: {', '.join(tags) or 'none of them has a name'}",
        )
    (image,) = chosen
    layers, config, tags = image.get("Layers"), image.get("Config"), image.get("RepoTags") or [""]
    if not (isinstance(config, str) and isinstance(layers, list) and all(isinstance(layer, str) for layer in layers)):
        raise ImageError("manifest.json", "it names no configuration, or no layers")
    return _Manifest(name or str(tags[0]), config, tuple(layers))


def _oci_manifest(archive: tarfile.TarFile, architecture: str) -> _Manifest:
    path, name = "index.json", ""
    for _ in range(MAX_INDEXES):
        index = _json_object(path, _read_member(archive, path))
        descriptor = _choose(path, index.get("manifests"), architecture)
        annotations = descriptor.get("annotations") or {}
        name = name or str(annotations.get("org.opencontainers.image.ref.name", ""))
        path = _blob_path(path, descriptor)
        if descriptor.get("mediaType") not in _INDEX_TYPES:
            manifest = _json_object(path, _read_blob(archive, path))
            layers = manifest.get("layers")
            if not isinstance(layers, list):
                raise ImageError(path, "it lists no layers")
            config_path = _blob_path(path, manifest.get("config"))
            return _Manifest(name, config_path, tuple(_blob_path(path, layer) for layer in layers))
    raise ImageError("index.json", f"more than {MAX_INDEXES} indexes follow one another")


def _choose(path: str, descriptors: object, architecture: str) -> Mapping[str, Any]:
    """Return the descriptor of the image for an architecture; one alone is taken whatever it is for."""
    if not (isinstance(descriptors, list) and all(isinstance(item, dict) for item in descriptors)):
        raise ImageError(path, "it lists no manifests")
    images = [item for item in descriptors if (item.get("platform") or {}).get("os") != "unknown"]  # attestations
    if len(images) > 1:
        images = [item for item in images if (item.get("platform") or {}).get("architecture") == architecture]
    if len(images) != 1:
        raise ImageError(
            path, f"{len(images) or 'none'} of its images is for {architecture}", hint="choose one with --arch"
        )
    chosen: Mapping[str, Any] = images[0]
    return chosen


def _blob_path(path: str, descriptor: object) -> str:
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    algorithm, _, value = digest.partition(":") if isinstance(digest, str) else ("", "", "")
    if algorithm != "sha256" or len(value) != 64 or not value.isalnum():
        raise ImageError(path, "it names a blob without its SHA-256")
    return f"blobs/sha256/{value}"


def _read_blob(archive: tarfile.TarFile, path: str) -> bytes:
    content = _read_member(archive, path)
    if hashlib.sha256(content).hexdigest() != path.rpartition("/")[2]:
        raise ImageError(path, "its SHA-256 is not the one in its name: the archive is damaged")
    return content


def _read_member(archive: tarfile.TarFile, path: str) -> bytes:
    file = _open_member(archive, path)
    content = file.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise ImageError(path, f"more than {MAX_JSON_BYTES} bytes")
    return content


def _open_member(archive: tarfile.TarFile, path: str) -> BinaryIO:
    try:
        file = archive.extractfile(path)
    except KeyError:
        file = None
    if file is None:
        raise ImageError(path, "the archive's manifest names it, but it is not in the archive")
    return cast("BinaryIO", file)


def _json(path: str, text: bytes) -> object:
    try:
        return decode_strict_json(text.decode("utf-8"))
    except ValueError:
        raise ImageError(path, "not JSON") from None


def _json_object(path: str, text: bytes) -> dict[str, Any]:
    value = _json(path, text)
    if not isinstance(value, dict):
        raise ImageError(path, "not a JSON object")
    return value


def _diff_ids(config: Mapping[str, Any]) -> list[str]:
    rootfs = config.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not (isinstance(diff_ids, list) and all(isinstance(diff_id, str) for diff_id in diff_ids)):
        raise ImageError("configuration", "it does not list the digests of the layers (rootfs.diff_ids)")
    return diff_ids


def _apply_layers(
    archive: tarfile.TarFile, manifest: _Manifest, diff_ids: list[str], opened: contextlib.ExitStack
) -> LayeredTree:
    if len(diff_ids) != len(manifest.layer_paths):
        raise ImageError("manifest", f"{len(manifest.layer_paths)} layers, but the configuration lists {len(diff_ids)}")
    tree = LayeredTree()
    for number, (path, diff_id) in enumerate(zip(manifest.layer_paths, diff_ids, strict=True), 1):
        name = f"layer {number}"
        layer = _expand(_open_member(archive, path), name, opened)
        _verify_digest(layer, diff_id, name)
        tree.apply(layer, name)
    return tree


def _expand(file: BinaryIO, name: str, opened: contextlib.ExitStack) -> BinaryIO:
    """Return an uncompressed file as it is, and what is in a compressed one as a temporary file."""
    magic = file.read(4)
    file.seek(0)
    if magic == _ZSTD_MAGIC:
        raise ImageError(name, "compressed with zstd, which is not supported", hint=_CONVERT_HINT)
    if not magic.startswith(_GZIP_MAGIC):
        return file
    expanded = opened.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - closed by the stack
    try:
        with gzip.open(file) as compressed:
            while chunk := compressed.read(CHUNK_BYTES):
                expanded.write(chunk)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise ImageError(name, "its gzip compression is damaged, or the archive is truncated") from None
    expanded.seek(0)
    return cast("BinaryIO", expanded)


def _verify_digest(layer: BinaryIO, diff_id: str, name: str) -> None:
    digest = hashlib.sha256()
    while chunk := layer.read(CHUNK_BYTES):
        digest.update(chunk)
    layer.seek(0)
    if f"sha256:{digest.hexdigest()}" != diff_id:
        raise ImageError(name, "its SHA-256 is not the one in the image's configuration: the archive is damaged")
