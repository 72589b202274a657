"""What the Makefile's targets for images do: build them, save them, compare two builds, say what is in one."""

from __future__ import annotations

import argparse
import stat
from collections import Counter
from pathlib import Path

from tools.images.archive import Image, differences, read_image
from tools.images.builder import IMAGES, Builder, fail, find_base
from tools.images.builder_choice import find_builder

WORK = Path("build/images")
SHOWN_DIFFERENCES = 20
MOST_BYTES = 80 << 20
"""For the enclave's image beyond what a base of libc and Python has."""
BASE_PREFIXES = ("lib", "lib64", "usr/lib", "usr/bin/python")
"""libc, Python, and the libraries that Python is linked with."""


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("build", "verify", "report"))
    parser.add_argument("images", nargs="*", default=list(IMAGES))
    parser.add_argument("--plant", type=int, default=0, metavar="SECONDS", help="add them to the second build's times")
    options = parser.parse_args()
    if options.action == "report":
        for image in options.images:
            report(image, read_image(saved(image)))
        return
    builder = find_builder()
    base = find_base(builder, WORK)
    for image in options.images:
        build(builder, image, base) if options.action == "build" else verify(builder, image, base, options.plant)


def tag(image: str) -> str:
    """Return the name of an image."""
    return f"localhost/kmstool-{image}:latest"


def saved(image: str) -> Path:
    """Return where an image is saved."""
    return WORK / f"{image}.tar"


def build(builder: Builder, image: str, base: str) -> None:
    """Build an image and save it."""
    builder.build(image, tag(image), base=base, cached=True)
    builder.save(tag(image), saved(image))
    print(f"{tag(image)}: built by {builder}; as an archive in {saved(image)}")


def verify(builder: Builder, image: str, base: str, plant_s: int) -> None:
    """Build an image twice from the start, and compare every file.

    Raises:
        SystemExit: the builds differ; the files are named.
    """
    builds = []
    for number, planted_s in ((1, 0), (2, plant_s)):
        name, archive = f"localhost/kmstool-{image}:build-{number}", WORK / f"{image}-{number}.tar"
        builder.build(image, name, base=base, cached=False, plant_s=planted_s)
        builder.save(name, archive)
        builds.append(read_image(archive))
    found = list(differences(*builds))
    for line in found[:SHOWN_DIFFERENCES]:
        print(f"{image}: {line}")
    if found:
        fail(f"{image}: two builds of the same source differ in {len(found)} things")
    print(f"{image}: {len(builds[0].entries)} files of two builds have the same bytes, modes, owners and times")


def report(image: str, content: Image) -> None:
    """Say what takes the space in an image, and fail where it holds what it must not.

    Raises:
        SystemExit: there is a file with set-user-ID or set-group-ID, or too much of everything.
    """
    for part, size in sizes_by_part(content).most_common():
        print(f"{image}\t{size / (1 << 20):6.1f} MiB\t{part}")
    size, total = beyond_base_bytes(content), sizes_by_part(content).total()
    print(f"{image}\t{size / (1 << 20):6.1f} MiB\tbeyond libc and Python, of {total / (1 << 20):.1f}")
    print(f"{image}\tstarts with {content.command}")
    privileged = privileged_paths(content)
    print(f"{image}\tset-user-ID or set-group-ID: {', '.join(privileged) or 'none'}")
    if privileged or size > MOST_BYTES:
        fail(f"{image}: expected no privileged file and at most {MOST_BYTES >> 20} MiB beyond the base, got more")


def sizes_by_part(image: Image) -> Counter[str]:
    """Return the bytes of an image's files by what they belong to."""
    sizes: Counter[str] = Counter()
    for path, entry in image.entries.items():
        sizes[_part(path)] += entry.size_bytes
    return sizes


def beyond_base_bytes(image: Image) -> int:
    """Return the bytes of an image beyond what a base of libc and Python has."""
    return sum(size for part, size in sizes_by_part(image).items() if not part.startswith("base: "))


def privileged_paths(image: Image) -> list[str]:
    """Return the files that run with the rights of their owner or group."""
    return [path for path, entry in image.entries.items() if entry.mode & (stat.S_ISUID | stat.S_ISGID)]


def _part(path: str) -> str:
    _, separator, behind = path.partition("dist-packages/")
    if not separator:
        _, separator, behind = path.partition("site-packages/")
    if separator:
        name = behind.partition("/")[0]
        return name.partition("-")[0] if name.endswith(".dist-info") else name.partition(".")[0]
    if path.startswith(BASE_PREFIXES) or path.startswith("usr/local/lib"):
        library = "/python3" in path
        return "base: Python and its standard library" if library else "base: libc and other libraries"
    return "the rest"


if __name__ == "__main__":
    main()
