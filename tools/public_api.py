"""Prints the project's public names, each with the first line of its docstring: ``python -m tools.public_api``."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator

PUBLIC_PACKAGES = ("enclave_tool", "nitro_attestation", "instance_tool.client", "nitro_simulator")
"""Packages with a public ``__all__``. Everything else in the distribution is internal."""


def main() -> None:
    """Print every public name."""
    for package in PUBLIC_PACKAGES:
        print(f"{package}: {_summary(importlib.import_module(package))}")
        for name, summary in public_names(package):
            print(f"    {name:<28} {summary}".rstrip())


def public_names(package: str) -> Iterator[tuple[str, str]]:
    """Yield each public name of ``package`` and its description, in the order of ``__all__``."""
    module = importlib.import_module(package)
    for name in module.__all__:
        value = getattr(module, name)
        has_documentation = inspect.isclass(value) or inspect.isroutine(value)
        yield name, _summary(value) if has_documentation else f"{type(value).__name__} constant"


def _summary(value: object) -> str:
    return (inspect.getdoc(value) or "").partition("\n")[0]


if __name__ == "__main__":
    main()
