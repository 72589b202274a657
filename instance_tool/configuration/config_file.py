"""The configuration file of kmstool-instance: defaults for its options, under the names of their flags, in TOML.

The file can name an AWS profile, and a profile can name a program to run. So it must belong to root or to this user,
and nobody else may be able to write it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vsock_wire.errors import InputError

DIRECTORY_VARIABLE = "XDG_CONFIG_HOME"
"""Source: XDG Base Directory Specification; a relative path in it is ignored, as the specification asks."""
MAX_CONFIG_BYTES = 65_536
"""Maximum size of the file; each name may occur only once in it."""


class ConfigFile(NamedTuple):
    """A configuration file: its path, and its values by the names of flags, without the leading dashes."""

    path: Path
    values: Mapping[str, Any]


def config_path(environ: Mapping[str, str]) -> Path | None:
    """Return the path of the configuration file, whether it exists or not; None if there is no home directory."""
    directory = Path(environ.get(DIRECTORY_VARIABLE, ""))
    if directory.is_absolute():
        return Path(directory, "kmstool", "config.toml")
    home = environ.get("HOME")
    return Path(home, ".config", "kmstool", "config.toml") if home else None


def read_config(environ: Mapping[str, str]) -> ConfigFile | None:
    """Return the user's configuration file, or None if there is none, or this user cannot enter its directory.

    Does not check the names in it; see ``option_defaults``.

    Raises:
        InputError: the file cannot be read, is not TOML, or another user can write it.
    """
    path = config_path(environ)
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            _refuse_writable_by_others(path, os.fstat(file.fileno()))
            data = file.read(MAX_CONFIG_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if isinstance(error, PermissionError) and not os.access(path.parent, os.X_OK, effective_ids=True):
            return None  # the home directory of another user, as after sudo -u
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    if len(data) > MAX_CONFIG_BYTES:
        raise InputError(f"{path}: larger than {MAX_CONFIG_BYTES} bytes")
    return ConfigFile(path, _parse(path, data))


def _refuse_writable_by_others(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in (0, os.geteuid()):
        raise InputError(
            f"{path}: belongs to another user (uid {status.st_uid}), who could choose the credentials",
            hint=f"chown it to this user, or set {DIRECTORY_VARIABLE} to a directory of this user",
        )
    if stat.S_IMODE(status.st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
        raise InputError(f"{path}: other users can write it, and choose the credentials", hint=f"chmod go-w {path}")


def _parse(path: Path, data: bytes) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - only if there is a file

    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(
            f"{path}: not TOML: {str(error)[:200].lower()}", hint="write one name = value per line, such as cid = 16"
        ) from None
