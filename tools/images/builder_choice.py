"""Chooses the program that builds the images, and the options that it needs on this machine.

What a container may do depends on the machine: overlay file systems need rights that a container may lack, and buildah
and podman start an OCI runtime for each step unless they isolate it by chroot. So this module tries each combination on
a build with one small step, from the most isolated to the least demanding, and uses the first that works.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from tools.images.builder import Builder, fail

BUILDERS = ("docker", "podman", "buildah")
Choices: TypeAlias = tuple[tuple[str, ...], ...]
STORAGE: Choices = ((), ("--storage-driver", "vfs"))
ISOLATION: Choices = ((), ("--isolation", "chroot"))
"""Options of podman and buildah; docker's daemon has its own settings."""
PROBE_TAG = "localhost/kmstool-probe"
PROBE_TIMEOUT_S = 60.0
"""A probe takes half a second; a daemon that does not answer must not block everything."""
MOST_SHOWN = 300


class NoBuilderError(Exception):
    """No builder works here; the text names each one tried and why it failed."""


def find_builder() -> Builder:
    """Return the builder that ``choose_builder`` finds.

    Raises:
        SystemExit: none works.
    """
    try:
        return choose_builder(os.environ)
    except NoBuilderError as error:
        fail(str(error))


def choose_builder(environment: Mapping[str, str]) -> Builder:
    """Return the first builder that works here.

    Args:
        environment: BUILDER names the only program to try; BUILDER_OPTIONS and BUILD_OPTIONS, even if empty, replace
            the options to try.

    Raises:
        NoBuilderError: none works.
    """
    wanted = environment.get("BUILDER")
    failures = []
    for name in [wanted] if wanted else BUILDERS:
        program = shutil.which(name, path=environment.get("PATH"))
        if program is None:
            failures.append(f"{name}: not found")
            continue
        for builder in _candidates(program, Path(name).name, environment):
            reason = _reason_against(builder)
            if not reason:
                return builder
            failures.append(f"{builder}: {reason}")
    tried = "\n".join(f"  {failure}" for failure in failures)
    raise NoBuilderError(
        f"no image builder works here:\n{tried}\nhint: on Debian, apt-get install buildah; or set BUILDER, "
        "BUILDER_OPTIONS and BUILD_OPTIONS (docs/how-to/build-images.md)"
    )


def _candidates(program: str, name: str, environment: Mapping[str, str]) -> Iterator[Builder]:
    for options in _choices("BUILDER_OPTIONS", STORAGE, name, environment):
        for build_options in _choices("BUILD_OPTIONS", ISOLATION, name, environment):
            yield Builder(program, name, options, build_options)


def _choices(variable: str, choices: Choices, name: str, environment: Mapping[str, str]) -> Choices:
    if variable in environment:
        return (tuple(environment[variable].split()),)
    return choices if name != "docker" else choices[:1]


def _reason_against(builder: Builder) -> str:
    """Return why a builder cannot be used, or an empty string."""
    if builder.name == "docker":
        return _failure([builder.program, *builder.options, "info"])
    with tempfile.TemporaryDirectory(prefix="kmstool-probe-") as folder:
        return _failure_of_a_build(builder, Path(folder))


def _failure_of_a_build(builder: Builder, folder: Path) -> str:
    """Run a program of this machine as the only step of a build, which needs storage and isolation but no network."""
    step = shutil.which("true") or "/bin/true"
    for file in (step, *_libraries(step)):
        copy = folder / file.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    (folder / "Dockerfile").write_text(f'FROM scratch\nCOPY . /\nRUN ["{step}"]\n', "utf-8")
    arguments = ["--quiet", "--no-cache", "--tag", PROBE_TAG, str(folder)]
    reason = _failure([*builder.build_command(), *builder.build_options, *arguments])
    if not reason:
        _failure([builder.program, *builder.options, "rmi", PROBE_TAG])
    return reason


def _libraries(program: str) -> list[str]:
    """Return the files that a program is linked against, none if it is static."""
    try:
        done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return []
    return re.findall(r"(/\S+)", done.stdout) if done.returncode == 0 else []


def _failure(command: list[str]) -> str:
    """Run a command and return what it reports about a failure, or an empty string if it succeeds."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {PROBE_TIMEOUT_S:g} s"
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(?i)error", line)]
    return " ".join(errors or lines[-1:])[:MOST_SHOWN] or f"exit code {done.returncode}"
