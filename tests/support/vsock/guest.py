"""A User Mode Linux guest: a kernel with vsock loopback that runs as a process, on the host's own files.

The guest sees the host's files read-only, and does not see the host's network. It can write to one folder on the host;
everything else that it writes goes to memory.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

KERNEL = "linux.uml"
MEMORY_MIB = 1_024
"""The host allocates only the memory that the guest touches."""
SHARED_MEMORY = Path("/dev/shm")
"""Where User Mode Linux keeps the guest's memory by default; containers often limit it to 64 MiB."""
END_WITH_PARENT = ("setpriv", "--pdeathsig", "TERM")
"""Prefix of the kernel's command, so that a guest does not outlive a killed pytest. On SIGTERM the kernel also ends its
helper processes; on SIGKILL they would stay."""
ROOT_ON_HOST = ("rootfstype=hostfs", "rootflags=/", "ro")
"""The host's file system, read-only, as the guest's root."""
VIRTIO_ID_VSOCK = 19
"""Source: <linux/virtio_ids.h>."""
INIT_SCRIPT = Path(__file__).parent / "guest_init.sh"
COMPILER = "cc"
WIDE_XSTATE_SOURCE = Path(__file__).parent / "wide_xstate.c"
WIDE_XSTATE_FLAG = "amx_tile"
"""The flag in /proc/cpuinfo for CPU state that does not fit into the kernel's buffer."""
CPU_INFO = Path("/proc/cpuinfo")


class Guest:
    """A guest that runs one command and powers off.

    Args:
        kernel: path of linux.uml.
        vsock_device: socket of the virtual device that gives it a CID; without one it has only loopback.

    Attributes:
        out: a folder of the host to which the guest can write.
        ram: a path that is a file system in memory for the guest, and an empty folder for the host.
    """

    def __init__(self, kernel: Path, *, vsock_device: Path | None = None) -> None:
        self._kernel = kernel
        self._devices = [f"virtio_uml.device={vsock_device}:{VIRTIO_ID_VSOCK}"] if vsock_device else []
        self._folder = tempfile.TemporaryDirectory(prefix="vsock-guest-")
        self._root = Path(self._folder.name)
        self._console = self._root / "console"
        self._process: subprocess.Popen[bytes] | None = None
        self.out = self._root / "out"
        self.ram = self._root / "ram"
        for path in (self.out, self.ram):
            path.mkdir()
        self._console.touch()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def boot(self, command: Sequence[str], *, directory: Path) -> None:
        """Start the guest and return; ``command`` runs in it once it is up.

        Args:
            command: program and arguments.
            directory: where it runs; a path of the host.
        """
        # The kernel splits its command line at spaces, so anything that can contain one goes into a file.
        init = self._root / "init"
        init.write_text(
            shlex.join(["exec", "sh", *map(str, (INIT_SCRIPT, self.ram, self.out, directory)), *command]) + "\n"
        )
        self._start([*ROOT_ON_HOST, "init=/bin/sh", "--", str(init)])

    def boot_ramdisk(self, ramdisk: Path, script: str) -> None:
        """Start the guest from the given ramdisk and return.

        Args:
            ramdisk: its /init finds the paths of SCRIPT, RAM and OUT in its environment.
            script: text of a shell script that it runs on the host's files.
        """
        path = self._root / "script"
        path.write_text(script)
        # The kernel puts each NAME=VALUE that it does not know into the first process's environment.
        self._start([f"initrd={ramdisk}", f"SCRIPT={path}", f"RAM={self.ram}", f"OUT={self.out}"])

    def _start(self, arguments: list[str]) -> None:
        with self._console.open("wb") as console:
            self._process = subprocess.Popen(
                [*END_WITH_PARENT, str(self._kernel), *_kernel_arguments(self._root), *self._devices, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=os.environ | _memory_location(self._root) | _wide_xstate(self._root),
                start_new_session=True,
            )

    def wait(self, timeout_s: float) -> bool:
        """Wait at most ``timeout_s`` seconds for the guest to power off; return whether it has."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def console_text(self) -> str:
        """Return what the guest's kernel and command have printed so far."""
        return self._console.read_text("utf-8", "replace").replace("\r\n", "\n")

    def kill(self) -> None:
        """Kill the guest; it has no file system that this could damage."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def close(self) -> None:
        """End the guest and remove its folder."""
        self.kill()
        self._folder.cleanup()


def _kernel_arguments(root: Path) -> list[str]:
    return [
        f"mem={MEMORY_MIB}M",
        "con=null",
        "con0=null,fd:1",
        "quiet",
        f"uml_dir={root}/",
    ]


def _wide_xstate(root: Path) -> dict[str, str]:
    """Return the variable that loads wide_xstate.c, built here, if the CPU has more state than fits into the kernel."""
    if WIDE_XSTATE_FLAG not in CPU_INFO.read_text("utf-8").split():
        return {}
    library = root / "wide_xstate.so"
    subprocess.run([COMPILER, "-O2", "-shared", "-fPIC", "-o", library, WIDE_XSTATE_SOURCE, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}


def _memory_location(root: Path) -> dict[str, str]:
    """Return the variable that keeps the guest's memory in a file, if shared memory has too little space for it."""
    has_space = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free >= MEMORY_MIB << 20
    return {} if has_space else {"TMPDIR": str(root)}
