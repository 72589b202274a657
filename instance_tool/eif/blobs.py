"""Finds the files that AWS supplies for every enclave image: kernel, command line, init and the NSM's driver."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vsock_wire.errors import InputError

NITRO_CLI_FOLDER = Path("/usr/share/nitro_enclaves/blobs")
"""Where the package aws-nitro-enclaves-cli-devel puts them."""
FOLDER_VARIABLE = "NITRO_CLI_BLOBS"
"""nitro-cli reads this variable too."""
MAX_CMDLINE_FILE_BYTES = 65_536
"""Of the file; the command line itself is shorter."""
_KERNELS = {False: "bzImage", True: "Image"}
_SOURCE_HINT = (
    "an image needs four files of AWS: the kernel, its cmdline, init and nsm.ko. On Amazon Linux, dnf install"
    f" aws-nitro-enclaves-cli-devel puts them into {NITRO_CLI_FOLDER}; copy that folder from there to any machine and"
    " name it with --blobs, or name each file with --kernel, --cmdline, --init and --nsm"
)


@dataclass(frozen=True)
class Blobs:
    """What AWS supplies for an image.

    Attributes:
        kernel: path of the kernel.
        kernel_config: path of its configuration, which names its version; None if there is none.
        cmdline: its command line.
        init: path of the init program.
        nsm_driver: path of the NSM's driver, nsm.ko.
    """

    kernel: Path
    kernel_config: Path | None
    cmdline: str
    init: Path
    nsm_driver: Path


def find_blobs(folder: str | None, given: Mapping[str, str | None], *, is_arm64: bool) -> Blobs:
    """Return the files that are given, and the others from a folder.

    Args:
        folder: where to look; None for the folder that FOLDER_VARIABLE names, or nitro-cli's own.
        given: paths by option, ``kernel``, ``cmdline``, ``init`` and ``nsm``; None where the folder's is to be taken.
        is_arm64: whether the image is for arm64.

    Raises:
        InputError: a file is missing; the text names each.
    """
    place = Path(folder or os.environ.get(FOLDER_VARIABLE) or NITRO_CLI_FOLDER)
    names = {"kernel": _KERNELS[is_arm64], "cmdline": "cmdline", "init": "init", "nsm": "nsm.ko"}
    paths = {option: Path(given.get(option) or place / name) for option, name in names.items()}
    missing = [str(path) for path in paths.values() if not path.is_file()]
    if missing:
        raise InputError(f"files of AWS not found: {', '.join(missing)}", hint=_SOURCE_HINT)
    config = paths["kernel"].with_name(f"{paths['kernel'].name}.config")
    return Blobs(
        paths["kernel"],
        config if config.is_file() else None,
        _read_cmdline(paths["cmdline"]),
        paths["init"],
        paths["nsm"],
    )


def _read_cmdline(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_CMDLINE_FILE_BYTES)
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a kernel command line, which is ASCII text") from None
