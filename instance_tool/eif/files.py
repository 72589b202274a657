"""Opens image files, and writes files that are complete or not there."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from nitro_attestation.errors import NitroAttestationError
from nitro_attestation.image.reading import ImageFile, parse_image
from vsock_wire.errors import InputError, ToolError

NEW_FILE_MODE = 0o666
"""Before the umask: an image file is not a secret, and nitro-cli's own users read it."""


@contextlib.contextmanager
def open_image(path: str) -> Iterator[ImageFile]:
    """Open an enclave image file and parse its structure; errors about it name the file until the context ends.

    Raises:
        ToolError: it is not an enclave image file, or it is damaged; exit code 1.
        InputError: it is not a file that can be read; exit code 2.
    """
    with image_errors_reported(path), open_input(path) as stream:
        yield parse_image(stream)


@contextlib.contextmanager
def open_input(path: str) -> Iterator[BinaryIO]:
    """Open a file for reading, and check that it can be read in any order.

    Raises:
        InputError: it cannot be opened, or is a pipe.
    """
    try:
        stream = Path(path).open("rb")  # noqa: SIM115 - closed below; only opening it is covered by the except clause
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    with stream:
        if not stream.seekable():
            raise InputError(f"{path}: a pipe cannot be read in any order", hint="write it to a file first")
        yield cast("BinaryIO", stream)


@contextlib.contextmanager
def image_errors_reported(path: str) -> Iterator[None]:
    """Turn errors of ``nitro_attestation`` about a file into errors of the command, which name the file.

    Raises:
        ToolError: an ImageError or another error of that package; exit code 1.
    """
    try:
        yield
    except NitroAttestationError as error:
        raise ToolError(f"{path}: {error}", hint=error.hint) from error


@contextlib.contextmanager
def replaced_file(path: str) -> Iterator[BinaryIO]:
    """Return a new file that takes the place of ``path`` when it is complete. After a failure there is no new file.

    Raises:
        InputError: the folder does not exist, or no file can be made in it.
        OSError: the file cannot be written.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(f"--out: {path} is a folder")
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise InputError(f"--out: {target.parent}: {(error.strerror or str(error)).lower()}") from None
    try:
        with os.fdopen(descriptor, "w+b") as stream:
            yield cast("BinaryIO", stream)
            stream.flush()
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(NEW_FILE_MODE & ~umask)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
