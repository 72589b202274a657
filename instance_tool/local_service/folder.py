"""The check that nobody else can replace a file in a folder, component by component, as the kernel walks the path."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from vsock_wire.errors import InputError

MAX_LINKS = 40
"""Maximum number of symbolic links in a path, as in the kernel. Source: path_resolution(7)."""
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_ROOT = 0
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", 0)


def verify_private_folder(folder: Path) -> None:
    """Reject a folder in which another user could replace a socket: clients would then talk to that user's program.

    Every component is opened relative to the one before it, without following links, and must belong to root or to this
    user. A component that others can write to needs the sticky bit, with which nobody else can rename this user's
    entries; for the folder itself the bit is not enough, because another user could create the socket first. A symbolic
    link must belong to root or to this user as well, since its owner decides where the path leads. After that, only
    root and this user can change what the path means.

    Args:
        folder: an absolute path.

    Raises:
        InputError: another user could replace a component, or there is no such folder.
    """
    walk = _Walk()
    try:
        walk.follow(folder)
        walk.verify_last()
    except OSError as error:
        raise InputError(f"--socket: folder {folder}: {(error.strerror or str(error)).lower()}") from error
    finally:
        walk.close()


class _Walk:
    """A walk through the file system. The open descriptors are those of the components of ``path``."""

    def __init__(self) -> None:
        self.path = Path("/")
        self._descriptors = [os.open("/", _FOLDER_FLAGS)]
        self._links = 0

    def close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())

    def follow(self, path: Path) -> None:
        """Go on to ``path``, from the root if it is absolute."""
        if path.is_absolute():
            self._return_to_root()
        for name in path.parts[1:] if path.is_absolute() else path.parts:
            self._enter(name)

    def verify_last(self) -> None:
        """Check the folder at which the walk has arrived; the sticky bit does not help here."""
        self._verify(os.fstat(self._descriptors[-1]), is_sticky_enough=False)

    def _enter(self, name: str) -> None:
        if name == "..":
            if len(self._descriptors) > 1:
                os.close(self._descriptors.pop())
                self.path = self.path.parent
            return
        here = self._descriptors[-1]
        self._verify(os.fstat(here), is_sticky_enough=True)
        state = os.stat(name, dir_fd=here, follow_symlinks=False)
        if stat.S_ISLNK(state.st_mode):
            self._follow_link(name, state)
            return
        self._descriptors.append(os.open(name, _FOLDER_FLAGS, dir_fd=here))
        self.path /= name

    def _follow_link(self, name: str, state: os.stat_result) -> None:
        self._links += 1
        if self._links > MAX_LINKS:
            raise _refusal(self.path / name, "is one of too many symbolic links")
        if state.st_uid not in (_ROOT, os.geteuid()):
            raise _refusal(self.path / name, "is a symbolic link of another user")
        self.follow(Path(os.readlink(name, dir_fd=self._descriptors[-1])))

    def _return_to_root(self) -> None:
        while len(self._descriptors) > 1:
            os.close(self._descriptors.pop())
        self.path = Path("/")

    def _verify(self, state: os.stat_result, *, is_sticky_enough: bool) -> None:
        if state.st_uid not in (_ROOT, os.geteuid()):
            raise _refusal(self.path, "belongs to another user")
        is_sticky = is_sticky_enough and bool(state.st_mode & stat.S_ISVTX)
        if state.st_mode & _WRITABLE_BY_OTHERS and not is_sticky:
            raise _refusal(self.path, "is writable by other users")


def _refusal(path: Path, problem: str) -> InputError:
    return InputError(
        f"--socket: folder {path} {problem}",
        hint="create a private folder with mkdir -m 700, or use $XDG_RUNTIME_DIR or systemd's RuntimeDirectory",
    )
