"""The choice of image builder and its options, with stand-ins that work in only one way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tools.images import builder_choice
from tools.images.builder_choice import NoBuilderError, choose_builder, find_builder

STAND_IN = """#!/bin/sh
echo "$@" >> "{calls}"
case " $* " in
*"{works_with}"*) exit 0 ;;
esac
echo "some warning" >&2
echo "Error: {name} may not do that" >&2
exit 125
"""
NEVER = "nothing says this"
VFS = ("--storage-driver", "vfs")
CHROOT = ("--isolation", "chroot")
Install = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    return tmp_path


@pytest.fixture
def install(folder: Path) -> Install:
    """Put a stand-in into the only folder in PATH; return the file that records its calls."""

    def write(name: str, *, works_with: str = "") -> Path:
        calls = folder / f"{name}.calls"
        program = folder / "bin" / name
        program.write_text(STAND_IN.format(calls=calls, works_with=works_with, name=name), "utf-8")
        program.chmod(0o755)
        return calls

    return write


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    return {"PATH": str(folder / "bin")}


def test_working_docker_is_chosen_first_and_without_options(install: Install, environment: dict[str, str]) -> None:
    calls, others = install("docker"), [install("podman"), install("buildah")]
    builder = choose_builder(environment)
    assert (builder.name, builder.options, builder.build_options) == ("docker", (), ())
    assert calls.read_text("utf-8") == "info\n"
    assert not any(other.exists() for other in others)


def test_docker_that_does_not_answer_is_skipped(install: Install, environment: dict[str, str]) -> None:
    install("docker", works_with=NEVER)
    install("buildah")
    assert str(choose_builder(environment)) == "buildah"


@pytest.mark.parametrize("name", ["podman", "buildah"])
@pytest.mark.parametrize(
    ("works_with", "expected"),
    [
        ("", ((), ())),
        ("--isolation chroot", ((), CHROOT)),
        ("--storage-driver vfs", (VFS, ())),
        ("--storage-driver vfs {verb} --isolation chroot", (VFS, CHROOT)),
    ],
)
def test_storage_driver_and_isolation_are_the_first_that_work(
    name: str,
    works_with: str,
    expected: tuple[tuple[str, ...], tuple[str, ...]],
    install: Install,
    environment: dict[str, str],
) -> None:
    verb = {"podman": "build", "buildah": "bud"}[name]
    calls = install(name, works_with=works_with.format(verb=verb))
    builder = choose_builder(environment)
    assert (builder.name, builder.options, builder.build_options) == (name, *expected)
    options, build_options = expected
    *builds, removal = calls.read_text("utf-8").splitlines()
    assert builds[-1].startswith(" ".join((*options, verb, *build_options, "--quiet --no-cache --tag ")))
    assert removal == " ".join((*options, "rmi", builder_choice.PROBE_TAG))


def test_error_names_every_attempt_and_its_reason(install: Install, environment: dict[str, str]) -> None:
    install("docker", works_with=NEVER)
    install("buildah", works_with=NEVER)
    with pytest.raises(NoBuilderError) as caught:
        choose_builder(environment)
    first, *tried, hint = str(caught.value).splitlines()
    assert first == "no image builder works here:"
    reason = "Error: buildah may not do that"
    assert tried == [
        "  docker: Error: docker may not do that",
        "  podman: not found",
        f"  buildah: {reason}",
        f"  buildah --isolation chroot: {reason}",
        f"  buildah --storage-driver vfs: {reason}",
        f"  buildah --storage-driver vfs --isolation chroot: {reason}",
    ]
    assert "apt-get install buildah" in hint


def test_builder_that_does_not_answer_does_not_block(
    folder: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = folder / "bin" / "docker"
    program.write_text("#!/bin/sh\nexec sleep 1000\n", "utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(builder_choice, "PROBE_TIMEOUT_S", 0.1)
    monkeypatch.setenv("PATH", f"{environment['PATH']}:/usr/bin:/bin")
    with pytest.raises(NoBuilderError, match=r"docker: no answer within 0\.1 s"):
        choose_builder(environment)


class TestVariables:
    def test_builder_names_the_only_program(self, install: Install, environment: dict[str, str]) -> None:
        calls = install("docker")
        install("podman")
        assert choose_builder(environment | {"BUILDER": "podman"}).name == "podman"
        assert not calls.exists()

    def test_builder_may_be_a_path(self, install: Install, folder: Path) -> None:
        install("buildah")
        builder = choose_builder({"PATH": "/nowhere", "BUILDER": str(folder / "bin" / "buildah")})
        assert (builder.name, builder.program) == ("buildah", str(folder / "bin" / "buildah"))

    def test_builder_that_is_not_there_is_an_error(self, install: Install, environment: dict[str, str]) -> None:
        install("buildah")
        with pytest.raises(NoBuilderError, match="podman: not found"):
            choose_builder(environment | {"BUILDER": "podman"})

    def test_options_are_used_instead_of_what_would_be_tried(
        self, install: Install, environment: dict[str, str]
    ) -> None:
        calls = install("buildah", works_with="--root /elsewhere bud --isolation chroot")
        builder = choose_builder(environment | {"BUILDER_OPTIONS": "--root /elsewhere"})
        assert (builder.options, builder.build_options) == (("--root", "/elsewhere"), CHROOT)
        assert all(line.startswith("--root /elsewhere ") for line in calls.read_text("utf-8").splitlines())

    def test_empty_options_are_used_too(self, install: Install, environment: dict[str, str]) -> None:
        install("buildah", works_with="--isolation chroot")
        with pytest.raises(NoBuilderError) as caught:
            choose_builder(environment | {"BUILD_OPTIONS": ""})
        assert "--isolation" not in str(caught.value)


def test_command_line_prints_why_no_builder_works(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("BUILDER", "BUILDER_OPTIONS", "BUILD_OPTIONS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", environment["PATH"])
    with pytest.raises(SystemExit) as caught:
        find_builder()
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith("error: no image builder works here:\n  docker: not found\n")
