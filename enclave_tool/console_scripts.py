"""The console scripts of the enclave. They load a program only when called, so that they can name a missing extra."""

from __future__ import annotations

from typing import NoReturn

from vsock_wire.cli.launcher import launch


def kmstool_enclave() -> NoReturn:
    """Run kmstool-enclave."""
    launch("kmstool-enclave", "enclave_tool.commands.kmstool_enclave", extra="enclave")


def kmstool_enclave_cli() -> NoReturn:
    """Run kmstool-enclave-cli."""
    launch("kmstool-enclave-cli", "enclave_tool.commands.kmstool_enclave_cli", extra="enclave")
