"""Applies the layers of a container image, tar archives, to a tree of files.

Source: OCI image specification, layer.md, and how Docker unpacks a layer where the specification is silent.
"""

from __future__ import annotations

import math
import tarfile
from typing import BinaryIO

from nitro_attestation.errors import ImageError
from nitro_attestation.image.container.file_tree import Node, new_folder, resolve_folder, shown, split_path
from nitro_attestation.image.cpio import FileKind
from nitro_attestation.image.sources import BytesSource, StreamPart

WHITEOUT = b".wh."
"""Prefix of the name of an entry that removes a file of the layers below."""
OPAQUE_WHITEOUT = b".wh..wh..opq"
"""Name of an entry that removes everything the layers below have in its folder."""
RESERVED = b".wh..wh."
"""Prefix of other names that an engine uses for itself; they are not files."""
_SYMLINK_MODE = 0o777
_KINDS = {
    tarfile.REGTYPE: FileKind.FILE,
    tarfile.AREGTYPE: FileKind.FILE,
    tarfile.CONTTYPE: FileKind.FILE,
    tarfile.SYMTYPE: FileKind.SYMLINK,
    tarfile.CHRTYPE: FileKind.CHARACTER_DEVICE,
    tarfile.BLKTYPE: FileKind.BLOCK_DEVICE,
    tarfile.FIFOTYPE: FileKind.FIFO,
    tarfile.DIRTYPE: FileKind.FOLDER,
}


class LayeredTree:
    """A tree of files, to which layers are applied from the lowest to the topmost.

    Attributes:
        root: the folder that holds everything.
        unlisted: folders that a layer changes without listing them, so that their owner, mode and time are the
            engine's choice; sorted, without duplicates.
    """

    def __init__(self) -> None:
        self.root = new_folder()
        self._unlisted: set[bytes] = set()

    @property
    def unlisted(self) -> list[bytes]:
        """Paths of folders that a layer changes but does not list."""
        return sorted(self._unlisted)

    def apply(self, stream: BinaryIO, name: str) -> None:
        """Apply one layer.

        Args:
            stream: the layer, an uncompressed tar archive. It stays in use: contents are read from it later.
            name: what an error calls the layer.

        Raises:
            ImageError: it is not a tar archive, is truncated, or has an entry that no engine would unpack.
            OSError: it cannot be read.
        """
        layer = _Layer(self.root, stream, name)
        try:
            with tarfile.open(fileobj=stream, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
                while (member := archive.next()) is not None:
                    archive.members = []  # type: ignore[attr-defined]  # tarfile would keep every entry in memory
                    layer.apply(member)
        except tarfile.TarError as error:
            raise ImageError(name, f"not a tar archive, or a damaged one ({error})") from None
        self._unlisted |= layer.unlisted()


class _Layer:
    """One layer while it is applied: what it has written so far is not removed by its own opaque whiteouts."""

    def __init__(self, root: Node, stream: BinaryIO, name: str) -> None:
        self._root, self._stream, self._name = root, stream, name
        self._written: set[int] = set()
        self._kept: list[Node] = []
        self._listed: set[bytes] = {b""}
        self._changed: set[bytes] = set()

    def unlisted(self) -> set[bytes]:
        return self._changed - self._listed

    def apply(self, member: tarfile.TarInfo) -> None:
        path = member.name.encode("utf-8", "surrogateescape")
        names = split_path(path)
        if not names:
            return  # the root itself: nobody measures its owner, mode and time
        *parents, name = names
        folder = self._folder(parents)
        if name.startswith(WHITEOUT):
            self._remove(folder, name)
            self._changed.add(b"/".join(parents))
            return
        present = folder.children.get(name)
        node = self._node(member, present)
        if not (node.is_folder and present is not None and present.is_folder):
            self._changed.add(b"/".join(parents))
        self._put(folder, name, node)
        self._listed.add(b"/".join(names))

    def _folder(self, names: list[bytes]) -> Node:
        """Return the folder at a path, and make what is missing."""
        folder, missing = resolve_folder(self._root, names)
        for name in missing:
            made = new_folder()
            self._put(folder, name, made)
            self._changed.add(b"/".join(names))
            folder = made
        return folder

    def _put(self, folder: Node, name: bytes, node: Node) -> None:
        folder.children[name] = node
        self._written.add(id(node))
        self._kept.append(node)  # so that no other node gets its id while the layer is applied

    def _remove(self, folder: Node, whiteout: bytes) -> None:
        if whiteout == OPAQUE_WHITEOUT:
            self._remove_lower(folder)
        elif not whiteout.startswith(RESERVED):
            folder.children.pop(whiteout.removeprefix(WHITEOUT), None)

    def _remove_lower(self, folder: Node) -> None:
        """Remove what this layer has not written itself."""
        for name, node in list(folder.children.items()):
            if id(node) not in self._written:
                del folder.children[name]
            elif node.is_folder:
                self._remove_lower(node)

    def _node(self, member: tarfile.TarInfo, present: Node | None) -> Node:
        """Return the node of an entry: the other name's node for a hard link, and a folder that exists with new values.

        Raises:
            ImageError: its type is unknown, or it links to a file that does not exist.
        """
        if member.islnk():
            return self._linked(member)
        kind = _KINDS.get(member.type)
        if kind is None:
            raise ImageError(self._name, f"{member.name}: unsupported type {member.type!r} of a tar entry")
        node = Node(
            kind,
            _SYMLINK_MODE if kind is FileKind.SYMLINK else member.mode & 0o7777,
            member.uid,
            member.gid,
            math.floor(member.mtime),
        )
        if kind is FileKind.FILE:
            name = f"{self._name}: {member.name}"
            node.content = StreamPart(self._stream, member.offset_data, member.size, name)
        elif kind is FileKind.SYMLINK:
            node.content = BytesSource(member.linkname.encode("utf-8", "surrogateescape"))
        elif kind in (FileKind.CHARACTER_DEVICE, FileKind.BLOCK_DEVICE):
            node.device = (member.devmajor, member.devminor)
        elif kind is FileKind.FOLDER and present is not None and present.is_folder:
            node.children = present.children
        return node

    def _linked(self, member: tarfile.TarInfo) -> Node:
        target = member.linkname.encode("utf-8", "surrogateescape")
        *parents, name = split_path(target) or [b""]
        folder, missing = resolve_folder(self._root, parents)
        node = None if missing else folder.children.get(name)
        if node is None or node.is_folder:
            raise ImageError(
                self._name, f"{member.name}: a hard link to {shown(target)}, which is not a file of the image"
            )
        return node
