"""Builds the images with docker, podman or buildah."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[2]
IMAGES = {
    "enclave": ("Dockerfile.enclave", ("vsock_wire", "enclave_tool", "requirements/enclave.txt")),
    "instance": ("Dockerfile.instance", ("vsock_wire", "instance_tool", "vsock_proxy", "requirements/instance.txt")),
}
"""For each image, its Dockerfile, and the other files that determine its content besides assemble.py and CA_FILE."""
ASSEMBLY = "tools/images/assemble.py"
LOCAL_BASE = "localhost/kmstool-base"
BUILD_ARGUMENTS = ("REGION", "ENDPOINT", "PROXY_PORT", "CA_FILE", "PIP_INDEX_URL")
"""Passed on from the environment if set there, even if empty."""
CA_FILE = "deploy/amazon-roots.pem"
"""The Dockerfile's default CA_FILE; a bundle must be in this folder (see .dockerignore)."""
SECRETS = {"pip_ca": ("PIP_CERT", "SSL_CERT_FILE"), "pip_conf": ("PIP_CONFIG_FILE",)}
"""Files on this machine that pip needs in the build, and the variables that name them."""


@dataclass(frozen=True)
class Builder:
    """A program that builds images.

    Attributes:
        program: its path.
        name: docker, podman or buildah.
        options: go before every command.
        build_options: for the build command only.
    """

    program: str
    name: str
    options: tuple[str, ...] = ()
    build_options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join((self.name, *self.options, *self.build_options))

    def build_command(self) -> list[str]:
        """Return the start of a command that builds an image from a Dockerfile."""
        return [self.program, *self.options, "bud" if self.name == "buildah" else "build"]

    def run(self, *arguments: str) -> None:
        """Run it; its own output explains a failure.

        Raises:
            SystemExit: it failed.
        """
        self._run([self.program, *self.options, *arguments])

    def build(self, image: str, tag: str, *, base: str, cached: bool, plant_s: int = 0) -> None:
        """Build one of IMAGES.

        Args:
            image: its name.
            tag: name of the result.
            base: the base image.
            cached: whether to reuse steps of an earlier build; buildah keeps them only if BUILD_OPTIONS has --layers.
            plant_s: seconds to add to the time of every file, to show that the comparison finds a difference.

        Raises:
            SystemExit: the build failed, or CA_FILE names a file that the build cannot see.
        """
        dockerfile, _ = IMAGES[image]
        commit, time_s = source_of(image)
        time_s += plant_s
        values = {"BASE_IMAGE": base, "COMMIT": commit, "SOURCE_DATE_EPOCH": str(time_s)}
        values |= {name: os.environ[name] for name in BUILD_ARGUMENTS if name in os.environ}
        arguments = [part for name, value in values.items() for part in ("--build-arg", f"{name}={value}")]
        for secret, path in _secrets().items():
            arguments += ["--secret", f"id={secret},src={path}"]
        if self.name != "docker":  # docker uses SOURCE_DATE_EPOCH as the time of what it copies
            arguments += ["--timestamp", str(time_s)]
        arguments += [] if cached else ["--no-cache"]
        arguments += ["--file", str(ROOT / dockerfile), "--tag", tag, str(ROOT)]
        self._run([*self.build_command(), *self.build_options, *arguments], {"DOCKER_BUILDKIT": "1"})

    def save(self, tag: str, archive: Path) -> None:
        """Write an image to an archive, which replaces an older one."""
        archive.parent.mkdir(parents=True, exist_ok=True)
        archive.unlink(missing_ok=True)
        if self.name == "buildah":
            self.run("push", "--quiet", tag, f"docker-archive:{archive}:{tag}")
        else:
            self.run("save", "--output", str(archive), tag)

    def has(self, tag: str) -> bool:
        """Return whether an image with that name exists."""
        verb = ["inspect", "--type", "image"] if self.name == "buildah" else ["image", "inspect"]
        command = [self.program, *self.options, *verb, tag]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def import_base(self, archive: Path, tag: str) -> None:
        """Create an image from a root file system's archive."""
        if self.name != "buildah":
            self.run("import", str(archive), tag)
            return
        command = [self.program, *self.options, "from", "scratch"]
        container = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        self.run("add", "--quiet", container, str(archive), "/")
        self.run("commit", "--quiet", "--rm", container, tag)

    def remove(self, tag: str) -> None:
        """Remove an image if it exists."""
        subprocess.run([self.program, *self.options, "rmi", tag], capture_output=True, check=False)

    def _run(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        done = subprocess.run(command, env={**os.environ, **(environment or {})}, check=False)
        if done.returncode:
            fail(f"{self.name} {command[len(self.options) + 1]}: exit code {done.returncode}")


def find_base(builder: Builder, work: Path) -> str:
    """Return the base image: BASE_IMAGE from the environment, or one built here from Debian's packages.

    Raises:
        SystemExit: BASE_IMAGE has no digest, so it may be another image tomorrow.
    """
    base = os.environ.get("BASE_IMAGE")
    if base:
        if "@sha256:" not in base and not base.startswith("localhost/"):
            fail(f"BASE_IMAGE: expected NAME@sha256:DIGEST, got {base}; a name alone may be another image tomorrow")
        return base
    if not builder.has(LOCAL_BASE):
        archive = work / "base.tar"
        print(
            f"building {LOCAL_BASE} from Debian's packages; BASE_IMAGE=NAME@sha256:DIGEST uses a registry's ...",
            flush=True,
        )
        work.mkdir(parents=True, exist_ok=True)
        script = Path(__file__).with_name("base_image.sh")
        made = subprocess.run(["sh", str(script), str(archive), "0", os.environ.get("DEBIAN_MIRROR", "")], check=False)
        if made.returncode:
            fail("the base image could not be built")
        builder.import_base(archive, LOCAL_BASE)
        archive.unlink()
    return LOCAL_BASE


def source_of(image: str) -> tuple[str, int]:
    """Return the commit that last changed the image's content, and its time in seconds since the epoch.

    It is not the newest commit, because a change to documentation must not change what key policies trust. "+changes"
    after the commit marks uncommitted changes.
    """
    dockerfile, sources = IMAGES[image]
    paths = [dockerfile, ASSEMBLY, *sources, *ca_files(image)]
    commit, _, time_s = _git("log", "-1", "--format=%H %ct", "--", *paths).partition(" ")
    if not commit:
        return "", 0
    is_changed = bool(_git("status", "--porcelain", "--", *paths))
    return commit[:12] + ("+changes" if is_changed else ""), int(time_s)


def ca_files(image: str) -> list[str]:
    """Return the CA bundle for an image, or an empty string to keep that of botocore.

    Raises:
        SystemExit: CA_FILE in the environment names a file that the build cannot see.
    """
    ca_file = os.environ.get("CA_FILE", CA_FILE)
    if image != "enclave" or not ca_file:
        return []
    path = Path(ca_file)
    if path.parent != Path("deploy") or path.suffix != ".pem" or not (ROOT / path).is_file():
        fail(
            f"CA_FILE: expected deploy/NAME.pem, a file in this project, or nothing for all that botocore ships, "
            f"got {ca_file}; copy your bundle to deploy/"
        )
    return [ca_file]


def fail(reason: str) -> NoReturn:
    """Exit with an error message."""
    print(f"error: {reason}", file=sys.stderr)
    raise SystemExit(1)


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def _secrets() -> dict[str, str]:
    found = {}
    for secret, variables in SECRETS.items():
        paths = [os.environ[name] for name in variables if os.environ.get(name)]
        if paths and Path(paths[0]).is_file():
            found[secret] = paths[0]
    return found
