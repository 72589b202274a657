"""Ctrl-C while a program starts: it ends at once and prints nothing, whichever module it is loading.

A hook sends SIGINT at the n-th import, so every moment is tried, and none depends on the speed of this machine.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest

from nitro_simulator.deployment import processes
from tests.support.project.packages import ROOT
from tests.support.project.requirements import PROJECT
from vsock_wire.errors import ExitCode

PATH_FILE = ROOT / "tools/_0_nitro_kmstool.pth"
NEVER = 10**9
STEPS = 12
PROGRAM = """\
import os, runpy, signal, sys

path_file, moment, *sys.argv = sys.argv[1:]
count = 0

def interrupt(event, _arguments):
    global count
    if event == "import":
        count += 1
        if count == int(moment):
            os.kill(os.getpid(), signal.SIGINT)

for line in open(path_file):
    exec(line)
sys.addaudithook(interrupt)
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print(count)
"""
"""Runs an installed console script as Python does, after the file that ``site`` reads first."""


def start(tool: str, moment: int) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, PATH_FILE, str(moment), processes.tool_path(tool), "--no-such-option"],
        capture_output=True,
        text=True,
        env=processes.clean_environment({}),
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("tool", sorted(PROJECT["scripts"]))
def test_interrupt_at_any_import_ends_the_program_without_a_word(tool: str) -> None:
    code, output, _ = start(tool, NEVER)
    assert code in (ExitCode.USAGE, ExitCode.FAILED)  # the second under a C name
    imports = int(output.split()[-1])
    assert imports > STEPS
    for moment in range(1, imports + 1, imports // STEPS):
        code, _, errors = start(tool, moment)
        assert code in (-signal.SIGINT, ExitCode.INTERRUPTED), moment
        assert errors == "", moment


HARMLESS = """
import signal, sys
sys.argv[0] = "/bin/other"
before = signal.getsignal(signal.SIGINT)
{line}
print("unchanged" if signal.getsignal(signal.SIGINT) is before else "changed")
"""


def test_file_that_site_reads_names_every_console_script_and_touches_no_other_program() -> None:
    line = PATH_FILE.read_text("utf-8")
    assert set(PROJECT["scripts"]) <= set(re.findall(r'"([a-z_-]+)"', line))
    harmless = subprocess.run(
        [sys.executable, "-c", HARMLESS.format(line=line)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert harmless.stdout == "unchanged\n"
