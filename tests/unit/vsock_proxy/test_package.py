"""Importing the package loads nothing else, so that a missing extra can be reported before anything needs it."""

from __future__ import annotations

import subprocess
import sys

PRINT_LOADED = (
    "import sys; before = set(sys.modules); import vsock_proxy; print(*sorted(set(sys.modules) - before), sep=',')"
)


def test_import_of_the_package_loads_nothing_else() -> None:
    done = subprocess.run([sys.executable, "-c", PRINT_LOADED], capture_output=True, text=True, check=True)
    assert done.stdout == "vsock_proxy\n"
