"""The instance's tool and the simulator in a Python without the features of Linux, or of Unix.

The tests remove those features before they load anything of this project. They do not show that it runs on a real
Windows or macOS.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vsock_wire.errors import ExitCode

ROOT = Path(__file__).parents[3]
WITHOUT_VSOCK = "import socket\ndel socket.AF_VSOCK\n"
"""Like macOS."""
WITHOUT_UNIX = (
    WITHOUT_VSOCK
    + """
import os, signal, sys
del socket.AF_UNIX
for name in ("fork", "geteuid", "getuid", "getppid", "killpg", "register_at_fork", "setsid", "sched_getaffinity"):
    delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD", "SIGPIPE"):
    delattr(signal, name)
for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "syslog"):
    sys.modules[name] = None
"""
)
"""Like Windows."""
SYSTEMS = pytest.mark.parametrize("system", [WITHOUT_VSOCK, WITHOUT_UNIX], ids=["no vsock", "no vsock, no Unix"])
LOAD_ALL = """
import importlib, pathlib
for package in ("vsock_wire", "instance_tool", "nitro_simulator"):
    for path in sorted(pathlib.Path(package).rglob("*.py")):
        importlib.import_module(".".join(path.with_suffix("").parts))
print("loaded")
"""


def run(system: str, program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", system + program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example", "PATH": ""},
        check=False,
    )


def run_tool(system: str, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(system, f"import sys\nsys.argv = ['tool', *{arguments!r}]\nfrom {module} import main\nmain()\n")


@SYSTEMS
def test_every_module_can_be_loaded(system: str) -> None:
    done = run(system, LOAD_ALL)
    assert (done.stdout, done.stderr) == ("loaded\n", "")


@SYSTEMS
@pytest.mark.parametrize("module", ["instance_tool.main", "nitro_simulator.cli"])
def test_help_is_shown(system: str, module: str) -> None:
    done = run_tool(system, module, "--help")
    assert (done.returncode, done.stderr) == (ExitCode.DONE, "")
    assert done.stdout.startswith("Usage: ")


@SYSTEMS
def test_enclave_on_a_vsock_is_an_error_that_says_what_is_missing(system: str) -> None:
    done = run_tool(system, "instance_tool.main", "--cid", "16", "AAAA")
    assert (done.returncode, done.stdout) == (ExitCode.UNREACHABLE, "")
    assert "vsock://16:3000: this python has no af_vsock" in done.stderr.lower()
    assert "Traceback" not in done.stderr


def test_unix_socket_on_a_system_without_them_is_an_error_too() -> None:
    done = run_tool(WITHOUT_UNIX, "instance_tool.main", "--enclave", "unix:/e", "AAAA")
    assert (done.returncode, done.stdout) == (ExitCode.UNREACHABLE, "")
    assert "no af_unix" in done.stderr.lower()


@SYSTEMS
def test_enclave_by_tcp_can_be_asked(system: str) -> None:
    done = run_tool(system, "instance_tool.main", "--enclave", "tcp://127.0.0.1:1", "AAAA")
    assert (done.returncode, done.stdout) == (ExitCode.UNREACHABLE, "")
    assert "connection refused" in done.stderr
