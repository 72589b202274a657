"""Where a command writes its result: standard output, or a file that appears complete or not at all.

The file is written without a name (O_TMPFILE), so that nothing is left of it if the process is killed; it gets its name
when the result is complete and on the disk. File systems without O_TMPFILE, such as NFS, get a file with a temporary
name, which is removed on every failure and signal but SIGKILL.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn, Protocol, Self

from vsock_wire.cli.streams import standard_output
from vsock_wire.errors import InputError, ToolError

MODE = 0o600
"""Of a result file: only its owner can read a secret."""
STANDARD_OUTPUT = "-"
_ENDING_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Windows has no SIGHUP."""
_TARGET_HINT = "name a new file or a regular file; to write anywhere else, redirect standard output with >"


class Sink(Protocol):
    """What takes the parts of a result."""

    def write(self, data: bytes, /) -> object:
        """Write a part of the result."""

    def flush(self) -> None:
        """Pass on what has been written, if someone may read it before the result is complete."""


class Output(Sink, Protocol):
    """Where a result goes."""

    def commit(self) -> None:
        """Declare that the result is complete."""


@contextlib.contextmanager
def open_output(path: str | None, option: str) -> Iterator[Output]:
    """Open the output before anything secret exists; if the block ends without ``commit``, no file is left or changed.

    Args:
        path: the file's path; None or STANDARD_OUTPUT for standard output.
        option: the option that gives the path, for errors.

    Raises:
        InputError: the file cannot be created, or is there and is not a regular file; or standard output is closed; or
            this system, such as Windows, cannot write a file that is complete or not there.
        ToolError: from the methods of the output: the file cannot be written.
    """
    if path is None or path == STANDARD_OUTPUT:
        yield _StandardOutput()
        return
    if not hasattr(os, "O_DIRECTORY"):
        raise InputError(f"{option}: not possible on this system", hint="redirect standard output with >")
    with _ResultFile(path, option) as file:
        yield file


class _StandardOutput:
    def __init__(self) -> None:
        self._stream = standard_output()

    def write(self, data: bytes) -> None:
        self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()

    def commit(self) -> None:
        self.flush()


class _ResultFile:
    """A file that replaces ``path`` when it is committed."""

    def __init__(self, path: str, option: str) -> None:
        self._subject = f"{option}: {path}"
        self._name = Path(path).name
        self._temporary_name = f".kmstool-{os.urandom(8).hex()}"
        self._has_name = False
        try:
            _refuse_other_than_file(path, self._subject)
            self._folder = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._failure(error, InputError) from error
        try:
            self._file = os.fdopen(self._create(), "wb")
        except OSError as error:
            os.close(self._folder)
            raise self._failure(error, InputError) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._has_name:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary_name, dir_fd=self._folder)
        with contextlib.suppress(OSError):  # of data that nobody will see
            self._file.close()
        os.close(self._folder)

    def write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise self._failure(error, ToolError) from error

    def flush(self) -> None:
        """Do nothing: nobody can read the file yet."""

    def commit(self) -> None:
        try:
            self._file.flush()
            os.fchmod(self._file.fileno(), MODE)  # whatever the umask
            os.fsync(self._file.fileno())
            with _signals_blocked():
                if not self._has_name:
                    self._link()
                os.replace(self._temporary_name, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
                self._has_name = False
            os.fsync(self._folder)
        except OSError as error:
            raise self._failure(error, ToolError) from error

    def _create(self) -> int:
        flags = os.O_WRONLY | os.O_CLOEXEC
        unnamed = getattr(os, "O_TMPFILE", 0)  # Linux has it
        if unnamed and Path("/proc/self/fd").exists():  # through which a file gets its name
            with contextlib.suppress(OSError):  # this file system cannot do that; other reasons are found below, too
                return os.open(".", flags | unnamed, MODE, dir_fd=self._folder)
        for number in _ENDING_SIGNALS[1:]:
            signal.signal(number, _exit_by_signal)
        descriptor = os.open(self._temporary_name, flags | os.O_CREAT | os.O_EXCL, MODE, dir_fd=self._folder)
        self._has_name = True
        return descriptor

    def _link(self) -> None:
        source = f"/proc/self/fd/{self._file.fileno()}"
        os.link(
            source, self._temporary_name, src_dir_fd=self._folder, dst_dir_fd=self._folder, follow_symlinks=True
        )  # fmt: skip
        self._has_name = True

    def _failure(self, error: OSError, kind: type[ToolError]) -> ToolError:
        return kind(f"{self._subject}: {(error.strerror or str(error)).lower()}")


def _refuse_other_than_file(path: str, subject: str) -> None:
    """Check that a path names a regular file or nothing.

    A symbolic link is refused: replacing it would not change the file that it leads to, and /dev/stdout is one.
    """
    name = Path(path).name
    if not name or name == ".." or path.endswith("/"):
        raise InputError(f"{subject}: is a directory" if path else f"{subject}empty", hint=_TARGET_HINT)
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kind = (
            "a directory" if stat.S_ISDIR(mode) else "a symbolic link" if stat.S_ISLNK(mode) else "not a regular file"
        )
        raise InputError(f"{subject}: is {kind}", hint=_TARGET_HINT)


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exit_by_signal(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
