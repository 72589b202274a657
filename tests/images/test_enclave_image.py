"""The enclave's image as the root of a guest kernel: its own command, real vsock, the real ioctl on a character device.

Its parent is on the same kernel, or on another one with CID 3, while the enclave has CID 16, as on EC2. KMS and the
module that serves the device are simulated, and the simulation chooses PCR0: only AWS has real ones.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.images.availability import need_images
from tests.support.images.parent_side import PLAINTEXT
from tests.support.images.ramdisk import write_ramdisk
from tests.support.vsock.availability import find_program
from tests.support.vsock.guest import COMPILER, KERNEL, Guest
from tests.support.vsock.ports import CID_LOCAL
from tests.support.vsock.vsock_switch import VsockSwitch
from tools.images.archive import read_image
from vsock_wire.errors import ExitCode
from vsock_wire.net.address import CID_PARENT

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "support" / "images"
GUEST_TIMEOUT_S = 180.0
MOST_START_UP_S = 15.0
"""Far above the time in docs/how-to/build-images.md, so that only an image that does not start fails."""
CID_ENCLAVE = 16
COMMAND_ARGUMENTS = ["--ca-file", "/run/ca.pem", "--verbose"]
"""The only difference from a real enclave: KMS's certificate comes from an authority of this test."""
STRICT = ("-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-result")


@dataclass(frozen=True)
class Boot:
    """The guests' output: the results of the parent's side, the enclave's console, and the proxy's log."""

    found: dict[str, Any]
    console: str
    proxy_log: str


@pytest.fixture(scope="module")
def archive(archive_of: Callable[[str], Path]) -> Path:
    return archive_of("enclave")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the first process and the device."""
    folder = tmp_path_factory.mktemp("programs")
    _compile(FOLDER / "enclave_init.c", folder / "init", "-static")
    _compile(FOLDER / "nsm_device.c", folder / "nsm_device", "-I/usr/include/fuse3", "-lfuse3")
    return folder


@pytest.fixture(scope="module")
def kernel() -> Path:
    need_images()
    path = find_program(KERNEL)
    assert path is not None
    return path


@pytest.fixture(scope="module")
def boot_of_one_kernel(archive: Path, kernel: Path, programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Boot:
    """Boot the image with its parent on the same kernel."""
    ramdisk = tmp_path_factory.mktemp("one") / "ramdisk"
    arguments = ["--parent-cid", str(CID_LOCAL), *COMMAND_ARGUMENTS]
    write_ramdisk(ramdisk, init=programs / "init", image=read_image(archive), archive=archive, arguments=arguments)
    with Guest(kernel) as guest:
        enclave_side = _enclave_side(programs, CID_LOCAL, guest, parent=guest)
        script = f"{enclave_side} &\ncd {shlex.quote(str(ROOT))}\nexec {shlex.join(_parent_side(CID_LOCAL, guest))}\n"
        guest.boot_ramdisk(ramdisk, script)
        return _outcome(enclave=guest, parent=guest)


@pytest.fixture(scope="module")
def boot_of_two_kernels(archive: Path, kernel: Path, programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Boot:
    """Boot the image on a kernel with CID 16, and its parent on another with CID 3."""
    ramdisk = tmp_path_factory.mktemp("two") / "ramdisk"
    write_ramdisk(
        ramdisk, init=programs / "init", image=read_image(archive), archive=archive, arguments=COMMAND_ARGUMENTS
    )
    with (
        tempfile.TemporaryDirectory(prefix="cids") as folder,
        VsockSwitch(Path(folder), [CID_PARENT, CID_ENCLAVE]) as switch,
        Guest(kernel, vsock_device=switch.device(CID_ENCLAVE)) as enclave,
        Guest(kernel, vsock_device=switch.device(CID_PARENT)) as parent,
    ):
        enclave.boot_ramdisk(ramdisk, f"exec {_enclave_side(programs, CID_PARENT, enclave, parent=parent)}\n")
        parent.boot(_parent_side(CID_ENCLAVE, parent), directory=ROOT)
        return _outcome(enclave=enclave, parent=parent)


def _enclave_side(programs: Path, module_cid: int, guest: Guest, *, parent: Guest) -> str:
    command = ["sh", FOLDER / "enclave_side.sh", programs / "nsm_device", module_cid, guest.ram, parent.out]
    return shlex.join(map(str, command))


def _parent_side(enclave_cid: int, guest: Guest) -> list[str]:
    command = [sys.executable, "-m", "tests.support.images.parent_side", enclave_cid, guest.ram, guest.out]
    return ["env", f"TMPDIR={guest.ram}", *map(str, command)]


def _outcome(*, enclave: Guest, parent: Guest) -> Boot:
    has_ended = parent.wait(GUEST_TIMEOUT_S)
    consoles = "\n".join(guest.console_text() for guest in dict.fromkeys((enclave, parent)))
    result = parent.out / "result.json"
    assert has_ended, consoles
    assert result.exists(), consoles
    proxy_log = (parent.out / "proxy.log").read_text("utf-8")
    return Boot(json.loads(result.read_text("utf-8")), enclave.console_text(), proxy_log)


def _compile(source: Path, program: Path, *options: str) -> None:
    command = [COMPILER, *STRICT, "-o", str(program), str(source), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(params=["one kernel", "two kernels"])
def boot(request: pytest.FixtureRequest) -> Boot:
    found: Boot = request.getfixturevalue(f"boot_of_{request.param.replace(' ', '_')}")
    return found


class TestBoot:
    def test_the_images_own_command_listens(self, boot: Boot) -> None:
        assert "init: starts kmstool-enclave at " in boot.console
        assert "init: the command ended" not in boot.console

    def test_module_is_a_character_device_that_takes_the_real_ioctl(self, boot: Boot) -> None:
        answers = re.findall(r"nsm_device: ioctl 0xc0200a00, request (\d+) bytes, response (\d+)", boot.console)
        assert len(answers) >= 2
        assert max(int(size) for _, size in answers) > 2_000  # a document, which holds a chain of certificates

    def test_decrypt_succeeds(self, boot: Boot) -> None:
        assert boot.found["enclave"] == {
            "exit code": ExitCode.DONE,
            "stdout": PLAINTEXT.decode() + "\n",
            "stderr": "",
        }
        assert boot.found["pcr0 seen by KMS"] == boot.found["expected_pcr0"]

    def test_enclave_whose_pcr0_is_not_in_the_policy_is_refused(self, boot: Boot) -> None:
        outcome = boot.found["other_enclave"]
        assert outcome["exit code"] == ExitCode.REFUSED
        assert outcome["stdout"] == ""
        assert "AccessDeniedException" in outcome["stderr"]
        assert boot.found["pcr0 refused by KMS"] == boot.found["other_pcr0"] != boot.found["expected_pcr0"]


def test_it_starts_within_the_limit(boot_of_one_kernel: Boot) -> None:
    (started_at,) = re.findall(r"^init: starts \S+ at ([\d.]+) s$", boot_of_one_kernel.console, re.MULTILINE)
    start_up_s = boot_of_one_kernel.found["listens_at_s"] - float(started_at)
    assert 0 < start_up_s < MOST_START_UP_S
    print(f"from the start of the command to listening: {start_up_s:.2f} s")


def test_parent_and_enclave_of_two_kernels_know_each_other_by_their_cids(boot_of_two_kernels: Boot) -> None:
    assert f"vsock://{CID_PARENT}:" in boot_of_two_kernels.console
    assert re.search(rf"connection from cid {CID_ENCLAVE} port \d+: .* bytes to client", boot_of_two_kernels.proxy_log)
