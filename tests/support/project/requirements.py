"""What the distribution requires: by itself, with each extra, and by the requirements of these."""

from __future__ import annotations

import tomllib
from importlib.metadata import requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.project.packages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def declared(*extras: str) -> list[str]:
    """Return the requirements of the distribution with ``extras``, including extras that these name."""
    found = list(PROJECT["dependencies"])
    for extra in extras:
        for text in PROJECT["optional-dependencies"][extra]:
            requirement = Requirement(text)
            if canonicalize_name(requirement.name) == PROJECT["name"]:
                found += declared(*sorted(requirement.extras))
            else:
                found.append(text)
    return found


def closure(requirements: list[str]) -> set[str]:
    """Return ``requirements`` with all their transitive requirements."""
    needed: set[str] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in needed and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            needed.add(name)
            waiting += [Requirement(text) for text in requires(name) or []]
    return needed
