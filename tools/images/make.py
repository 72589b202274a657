"""The Makefile's targets for images: build and save them, compare two builds, report what is in one."""

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
"""Limit on the enclave's image, without libc and Python."""
BASE_PREFIXES = ("lib", "lib64", "usr/lib", "usr/bin/python")
"""libc, Python, and the libraries that Python is linked with."""


def main() -> None:
    """Run the command that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("build", "verify", "report"))
    parser.add_argument("images", nargs="*", default=list(IMAGES))
    parser.add_argument("--plant", type=int, default=0, metavar="SECONDS", help="make the second build's files newer")
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
    """Return the path that an image is saved to."""
    return WORK / f"{image}.tar"


def build(builder: Builder, image: str, base: str) -> None:
    """Build an image and save it."""
    builder.build(image, tag(image), base=base, cached=True)
    builder.save(tag(image), saved(image))
    print(f"{tag(image)}: built with {builder}, saved to {saved(image)}")


def verify(builder: Builder, image: str, base: str, plant_s: int) -> None:
    """Build an image twice from scratch, and compare every file.

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
        fail(f"{image}: two builds of the same source have {len(found)} differences")
    print(f"{image}: {len(builds[0].entries)} files of two builds have the same bytes, modes, owners and times")


def report(image: str, content: Image) -> None:
    """Print what takes up space in an image, and fail if it contains what it must not.

    Raises:
        SystemExit: a file has set-user-ID or set-group-ID, or the image is too large.
    """
    for part, size in sizes_by_part(content).most_common():
        print(f"{image}\t{size / (1 << 20):6.1f} MiB\t{part}")
    size, total = beyond_base_bytes(content), sizes_by_part(content).total()
    print(f"{image}\t{size / (1 << 20):6.1f} MiB\tbeyond libc and Python, of {total / (1 << 20):.1f}")
    print(f"{image}\tstarts with {content.command}")
    privileged = privileged_paths(content)
    print(f"{image}\tset-user-ID or set-group-ID: {', '.join(privileged) or 'none'}")
    if privileged or size > MOST_BYTES:
        fail(f"{image}: has privileged files, or more than {MOST_BYTES >> 20} MiB beyond the base")


def sizes_by_part(image: Image) -> Counter[str]:
    """Return the size of an image's files by what they belong to."""
    sizes: Counter[str] = Counter()
    for path, entry in image.entries.items():
        sizes[_part(path)] += entry.size_bytes
    return sizes


def beyond_base_bytes(image: Image) -> int:
    """Return the size of an image without libc and Python."""
    return sum(size for part, size in sizes_by_part(image).items() if not part.startswith("base: "))


def privileged_paths(image: Image) -> list[str]:
    """Return the files that run with the rights of their owner or group."""
    return [path for path, entry in image.entries.items() if entry.mode & (stat.S_ISUID | stat.S_ISGID)]


def _part(path: str) -> str:
    _, separator, tail = path.partition("dist-packages/")
    if not separator:
        _, separator, tail = path.partition("site-packages/")
    if separator:
        name = tail.partition("/")[0]
        return name.partition("-")[0] if name.endswith(".dist-info") else name.partition(".")[0]
    if path.startswith(BASE_PREFIXES) or path.startswith("usr/local/lib"):
        library = "/python3" in path
        return "base: Python and its standard library" if library else "base: libc and other libraries"
    return "the rest"


if __name__ == "__main__":
    main()
