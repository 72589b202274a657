"""The enclave's image as the root of a guest kernel: its own command, real vsock, the real ioctl on a character device.

KMS and the module behind the device are simulated, and PCR0 is what the simulation says: real ones are AWS's.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.images.archive import Image, read_image
from tests.images.availability import need_images
from tests.images.parent_side import PLAINTEXT
from tests.images.ramdisk import write_ramdisk
from tests.vsock.availability import find_program
from tests.vsock.guest import COMPILER, KERNEL, Guest
from tests.vsock.ports import CID_LOCAL
from vsock_wire.errors import ExitCode

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
GUEST_TIMEOUT_S = 180.0
MOST_START_UP_S = 15.0
"""Far above what was measured (docs/images.md), so that only an image that does not start by itself fails."""
COMMAND_ARGUMENTS = ["--parent-cid", str(CID_LOCAL), "--ca-file", "/run/ca.pem", "--verbose"]
"""Where the guest differs from an enclave: the parent is the same kernel, and KMS has an authority of this test."""
STRICT = ("-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-result")


@dataclass(frozen=True)
class Boot:
    """What a guest wrote: the parent side's findings, and the console."""

    found: dict[str, Any]
    console: str


@pytest.fixture(scope="module")
def archive(archive_of: Callable[[str], Path]) -> Path:
    return archive_of("enclave")


@pytest.fixture(scope="module")
def image(archive: Path) -> Image:
    return read_image(archive)


@pytest.fixture(scope="module")
def boot(archive: Path, image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boot]:
    need_images()
    folder = tmp_path_factory.mktemp("guest")
    init, device, ramdisk = folder / "init", folder / "nsm_device", folder / "ramdisk"
    _compile(FOLDER / "enclave_init.c", init, "-static")
    _compile(FOLDER / "nsm_device.c", device, "-I/usr/include/fuse3", "-lfuse3")
    write_ramdisk(ramdisk, init=init, image=image, archive=archive, arguments=COMMAND_ARGUMENTS)
    kernel = find_program(KERNEL)
    assert kernel is not None
    with Guest(kernel) as guest:
        parent_side = [sys.executable, "-m", "tests.images.parent_side", str(device), str(guest.ram), str(guest.out)]
        script = f"cd {shlex.quote(str(ROOT))}\nexport TMPDIR={guest.ram}\nexec {shlex.join(parent_side)}\n"
        guest.boot_ramdisk(ramdisk, script)
        has_ended = guest.wait(GUEST_TIMEOUT_S)
        console = guest.console_text()
        result = guest.out / "result.json"
        assert has_ended, console
        assert result.exists(), console
        yield Boot(json.loads(result.read_text("utf-8")), console)


def _compile(source: Path, program: Path, *options: str) -> None:
    command = [COMPILER, *STRICT, "-o", str(program), str(source), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class TestGuest:
    def test_its_own_command_is_what_listens(self, boot: Boot) -> None:
        assert "init: starts kmstool-enclave\n" in boot.console
        assert "init: the command ended" not in boot.console
        assert 0 < boot.found["start_up_s"] < MOST_START_UP_S
        print(f"from the start of the command to listening: {boot.found['start_up_s']:.2f} s")

    def test_module_is_a_character_device_that_takes_the_real_ioctl(self, boot: Boot) -> None:
        assert boot.found["is_character_device"] is True
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
