"""Reads an image from an archive of docker save, podman save or buildah push: its files, and how it starts."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

WHITEOUT = ".wh."
"""Prefix of the name of a file that a layer removes. Source: OCI image specification, layer.md."""
STARTS_BY = ("Cmd", "Entrypoint", "Env", "User", "WorkingDir")
"""Fields of an image's configuration that define how it starts; nitro-cli also measures command and environment."""


@dataclass(frozen=True)
class Entry:
    """One file in a root file system.

    Attributes:
        mode: permission bits, with set-user-ID and the like.
        owner: numeric user and group.
        time_s: last change, in seconds since the epoch.
        content: SHA-256 of a file's bytes in hexadecimal, or the target of a link, or empty.
        size_bytes: size of a file.
    """

    kind: str
    mode: int
    owner: tuple[int, int]
    time_s: int
    content: str
    size_bytes: int


@dataclass(frozen=True)
class Image:
    """An image: its files by path, without a leading slash, and how it starts."""

    entries: dict[str, Entry]
    start: dict[str, Any] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        """Program and arguments that the image starts with."""
        return [*(self.start.get("Entrypoint") or []), *(self.start.get("Cmd") or [])]

    @property
    def environment(self) -> list[str]:
        """Environment variables as NAME=VALUE."""
        return list(self.start.get("Env") or [])


def read_image(path: Path) -> Image:
    """Return the image in an archive, with all layers applied.

    Raises:
        ValueError: the archive does not contain exactly one image.
        OSError: it cannot be read.
    """
    entries: dict[str, Entry] = {}
    with tarfile.open(path) as archive:
        manifest = _manifest(archive)
        for name in manifest["Layers"]:
            with _open_layer(archive, name) as layer:
                _apply(layer, entries)
        config = json.load(_member(archive, manifest["Config"]))["config"]
    return Image(entries, {name: config[name] for name in STARTS_BY if config.get(name)})


def read_files(path: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Yield each file of an image with its bytes, in the order of its layers.

    Raises:
        ValueError: a layer removes files; our images have one layer and never do.
    """
    with tarfile.open(path) as archive:
        for name in _manifest(archive)["Layers"]:
            with _open_layer(archive, name) as layer:
                for member in layer:
                    if PurePosixPath(member.name).name.startswith(WHITEOUT):
                        raise ValueError(f"{name}: the layer removes {member.name}")
                    file = layer.extractfile(member) if member.isreg() else None
                    yield member, file.read() if file else b""


def differences(first: Image, second: Image) -> Iterator[str]:
    """Yield one line per difference between two images: how they start, then path by path."""
    for name in STARTS_BY:
        if first.start.get(name) != second.start.get(name):
            yield f"{name}: {first.start.get(name)!r}, then {second.start.get(name)!r}"
    for path in sorted(first.entries.keys() | second.entries.keys()):
        one, other = first.entries.get(path), second.entries.get(path)
        if one is None or other is None:
            yield f"{path}: only in the {'second' if one is None else 'first'} build"
        else:
            yield from _entry_differences(path, one, other)


def _entry_differences(path: str, one: Entry, other: Entry) -> Iterator[str]:
    for name, before in vars(one).items():
        if (after := vars(other)[name]) != before:
            shown = (f"{before:o}", f"{after:o}") if name == "mode" else (str(before), str(after))
            yield f"{path}: {name}: {shown[0]}, then {shown[1]}"


def _manifest(archive: tarfile.TarFile) -> Mapping[str, Any]:
    images = json.load(_member(archive, "manifest.json"))
    if len(images) != 1:
        raise ValueError(f"manifest.json: expected 1 image, got {len(images)}")
    image: Mapping[str, Any] = images[0]
    return image


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"{name}: not a file")
    return file


def _open_layer(archive: tarfile.TarFile, name: str) -> tarfile.TarFile:
    return tarfile.open(fileobj=_member(archive, name))


def _apply(layer: tarfile.TarFile, entries: dict[str, Entry]) -> None:
    for member in layer:
        path = PurePosixPath(member.name)
        if path.name.startswith(WHITEOUT):
            _remove(entries, path)
        else:
            entries[str(path)] = _entry(layer, member)


def _remove(entries: dict[str, Entry], whiteout: PurePosixPath) -> None:
    removed = str(whiteout.with_name(whiteout.name.removeprefix(WHITEOUT)))
    for path in [path for path in entries if path == removed or path.startswith(f"{removed}/")]:
        del entries[path]


def _entry(layer: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    content = member.linkname
    if member.isreg() and (file := layer.extractfile(member)) is not None:
        content = hashlib.sha256(file.read()).hexdigest()
    kind = next((name for name in ("file", "dir", "sym", "lnk") if getattr(member, f"is{name}")()), "special")
    owner = (member.uid, member.gid)
    return Entry(kind, member.mode & 0o7777, owner, int(member.mtime), content, member.size)
