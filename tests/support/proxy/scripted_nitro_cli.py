"""A nitro-cli that shows the enclaves of a test: a machine without Nitro has none."""

from __future__ import annotations

import json
import stat
from pathlib import Path


def enclave(name: str, cid: object, state: str = "RUNNING") -> dict[str, object]:
    """Return an element of what nitro-cli prints; fields that nobody reads are left out."""
    return {"EnclaveName": name, "EnclaveID": f"i-0-enc{cid}", "EnclaveCID": cid, "State": state, "Flags": "NONE"}


def nitro_cli(folder: Path, *enclaves: dict[str, object]) -> tuple[str, ...]:
    """Return the command of a program that prints these enclaves, and counts how often it was asked."""
    program = folder / "nitro-cli"
    program.write_text(f"#!/bin/sh\necho >> {folder}/asked\ncat <<'END'\n{json.dumps(enclaves)}\nEND\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return (str(program), "describe-enclaves")


def times_asked(folder: Path) -> int:
    """Return how often the program in ``folder`` was run."""
    return len((folder / "asked").read_text())
