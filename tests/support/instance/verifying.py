"""kmstool-instance verify in this process, with a document and the root that tests use."""

from __future__ import annotations

from pathlib import Path

from instance_tool.main import command
from tests.support.attestation.documents import root_pem


def root_file(directory: Path) -> str:
    """Write the root certificate of the documents that tests make, and return the path of its file."""
    (directory / "root.pem").write_bytes(root_pem())
    return str(directory / "root.pem")


def verify(directory: Path, document: bytes, *options: str) -> None:
    """Write a document to a file, and verify it."""
    (directory / "document").write_bytes(document)
    command(args=["verify", str(directory / "document"), *options], prog_name="kmstool-instance", standalone_mode=False)
