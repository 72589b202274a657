"""Fuzz one target, guided by coverage: ``python -m tests.fuzz.run TARGET`` with libFuzzer's options after it."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(
    include=["vsock_wire", "enclave_tool", "instance_tool", "vsock_proxy", "pyasn1", "yaml", "json"]
):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    _, name, *options = sys.argv
    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
