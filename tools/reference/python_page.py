"""Generate docs/reference/python-api.md: the public names, which mkdocstrings documents from their docstrings."""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator

from tools.public_api import PUBLIC_PACKAGES
from tools.reference.markdown import generated_note

_INTRODUCTION = """\
# Python API

Four packages are public, with the names in their `__all__`. Everything else is internal and can change without notice.
`make public-api` prints these names on a terminal. Signatures and docstrings are shown on the site, which `make docs`
builds; in the repository, this page has only the overview of each package.
"""
_CHECKED_BY = "<!-- tested by tests/docs/test_samples.py::test_samples_pass_mypy_strict -->"
_LISTS = ("Simple:", "Advanced:")
"""Headings of the lists of names in a public package's docstring."""


def python_page() -> str:
    """Return the page."""
    parts = [generated_note("make man"), _INTRODUCTION]
    for package in PUBLIC_PACKAGES:
        parts += [f"## {package}\n", *_docstring(package)]
        parts += [f"::: {package}.{name}\n" for name in _names(package)]
    return "\n".join(parts)


def _names(package: str) -> list[str]:
    """Return the public names in the order in which the package's docstring presents them."""
    module = importlib.import_module(package)
    names: list[str] = list(module.__all__)
    text = inspect.getdoc(module) or ""
    listed = text[min((text.find(f"\n{heading}\n") for heading in _LISTS if f"\n{heading}\n" in text), default=0) :]
    places = {name: re.search(rf"\b{re.escape(name)}\b", listed) for name in names}
    return sorted(names, key=lambda name: match.start() if (match := places[name]) else len(listed))


def _docstring(package: str) -> Iterator[str]:
    """Yield the paragraphs, samples and lists of a package's docstring as Markdown."""
    for block in _blocks(inspect.getdoc(importlib.import_module(package)) or ""):
        heading, _, rest = block.partition("\n")
        if heading in _LISTS:
            yield f"**{heading.rstrip(':')}**\n"
            entries = re.split(r"\n(?! )", textwrap.dedent(rest))
            yield "\n".join(f"- {_marked(' '.join(entry.split()), package)}" for entry in entries) + "\n"
        elif block.startswith("    "):
            yield f"{_CHECKED_BY}\n```python\n{textwrap.dedent(block)}\n```\n"
        elif not block.startswith("PYTEST_DONT_REWRITE"):
            yield re.sub(r"``([^`]+)``", r"`\1`", re.sub(r"::$", ":", block)) + "\n"


def _blocks(text: str) -> Iterator[str]:
    """Yield paragraphs, and each sample as one block. Samples are indented, after a line that ends in two colons."""
    parts = re.split(r"(?<=::)\n\n((?:(?: {4}.*)?\n)+)(?=\S)", f"{text}\n")
    for number, part in enumerate(parts):
        yield from [part.rstrip("\n")] if number % 2 else filter(None, re.split(r"\n{2,}", part.strip("\n")))


def _marked(entry: str, package: str) -> str:
    """Return a list entry with its names as references to their documentation by mkdocstrings."""
    public = importlib.import_module(package).__all__
    code = re.sub(r"``([^`]+)``", r"`\1`", entry)
    return re.sub(r"(?<![`\w.])\w+(?![`\w])", lambda m: f"[{m[0]}][{package}.{m[0]}]" if m[0] in public else m[0], code)
