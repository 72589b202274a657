"""Runs a command, and writes the time and memory that it took as JSON: `python measured_run.py FILE COMMAND...`.

It is a separate process because Linux counts the parent's memory at the fork into a child's peak memory, and a bench
uses a lot of memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    started = time.perf_counter()
    process = subprocess.Popen(sys.argv[2:])
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu_s = usage.ru_utime + usage.ru_stime
    Path(sys.argv[1]).write_text(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "peak_mib": usage.ru_maxrss / 1_024}))
    sys.exit(process.returncode)


if __name__ == "__main__":
    main()
