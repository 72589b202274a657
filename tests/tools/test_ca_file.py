"""The CA file that an image is built with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.images.builder import CA_FILE, ca_files

ROOT = Path(__file__).parents[2]


def test_default_is_that_of_the_dockerfile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CA_FILE", raising=False)
    assert re.findall(r"^ARG CA_FILE=(.*)$", (ROOT / "Dockerfile.enclave").read_text("utf-8"), re.MULTILINE) == [
        CA_FILE
    ]
    assert ca_files("enclave") == [CA_FILE]
    assert ca_files("instance") == []


def test_empty_variable_means_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CA_FILE", "")
    assert ca_files("enclave") == []


@pytest.mark.parametrize(
    "ca_file",
    [
        "deploy/absent.pem",
        "tools/audit.py",
        "amazon-roots.pem",
        "/etc/ssl/cert.pem",
        "deploy/../deploy/amazon-roots.pem",
    ],
)
def test_file_that_the_build_cannot_see_is_refused_before_the_build(
    ca_file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CA_FILE", ca_file)
    with pytest.raises(SystemExit) as caught:
        ca_files("enclave")
    assert caught.value.code == 1
    assert f"got {ca_file}; copy your bundle to deploy/" in capsys.readouterr().err
