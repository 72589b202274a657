"""What a container engine and linuxkit do to an image's files before nitro-cli measures them.

nitro-cli does not measure the files of an image as its layers have them. linuxkit asks the engine for a container of
the image and exports that, so the engine's own changes are in it; then linuxkit replaces, drops and adds some files.
The result is part of PCR0, so this module repeats each step:

1. Docker puts an empty layer of its own over the image ("init layer"): mount points such as ``proc``, empty files such
   as ``etc/hosts``, and ``etc/mtab``. Podman does not.
2. The export lists each folder before its content, in the order of the names' bytes. All names of a file but the first
   are hard links to it.
3. linuxkit puts everything below a folder, drops what the engine added for itself, writes its own ``etc/hosts``, makes
   ``etc/resolv.conf`` a link, and gives the folders it insists on a fixed time. Hard links become symbolic links.

Source: moby, daemon/initlayer and pkg/archive; linuxkit, src/cmd/linuxkit/moby/build/image.go and initrd.
"""

from __future__ import annotations

import enum
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace

from nitro_attestation.image.container.file_tree import FOLDER_MODE, Node, new_folder, split_path, walk
from nitro_attestation.image.cpio import CpioEntry, FileKind
from nitro_attestation.image.sources import BytesSource

LINUXKIT_TIME_S = 1_492_533_000
"""linuxkit's defaultModTime, 2017-04-18T16:30:00Z, of everything that it adds or replaces."""
RESOLV_CONF_TARGET = b"/run/resolvconf/resolv.conf"
HOSTS = (
    b"127.0.0.1       localhost\n"
    b"::1     localhost ip6-localhost ip6-loopback\n"
    b"fe00::0 ip6-localnet\n"
    b"ff00::0 ip6-mcastprefix\n"
    b"ff02::1 ip6-allnodes\n"
    b"ff02::2 ip6-allrouters\n"
)
"""linuxkit's etc/hosts."""

_INIT_LAYER: dict[bytes, FileKind] = {
    b"dev/pts": FileKind.FOLDER,
    b"dev/shm": FileKind.FOLDER,
    b"proc": FileKind.FOLDER,
    b"sys": FileKind.FOLDER,
    b".dockerenv": FileKind.FILE,
    b"etc/resolv.conf": FileKind.FILE,
    b"etc/hosts": FileKind.FILE,
    b"etc/hostname": FileKind.FILE,
    b"dev/console": FileKind.FILE,
    b"etc/mtab": FileKind.SYMLINK,
}
_MTAB_TARGET = b"/proc/mounts"
_DROPPED = frozenset({b".dockerenv", b"Dockerfile", b"dev/console", b"etc/hostname"})
"""Names as the export has them, where a folder's name ends in a slash: a folder called Dockerfile stays."""
_FIXED_TIME = (b"dev/", b"dev/pts/", b"dev/shm/", b"etc/", b"etc/mtab", b"proc/", b"sys/")
"""What linuxkit insists on: it sets the time of these, and makes those that are missing."""


class Engine(enum.StrEnum):
    """The container engine that nitro-cli would have asked. It is part of what decides PCR0."""

    DOCKER = "nitro-cli"
    """dockerd, which nitro-cli talks to by default."""
    PODMAN = "podman"
    """Podman's service, through DOCKER_HOST."""


@dataclass(frozen=True)
class Exported:
    """One entry of an export.

    Attributes:
        path: its path; a folder's ends in a slash.
        node: what it is.
        linked_to: path of an earlier entry with the same node; None for the first.
    """

    path: bytes
    node: Node
    linked_to: bytes | None


def add_init_layer(root: Node) -> None:
    """Put Docker's own layer over an image: what is in the way is removed, unless it is a folder."""
    for path, kind in _INIT_LAYER.items():
        *parents, name = split_path(path)
        folder = root
        for parent in parents:
            folder = _keep_folder(folder, parent) or folder.children.setdefault(parent, new_folder())
        if _keep_folder(folder, name) is None:
            content = BytesSource(_MTAB_TARGET if kind is FileKind.SYMLINK else b"")
            mode = 0o777 if kind is FileKind.SYMLINK else FOLDER_MODE
            folder.children[name] = Node(kind, mode, content=content)


def _keep_folder(folder: Node, name: bytes) -> Node | None:
    """Return the folder of this name, and remove anything else that has it."""
    node = folder.children.get(name)
    if node is not None and node.is_folder:
        return node
    folder.children.pop(name, None)
    return None


def export(root: Node) -> Iterator[Exported]:
    """Yield the entries of an image's export, in its order."""
    first_paths: dict[int, bytes] = {}
    for path, node in walk(root):
        if node.is_folder:
            yield Exported(path + b"/", node, None)
            continue
        linked_to = first_paths.setdefault(id(node), path)
        yield Exported(path, node, None if linked_to == path else linked_to)


def linuxkit_entries(root: Node, prefix: bytes) -> Iterator[CpioEntry]:
    """Yield what linuxkit writes for an image's files, each below ``prefix``, which ends in a slash."""
    found = set()
    for exported in export(root):
        if exported.path in _DROPPED:
            continue
        found.add(exported.path)
        yield _linuxkit_entry(exported, prefix)
    for path in sorted(set(_FIXED_TIME) - found):
        yield _missing_entry(path, prefix)


def _linuxkit_entry(exported: Exported, prefix: bytes) -> CpioEntry:
    node, path = exported.node, exported.path
    entry = CpioEntry(prefix + path, node.kind, node.mode, node.uid, node.gid, node.time_s, node.content, node.device)
    if path == b"etc/hosts":
        return replace(entry, kind=FileKind.FILE, content=BytesSource(HOSTS), time_s=LINUXKIT_TIME_S)
    if path == b"etc/resolv.conf":
        target = BytesSource(RESOLV_CONF_TARGET)
        return replace(entry, kind=FileKind.SYMLINK, content=target, time_s=LINUXKIT_TIME_S)
    if exported.linked_to is not None:
        target = BytesSource(posixpath.relpath(exported.linked_to, posixpath.dirname(path) or b"."))
        return replace(entry, kind=FileKind.SYMLINK, content=target, device=(0, 0))
    return replace(entry, time_s=LINUXKIT_TIME_S) if path in _FIXED_TIME else entry


def _missing_entry(path: bytes, prefix: bytes) -> CpioEntry:
    name = prefix + path.rstrip(b"/")
    if path.endswith(b"/"):
        return CpioEntry(name, FileKind.FOLDER, FOLDER_MODE, time_s=LINUXKIT_TIME_S)
    return CpioEntry(name, FileKind.SYMLINK, FOLDER_MODE, time_s=LINUXKIT_TIME_S, content=BytesSource(_MTAB_TARGET))
