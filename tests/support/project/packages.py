"""Every module of the project, found and imported."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[3]
PACKAGES = ("vsock_wire", "nitro_attestation", "enclave_tool", "instance_tool", "vsock_proxy", "nitro_simulator")


def source_files(*packages: str) -> list[Path]:
    return sorted(path for package in packages or PACKAGES for path in (ROOT / package).rglob("*.py"))


def load(path: Path) -> ModuleType:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return importlib.import_module(".".join(part for part in parts if part != "__init__"))


def classes(*packages: str) -> list[type]:
    """Return every class that is defined at the top of a module of ``packages``."""
    found = []
    for path in source_files(*packages):
        module = load(path)
        found += [
            member
            for member in vars(module).values()
            if inspect.isclass(member) and member.__module__ == module.__name__
        ]
    return found
