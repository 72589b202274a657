"""The contents of the images, and whether a second build is identical."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import botocore
import certifi
import pytest

from tests.support.images.built import Built
from tools.images.archive import Image, differences, read_files, read_image
from tools.images.assemble import PACKAGES_FILE
from tools.images.make import MOST_BYTES, beyond_base_bytes, privileged_paths
from vsock_wire import __version__

ROOT = Path(__file__).parents[2]
IMAGES = ("enclave", "instance")
NOT_NEEDED = re.compile(r"(^|/)(sh|bash|dash|busybox|apt|dpkg|perl|gcc|cc|curl|wget|pip|ensurepip|tests?)(/|$)")
"""Shells, package managers, compilers, and tests."""
NON_ROOT = "65532:65532"
TIMEOUT_S = 60.0


@pytest.fixture(params=IMAGES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def image(name: str, archive_of: Callable[[str], Path]) -> Image:
    return read_image(archive_of(name))


@pytest.fixture(scope="module")
def root_of(archive_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Unpack an image, and return the folder."""
    unpacked: dict[str, Path] = {}

    def unpack(name: str) -> Path:
        if name not in unpacked:
            folder = unpacked[name] = tmp_path_factory.mktemp(name)
            folder.chmod(0o755)
            for member, content in read_files(archive_of(name)):
                _write(folder, member, content)
        return unpacked[name]

    return unpack


def _write(root: Path, member: tarfile.TarInfo, content: bytes) -> None:
    path = root / member.name
    if member.isdir():
        path.mkdir(exist_ok=True)
    elif member.issym():
        path.symlink_to(member.linkname)
        return
    else:
        path.write_bytes(content)
    path.chmod(member.mode)


def run_in(root: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of an image as an unprivileged user with the image's own PATH."""
    return subprocess.run(
        ["chroot", f"--userspec={NON_ROOT}", root, *command],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={"PATH": f"/usr/bin{os.pathsep}/usr/sbin", **environment},
        check=False,
    )


def bundle_of(image: Image) -> str:
    """Return the SHA-256 of the authorities in an image."""
    (bundle,) = (entry for path, entry in image.entries.items() if path.endswith("/botocore/cacert.pem"))
    return bundle.content


def test_no_file_is_setuid_or_setgid(image: Image) -> None:
    assert privileged_paths(image) == []


def test_everything_belongs_to_root_and_only_tmp_is_writable_by_others(image: Image) -> None:
    assert {entry.owner for entry in image.entries.values()} == {(0, 0)}
    writable = [path for path, entry in image.entries.items() if entry.mode & 0o022 and entry.kind != "sym"]
    assert writable == ["tmp"]


def test_there_is_no_shell_no_package_manager_and_no_test(image: Image) -> None:
    assert "usr/bin/python3.11" in image.entries
    assert [path for path in image.entries if NOT_NEEDED.search(path)] == []


def test_size_beyond_libc_and_python(image: Image) -> None:
    assert 10 << 20 < beyond_base_bytes(image) <= MOST_BYTES


def test_installed_packages_are_the_locked_ones(name: str, root_of: Callable[[str], Path]) -> None:
    lines = (root_of(name) / PACKAGES_FILE).read_text("utf-8").splitlines()
    wheels = {tuple(line.split("\t")[1:]) for line in lines if line.startswith("wheel\t")}
    locked = re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / f"requirements/{name}.txt").read_text("utf-8"), re.MULTILINE)
    assert {(package.replace("_", "-").lower(), version) for package, version in wheels} <= {
        (package.replace("_", "-").lower(), version) for package, version in locked
    }
    assert "cryptography" in {package for package, _ in wheels}
    assert any(line.startswith("debian\tlibc6\t") for line in lines)


def test_botocore_has_only_the_services_that_the_tools_call(name: str, image: Image) -> None:
    services = {
        match[1] for path in image.entries if (match := re.search(r"/botocore/data/([^/]+)/[^/]+/service-2", path))
    }
    assert services == {"enclave": {"kms"}, "instance": {"sts", "sso", "sso-oidc", "signin"}}[name]


def test_only_amazons_roots_may_name_kms(archive_of: Callable[[str], Path]) -> None:
    assert (
        bundle_of(read_image(archive_of("enclave")))
        == hashlib.sha256((ROOT / "deploy/amazon-roots.pem").read_bytes()).hexdigest()
    )


@pytest.mark.parametrize("is_own", [True, False], ids=["another bundle", "nothing"])
def test_ca_file_says_who_may_name_kms(is_own: bool, built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    own = ROOT / "deploy/test-roots.pem"
    bundle = Path(certifi.where()) if is_own else Path(botocore.__file__).with_name("cacert.pem")
    try:
        if is_own:
            shutil.copyfile(bundle, own)
        monkeypatch.setenv("CA_FILE", "deploy/test-roots.pem" if is_own else "")
        archive = built.build("enclave", "ca-file")
    finally:
        own.unlink(missing_ok=True)
    assert bundle_of(read_image(archive)) == hashlib.sha256(bundle.read_bytes()).hexdigest()


def test_instance_image_is_not_for_root(archive_of: Callable[[str], Path]) -> None:
    assert read_image(archive_of("instance")).start["User"] == NON_ROOT


@pytest.mark.parametrize(
    ("name", "tool"),
    [("enclave", "kmstool-enclave"), ("enclave", "kmstool-enclave-cli"), ("instance", "kmstool-instance"),
     ("instance", "vsock-proxy")],
)  # fmt: skip
class TestTools:
    def test_shows_its_help(self, name: str, tool: str, root_of: Callable[[str], Path]) -> None:
        done = run_in(root_of(name), tool, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"Usage: {tool} ")

    def test_shows_its_version(self, name: str, tool: str, root_of: Callable[[str], Path]) -> None:
        done = run_in(root_of(name), tool, "--version")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"{tool}, version {__version__}")

    def test_takes_no_code_from_its_environment(self, name: str, tool: str, root_of: Callable[[str], Path]) -> None:
        root = root_of(name)
        planted = root / "tmp" / "click.py"
        planted.write_text("print('planted')\n", "utf-8")
        try:
            done = run_in(root, tool, "--help", PYTHONPATH="/tmp")
        finally:
            planted.unlink()
        assert (done.returncode, done.stderr) == (0, "")
        assert "planted" not in done.stdout


class TestBuiltAgain:
    @pytest.fixture
    def again(self, built: Built) -> Callable[[int], Image]:
        return lambda plant_s: read_image(built.build("enclave", "again", cached=False, plant_s=plant_s))

    def test_it_is_the_same(self, archive_of: Callable[[str], Path], again: Callable[[int], Image]) -> None:
        assert list(differences(read_image(archive_of("enclave")), again(0))) == []

    def test_planted_time_is_found(self, archive_of: Callable[[str], Path], again: Callable[[int], Image]) -> None:
        found = list(differences(read_image(archive_of("enclave")), again(1)))
        assert any(re.match(r"usr/bin/kmstool-enclave: time_s: (\d+), then (?!\1$)\d+$", line) for line in found)
