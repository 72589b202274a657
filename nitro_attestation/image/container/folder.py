"""Reads a root file system from a folder on disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from nitro_attestation.errors import ImageError
from nitro_attestation.image.container.file_tree import Node
from nitro_attestation.image.cpio import FileKind
from nitro_attestation.image.sources import BytesSource, FileSource


def read_folder(folder: Path, *, is_owned_by_root: bool = False) -> Node:
    """Return the files below a folder. Names of one file stay names of one file.

    Args:
        folder: the root file system.
        is_owned_by_root: whether to take 0:0 for every owner, because only root can unpack other people's files.

    Raises:
        ImageError: something in it cannot be part of an image, such as a socket.
        OSError: it cannot be read.
    """
    return _read(folder, {}, is_owned_by_root=is_owned_by_root)


def _read(path: Path, seen: dict[tuple[int, int], Node], *, is_owned_by_root: bool) -> Node:
    status = path.lstat()
    identity = (status.st_dev, status.st_ino)
    if identity in seen:
        return seen[identity]
    kind = stat.S_IFMT(status.st_mode)
    if kind not in set(FileKind):
        raise ImageError(str(path), "a socket cannot be part of an image")
    node = Node(
        FileKind(kind),
        stat.S_IMODE(status.st_mode),
        0 if is_owned_by_root else status.st_uid,
        0 if is_owned_by_root else status.st_gid,
        status.st_mtime_ns // 1_000_000_000,
    )
    match node.kind:
        case FileKind.FOLDER:
            for name in os.listdir(path):  # noqa: PTH208 - bytes of the names matter, not paths
                child = _read(path / name, seen, is_owned_by_root=is_owned_by_root)
                node.children[os.fsencode(name)] = child
        case FileKind.FILE:
            node.content = FileSource(path)
        case FileKind.SYMLINK:
            node.content = BytesSource(os.fsencode(path.readlink()))
        case FileKind.CHARACTER_DEVICE | FileKind.BLOCK_DEVICE:
            node.device = (os.major(status.st_rdev), os.minor(status.st_rdev))
        case FileKind.FIFO:
            pass
    if not node.is_folder and status.st_nlink > 1:
        seen[identity] = node
    return node
