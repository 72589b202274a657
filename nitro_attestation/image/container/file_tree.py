"""The files of a container image in memory: a tree of nodes, without their contents.

A folder's children are a dict by name. Two names of one file (a hard link) are two entries with the same node, so a
node's identity is what an inode's number is on a disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from nitro_attestation.errors import ImageError
from nitro_attestation.image.cpio import FileKind
from nitro_attestation.image.sources import BytesSource, Source

MAX_LINKS_FOLLOWED = 40
"""MAXSYMLINKS of Linux."""
FOLDER_MODE = 0o755
"""Of a folder that an engine makes because an archive leaves it out."""


@dataclass(eq=False)
class Node:
    """A file, a folder or anything else that a name can stand for.

    Attributes:
        kind: what it is.
        mode: permissions with set-user-ID and the like, 12 bits.
        uid: number of its owner.
        gid: number of its group.
        time_s: last change, in whole seconds since 1970.
        content: data of a file or target of a symbolic link.
        device: major and minor number of the device that it stands for.
        children: of a folder, by name; empty for anything else.
    """

    kind: FileKind
    mode: int
    uid: int = 0
    gid: int = 0
    time_s: int = 0
    content: Source = field(default_factory=lambda: BytesSource(b""))
    device: tuple[int, int] = (0, 0)
    children: dict[bytes, Node] = field(default_factory=dict)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, not a link to one."""
        return self.kind is FileKind.FOLDER


def new_folder(*, mode: int = FOLDER_MODE, time_s: int = 0) -> Node:
    """Return an empty folder of root."""
    return Node(FileKind.FOLDER, mode, time_s=time_s)


def split_path(path: bytes) -> list[bytes]:
    """Return the names in a path. A leading slash and "." mean nothing.

    Raises:
        ImageError: the path leads upwards (``..``).
    """
    names = [name for name in path.split(b"/") if name not in (b"", b".")]
    if b".." in names:
        raise ImageError(shown(path), "a path in an image must not contain ..")
    return names


def walk(folder: Node, prefix: bytes = b"") -> Iterator[tuple[bytes, Node]]:
    """Yield each path below a folder with its node, a folder before its content, names in the order of their bytes."""
    for name in sorted(folder.children):
        node = folder.children[name]
        yield prefix + name, node
        if node.is_folder:
            yield from walk(node, prefix + name + b"/")


def resolve_folder(root: Node, names: list[bytes]) -> tuple[Node, list[bytes]]:
    """Return the deepest folder that exists on a path, following links, and the names that do not exist below it.

    Raises:
        ImageError: there are more than MAX_LINKS_FOLLOWED links, as in a loop.
    """
    path: list[Node] = [root]
    todo = list(reversed(names))
    links = 0
    while todo:
        name = todo.pop()
        node = path[-1].children.get(name)
        if name == b"..":
            path = path[:-1] or [root]
        elif node is not None and node.kind is FileKind.SYMLINK:
            links += 1
            if links > MAX_LINKS_FOLLOWED:
                raise ImageError(shown(b"/".join(names)), "more than 40 symbolic links on the way")
            target = b"".join(node.content.chunks())
            path = [root] if target.startswith(b"/") else path
            todo.extend(part for part in reversed(target.split(b"/")) if part not in (b"", b"."))
        elif node is not None and node.is_folder:
            path.append(node)
        else:
            return path[-1], [name, *reversed(todo)]
    return path[-1], []


def shown(path: bytes) -> str:
    """Return a path as an error shows it."""
    return path.decode("utf-8", "backslashreplace")
