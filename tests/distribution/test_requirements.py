"""The enclave image contains only required packages: each is declared, or needed by a declared one."""

from __future__ import annotations

import re

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.project.packages import ROOT
from tests.support.project.requirements import PROJECT, closure, declared


def locked(name: str) -> set[str]:
    text = (ROOT / f"requirements/{name}.txt").read_text("utf-8")
    return {canonicalize_name(match) for match in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)}


def test_enclave_has_what_it_declares_and_what_that_needs() -> None:
    only_elsewhere = {"colorama"}  # on Windows, by click
    assert locked("enclave") - only_elsewhere == closure(declared("enclave"))


def test_declared_packages_are_imported_by_the_enclaves_package() -> None:
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "enclave_tool").rglob("*.py"))
    imported = set(re.findall(r"^\s*(?:from|import) (\w+)", sources, re.MULTILINE))
    assert {Requirement(text).name for text in PROJECT["optional-dependencies"]["enclave"]} <= imported
