"""The enclave's image holds no package that it does not need: each is declared, or needed by one that is."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def locked(name: str) -> set[str]:
    text = (ROOT / f"requirements/{name}.txt").read_text("utf-8")
    return {canonicalize_name(match) for match in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)}


def closure(declared: list[str]) -> set[str]:
    """Return what must be installed for ``declared``: their requirements, and theirs."""
    needed: set[str] = set()
    waiting = [Requirement(text) for text in declared]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in needed and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            needed.add(name)
            waiting += [Requirement(text) for text in requires(name) or []]
    return needed


def test_enclave_has_what_it_declares_and_what_that_needs() -> None:
    declared = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["enclave"]]
    only_elsewhere = {"colorama"}  # on Windows, by click
    assert locked("enclave") - only_elsewhere == closure(declared)


def test_declared_packages_are_imported_by_the_enclaves_package() -> None:
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "enclave_tool").rglob("*.py"))
    imported = set(re.findall(r"^\s*(?:from|import) (\w+)", sources, re.MULTILINE))
    declared = {Requirement(text).name for text in PROJECT["optional-dependencies"]["enclave"]}
    assert declared <= imported
