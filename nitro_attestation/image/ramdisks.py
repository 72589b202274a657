"""The two ramdisks of an enclave image, as nitro-cli makes them from a container image.

The first comes from AWS: an init program and the driver of the Nitro Security Module. The second has the container's
files under ``rootfs/``, and two text files for init: ``cmd``, the program with one argument a line, and ``env``, its
environment with one variable a line. Source: aws-nitro-enclaves-cli, enclave_build.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nitro_attestation.errors import ImageError
from nitro_attestation.image.container.engine import LINUXKIT_TIME_S, Engine, add_init_layer, linuxkit_entries
from nitro_attestation.image.container.file_tree import FOLDER_MODE, Node, resolve_folder, split_path
from nitro_attestation.image.cpio import CpioEntry, FileKind, Ramdisk
from nitro_attestation.image.sources import BytesSource, Source

ROOT = b"rootfs"
PROGRAM_MODE = 0o755
TEXT_MODE = 0o644
_MOUNT_POINTS = (b"dev", b"run", b"sys", b"var", b"proc", b"tmp")
"""What nitro-cli always makes below ROOT, in its order."""


@dataclass(frozen=True)
class StartCommand:
    """What init starts in the enclave.

    Attributes:
        command: the program and its arguments.
        environment: variables as NAME=VALUE.
        warnings: where a container of the same image would start differently, one sentence each.
    """

    command: tuple[str, ...]
    environment: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def start_command(start: Mapping[str, Any]) -> StartCommand:
    """Return what init starts for an image: its Cmd alone if it has one, else its Entrypoint, never both.

    Args:
        start: the part ``config`` of an image's configuration.

    Raises:
        ImageError: the image names no command or has a part of another form.
    """
    entrypoint, cmd = _strings(start, "Entrypoint"), _strings(start, "Cmd")
    command = entrypoint if cmd is None else cmd
    if not command:
        raise ImageError(
            "configuration",
            "the image has neither CMD nor ENTRYPOINT, or an empty CMD",
            hint="end the Dockerfile with CMD: nitro-cli takes it as the whole command, without ENTRYPOINT",
        )
    warnings = []
    if entrypoint and cmd:
        warnings.append(f"ENTRYPOINT is ignored because there is a CMD: the enclave starts {' '.join(command)}")
    if start.get("User") not in (None, "", "0", "root", "0:0", "root:root"):
        warnings.append(f"USER {start['User']} is ignored: the enclave starts the program as root")
    if start.get("WorkingDir") not in (None, "", "/"):
        warnings.append(f"WORKDIR {start['WorkingDir']} is ignored: the enclave starts the program in /")
    return StartCommand(tuple(command), tuple(_strings(start, "Env") or ()), tuple(warnings))


def _strings(start: Mapping[str, Any], name: str) -> list[str] | None:
    value = start.get(name)
    if value is None:
        return None
    if not (isinstance(value, list) and all(isinstance(item, str) and "\n" not in item for item in value)):
        raise ImageError("configuration", f"{name} is not a list of texts of one line each")
    return value


def irreproducible_parts(root: Node, start: Mapping[str, Any], unlisted: Sequence[bytes]) -> list[str]:
    """Return why an engine could make other files of this image each time, one sentence each."""
    reasons = [
        f"a layer changes the folder {path.decode('utf-8', 'backslashreplace')}/ without listing it:"
        " its owner, mode and time depend on the engine"
        for path in unlisted
    ]
    folder = str(start.get("WorkingDir") or "/")
    if resolve_folder(root, split_path(folder.encode("utf-8")))[1]:
        reasons.append(f"WORKDIR {folder} does not exist: Docker makes it with the time of the build")
    return reasons


def init_ramdisk(init: Source, nsm_driver: Source | None) -> Ramdisk:
    """Return the first ramdisk: AWS's init program and the driver of the Nitro Security Module."""
    entries = [_folder(b"dev"), _file(b"init", init, PROGRAM_MODE)]
    if nsm_driver is not None:
        entries.append(_file(b"nsm.ko", nsm_driver, PROGRAM_MODE))
    return Ramdisk(entries)


def container_ramdisk(root: Node, start: StartCommand, engine: Engine) -> Ramdisk:
    """Return the second ramdisk, with the files of a container image.

    Args:
        root: the image's files, with all of its layers applied. The engine's own layer is added to it.
        start: what init starts.
        engine: the engine that nitro-cli would ask.
    """
    if engine is Engine.DOCKER:
        add_init_layer(root)
    return Ramdisk(
        [
            _folder(ROOT),
            *linuxkit_entries(root, ROOT + b"/"),
            _folder(ROOT),
            *(_folder(ROOT + b"/" + name) for name in _MOUNT_POINTS),
            _file(b"cmd", _lines(start.command), TEXT_MODE),
            _file(b"env", _lines(start.environment), TEXT_MODE),
        ]
    )


def _folder(name: bytes) -> CpioEntry:
    return CpioEntry(name, FileKind.FOLDER, FOLDER_MODE, time_s=LINUXKIT_TIME_S)


def _file(name: bytes, content: Source, mode: int) -> CpioEntry:
    return CpioEntry(name, FileKind.FILE, mode, time_s=LINUXKIT_TIME_S, content=content)


def _lines(texts: Sequence[str]) -> BytesSource:
    return BytesSource("".join(f"{text}\n" for text in texts).encode("utf-8"))
