"""Puts an image together from what the options of ``build`` and ``measure`` name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from instance_tool.eif.blobs import FOLDER_VARIABLE, NITRO_CLI_FOLDER, Blobs, find_blobs
from instance_tool.eif.files import open_input
from nitro_attestation.errors import ImageError
from nitro_attestation.image.container.archive import ContainerImage, open_container_image
from nitro_attestation.image.container.engine import Engine
from nitro_attestation.image.container.folder import read_folder
from nitro_attestation.image.metadata import UNKNOWN, Metadata, encode_metadata, parse_kernel_config
from nitro_attestation.image.ramdisks import (
    StartCommand,
    container_ramdisk,
    init_ramdisk,
    irreproducible_parts,
    start_command,
)
from nitro_attestation.image.sources import FileSource
from nitro_attestation.image.writing import ImageParts
from vsock_wire import __version__
from vsock_wire.cli.settings import Settings
from vsock_wire.errors import InputError

TIME_VARIABLE = "SOURCE_DATE_EPOCH"
"""Seconds since 1970 that a reproducible build takes for the present. Source: reproducible-builds.org."""
ARCHITECTURES = ("amd64", "arm64")
_ENGINES = tuple(engine.value for engine in Engine)
_DOCKER_FIELDS = {"created": "Created", "architecture": "Architecture", "os": "Os", "config": "Config"}

ASSEMBLY_OPTIONS = (
    click.argument("source", metavar="IMAGE"),
    click.option(
        "--like", type=click.Choice(_ENGINES), default=_ENGINES[0], show_default=True,
        help="Tool whose PCR0 to reproduce: nitro-cli with Docker, or nitro-cli with Podman.",
    ),
    click.option("--arch", type=click.Choice(ARCHITECTURES), help="Architecture; by default, the image's own."),
    click.option("--image", "image_name", metavar="NAME", help="Image to use from an archive of several."),
    click.option(
        "--blobs", metavar="FOLDER",
        help=f"Folder with AWS's files.  [env var: {FOLDER_VARIABLE}; default: {NITRO_CLI_FOLDER}]",
    ),
    click.option("--kernel", metavar="FILE", help="Kernel, instead of the one in --blobs."),
    click.option("--cmdline", metavar="FILE", help="Kernel's command line, instead of the one in --blobs."),
    click.option("--init", metavar="FILE", help="Init program, instead of the one in --blobs."),
    click.option("--nsm", metavar="FILE", help="Driver of the NSM (nsm.ko), instead of the one in --blobs."),
    click.option("--name", metavar="TEXT", help="ImageName in the metadata."),
    click.option("--image-version", metavar="TEXT", help="ImageVersion in the metadata."),
    click.option(
        "--arg", multiple=True, metavar="TEXT",
        help="For a folder: the program to start; repeat for each of its arguments.",
    ),
    click.option(
        "--env", multiple=True, metavar="NAME=VALUE", help="For a folder: an environment variable; repeatable."
    ),
    click.option("--root-owner", is_flag=True, help="For a folder: make root the owner of every file."),
)  # fmt: skip
"""AssemblySettings."""


class AssemblySettings(Settings):
    """What the options of ``build`` and ``measure`` have in common."""

    source: str
    like: str
    arch: str | None
    image_name: str | None
    blobs: str | None
    kernel: str | None
    cmdline: str | None
    init: str | None
    nsm: str | None
    name: str | None
    image_version: str | None
    arg: tuple[str, ...]
    env: tuple[str, ...]
    root_owner: bool


@dataclass(frozen=True)
class _Content:
    """What the application's ramdisk is made of, and what the metadata says of it."""

    image: ContainerImage
    start: StartCommand
    docker_info: Any


@contextlib.contextmanager
def assembled_parts(settings: AssemblySettings) -> Iterator[tuple[ImageParts, Sequence[str]]]:
    """Return the parts of the image that the options describe, and warnings. Files stay open until the end.

    Raises:
        InputError: a file is missing, or options contradict each other.
        ImageError: the container image is malformed.
        OSError: a file cannot be read.
    """
    with _content(settings) as content:
        architecture = settings.arch or content.image.architecture or ARCHITECTURES[0]
        if architecture not in ARCHITECTURES:
            raise ImageError(
                "configuration", f"architecture {architecture}; an enclave is {' or '.join(ARCHITECTURES)}"
            )
        if content.image.architecture not in ("", architecture):
            raise InputError(f"--arch {architecture}: the image is for {content.image.architecture}")
        is_arm64 = architecture == "arm64"
        given = {name: getattr(settings, name) for name in ("kernel", "cmdline", "init", "nsm")}
        blobs = find_blobs(settings.blobs, given, is_arm64=is_arm64)
        image = content.image
        warnings = [*content.start.warnings, *irreproducible_parts(image.root, image.start, image.unlisted)]
        ramdisks = [
            init_ramdisk(FileSource(blobs.init), FileSource(blobs.nsm_driver)),
            container_ramdisk(image.root, content.start, Engine(settings.like)),
        ]
        metadata = encode_metadata(_metadata(settings, content, blobs))
        yield ImageParts(FileSource(blobs.kernel), blobs.cmdline, metadata, ramdisks, is_arm64), warnings


@contextlib.contextmanager
def _content(settings: AssemblySettings) -> Iterator[_Content]:
    if Path(settings.source).is_dir():
        yield _folder_content(settings)
        return
    if settings.arg or settings.env or settings.root_owner:
        raise InputError("--arg, --env and --root-owner are for a folder; an archive contains this information")
    with (
        open_input(settings.source) as stream,
        open_container_image(stream, architecture=settings.arch, name=settings.image_name) as image,
    ):
        info = {shown: image.config[name] for name, shown in _DOCKER_FIELDS.items() if name in image.config}
        yield _Content(image, start_command(image.start), {"Id": f"sha256:{image.image_id}", **info})


def _folder_content(settings: AssemblySettings) -> _Content:
    if settings.image_name is not None:
        raise InputError("--image is for an archive with several images, not for a folder")
    if not settings.arg:
        raise InputError(
            "--arg: a folder does not say which program to start",
            hint="give the program and each of its arguments as an option: --arg /app/server --arg --port --arg 5000",
        )
    root = read_folder(Path(settings.source), is_owned_by_root=settings.root_owner)
    image = ContainerImage(Path(settings.source).resolve().name, "", settings.arch or "", {}, root, ())
    return _Content(image, start_command({"Cmd": list(settings.arg), "Env": list(settings.env)}), None)


def _metadata(settings: AssemblySettings, content: _Content, blobs: Blobs) -> Metadata:
    system, version = UNKNOWN, UNKNOWN
    if blobs.kernel_config is not None:
        system, version = parse_kernel_config(blobs.kernel_config.read_text("utf-8", "replace")[:4096])
    image = content.image
    return Metadata(
        name=settings.name or image.name.partition(":")[0] or Path(settings.source).stem,
        version=settings.image_version or image.image_id or "1.0",
        build_time=_build_time(image),
        build_tool="kmstool-eif",
        build_tool_version=__version__,
        operating_system=system,
        kernel_version=version,
        docker_info=content.docker_info,
    )


def _build_time(image: ContainerImage) -> str:
    """Return a time that two builds of one image agree on."""
    seconds = os.environ.get(TIME_VARIABLE)
    if seconds is not None:
        if not (seconds.isascii() and seconds.isdigit()):
            raise InputError(f"{TIME_VARIABLE}: not a number of seconds since 1970")
        return datetime.fromtimestamp(int(seconds), UTC).isoformat()
    return str(image.config.get("created") or datetime.fromtimestamp(0, UTC).isoformat())
