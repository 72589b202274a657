"""Build the wheel and the sdist, install them outside this checkout, and run them."""

from __future__ import annotations

import json
import os
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.project.distribution import build, run
from tools.commit_hook import COMMIT_FILE, read_commit
from vsock_wire import __version__

TOOLS = ("kmstool-instance", "kmstool-eif", "kmstool-enclave", "kmstool-enclave-cli", "vsock-proxy", "kmstool-sim")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with only the wheel, which uses this Python's libraries."""
    target = tmp_path_factory.mktemp("installed")
    done = run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, wheel, cwd=target)
    assert done.returncode == 0, done.stderr
    return target


def _files(wheel: Path) -> dict[str, list[bytes]]:
    """Return the lines of each file, sorted because RECORD lists files in the order they were added."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: sorted(archive.read(name).splitlines()) for name in archive.namelist()}


def commit_of(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(COMMIT_FILE).decode()


def test_wheel_records_its_commit(checkout: Path, wheel: Path) -> None:
    commit = read_commit(checkout)
    assert len(commit) == 12
    assert commit_of(wheel) == f"{commit}\n"


def test_uncommitted_change_is_recorded(checkout: Path) -> None:
    readme = checkout / "README.md"
    text = readme.read_text("utf-8")
    readme.write_text("changed", "utf-8")
    try:
        assert read_commit(checkout).endswith("+changes")
    finally:
        readme.write_text(text, "utf-8")


def test_wheel_from_the_sdist_equals_the_one_from_the_checkout(checkout: Path, wheel: Path, tmp_path: Path) -> None:
    sdist = build(checkout, tmp_path / "sdist", "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    again = build(source, tmp_path / "wheel", "wheel")
    assert _files(again) == _files(wheel)


def test_wheel_contains_the_packages_and_nothing_else_from_this_checkout(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        folders = {name.partition("/")[0] for name in archive.namelist()}
    packages = {"vsock_wire", "nitro_attestation", "enclave_tool", "instance_tool", "vsock_proxy", "nitro_simulator"}
    name = f"nitro_kmstool-{__version__}"
    assert folders - packages == {f"{name}.dist-info", "_0_nitro_kmstool.pth", *({f"{name}.data"} & folders)}


@pytest.mark.parametrize("tool", TOOLS)
def test_installed_tool_shows_version_and_commit(tool: str, installed: Path, checkout: Path) -> None:
    done = run(installed / "bin" / tool, "--version", cwd=installed, PYTHONPATH=str(installed))
    assert done.stdout == f"{tool}, version {__version__} (commit {read_commit(checkout)})\n", done.stderr


def test_installed_proxy_has_the_built_in_allowlist(installed: Path) -> None:
    done = run(installed / "bin/vsock-proxy", "check", cwd=installed, PYTHONPATH=str(installed))
    assert done.stdout.startswith(f"config {installed}/vsock_proxy/config/kms_endpoints.yaml\n"), done.stderr
    assert "allow kms.us-east-1.amazonaws.com port 443\n" in done.stdout


def test_installed_tools_run_the_whole_flow(installed: Path, tmp_path: Path) -> None:
    path = f"{installed / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = run(installed / "bin/kmstool-sim", "demo", cwd=tmp_path, PYTHONPATH=str(installed), PATH=path)
    assert done.returncode == 0, done.stderr
    where = (
        "import json, vsock_wire, nitro_simulator; print(json.dumps([vsock_wire.__file__, nitro_simulator.__file__]))"
    )
    loaded = run(sys.executable, "-c", where, cwd=tmp_path, PYTHONPATH=str(installed))
    assert all(name.startswith(f"{installed}/") for name in json.loads(loaded.stdout))
