"""Images that a test run builds, and the archives in which it saves them."""

from __future__ import annotations

from pathlib import Path

from tools.images.builder import Builder


class Built:
    """Builds images, each under a name of this run.

    Args:
        builder: the program that builds them.
        base: the base image.
        folder: the folder for the archives.
        run: makes the names unique to this run.
    """

    def __init__(self, builder: Builder, base: str, folder: Path, *, run: str) -> None:
        self._builder = builder
        self._base = base
        self._folder = folder
        self._run = run
        self._archives: dict[str, Path] = {}
        self._tags: set[str] = set()

    def archive(self, image: str) -> Path:
        """Return the archive of an image, which is built on the first call."""
        if image not in self._archives:
            self._archives[image] = self.build(image, image)
        return self._archives[image]

    def build(self, image: str, variant: str, *, cached: bool = True, plant_s: int = 0) -> Path:
        """Build an image, and return its archive.

        Args:
            image: its name.
            variant: distinguishes several builds of the same image.
            cached: whether the builder may reuse steps of an earlier build.
            plant_s: seconds to add to the time of every file.
        """
        tag = f"localhost/kmstool-test-{self._run}:{variant}"
        archive = self._folder / f"{variant}.tar"
        self._tags.add(tag)
        self._builder.build(image, tag, base=self._base, cached=cached, plant_s=plant_s)
        self._builder.save(tag, archive)
        return archive

    def remove(self) -> None:
        """Remove the images; the archives stay until the next run."""
        for tag in self._tags:
            self._builder.remove(tag)
