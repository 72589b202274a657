"""Write a ramdisk with the layout of an enclave image file: init, command, environment, root file system."""

from __future__ import annotations

import stat
import tarfile
from pathlib import Path
from typing import IO

from tools.images.archive import Image, read_files

TRAILER = "TRAILER!!!"
"""Name of the entry that ends an archive.
Source: kernel, Documentation/driver-api/early-userspace/buffer-format.rst."""
ROOT_FILE_SYSTEM = "rootfs"


def write_ramdisk(ramdisk: Path, *, init: Path, image: Image, archive: Path, arguments: list[str]) -> None:
    """Write the ramdisk.

    Args:
        ramdisk: the file to write.
        init: a static program that becomes the first process.
        image: the image's configuration, with its command.
        archive: the image's files.
        arguments: appended to the image's own command.
    """
    with ramdisk.open("wb") as file:
        writer = _Writer(file)
        writer.add("init", stat.S_IFREG | 0o755, init.read_bytes())
        writer.add("cmd", stat.S_IFREG | 0o644, _lines([*image.command, *arguments]))
        writer.add("env", stat.S_IFREG | 0o644, _lines(image.environment))
        for name in ("dev", "proc", "sys", "host", ROOT_FILE_SYSTEM):
            writer.add(name, stat.S_IFDIR | 0o755)
        writer.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
        for member, content in read_files(archive):
            writer.add_member(member, content)
        writer.add(TRAILER, 0)


class _Writer:
    """Appends entries in the format "newc" to a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._inode = 0

    def add_member(self, member: tarfile.TarInfo, content: bytes) -> None:
        """Add the contents of a layer's archive under ROOT_FILE_SYSTEM."""
        name = f"{ROOT_FILE_SYSTEM}/{member.name.strip('/')}"
        if member.isdir():
            self.add(name, stat.S_IFDIR | member.mode, time_s=int(member.mtime))
        elif member.issym():
            self.add(name, stat.S_IFLNK | 0o777, member.linkname.encode(), time_s=int(member.mtime))
        elif member.isreg():
            self.add(name, stat.S_IFREG | member.mode, content, time_s=int(member.mtime))
        else:
            raise ValueError(f"{member.name}: neither a folder, a file nor a link")

    def add(
        self, name: str, mode: int, content: bytes = b"", *, time_s: int = 0, device: tuple[int, int] = (0, 0)
    ) -> None:
        self._inode += 1
        path = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, time_s, len(content), 0, 0, *device, len(path), 0)
        self._write(b"070701" + "".join(f"{value:08X}" for value in fields).encode() + path)
        self._write(content)

    def _write(self, data: bytes) -> None:
        self._file.write(data + bytes(-self._file.tell() - len(data) & 3))


def _lines(entries: list[str]) -> bytes:
    return "".join(f"{entry}\n" for entry in entries).encode()
