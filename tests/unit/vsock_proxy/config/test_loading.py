"""Reading a configuration in a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from vsock_proxy.config import loading
from vsock_proxy.config.destination import parse_destination
from vsock_proxy.config.loading import load_elsewhere
from vsock_proxy.config.model import Route
from vsock_proxy.config.source import ConfigSource
from vsock_proxy.errors import ConfigError
from vsock_wire.net.address import UnixAddress

TEXT = """\
allowlist: [{address: "*.example.com", port: [443, 8443]}, {address: 10.0.0.0/8, port: 443}]
routes: [{listen: 8000, address: a.example.com, port: 443}]
"""


def source(folder: Path, text: str) -> ConfigSource:
    path = folder / "config.yaml"
    path.write_text(text)
    return ConfigSource(path, 3, Route(UnixAddress("/p"), parse_destination("10.0.0.1", 443)))


def test_configuration_is_the_same_as_when_read_here(tmp_path: Path) -> None:
    here = source(tmp_path, TEXT)
    found = asyncio.run(load_elsewhere(here))
    assert found == here.load()
    assert len(found.routes) == 2


def test_error_and_hint_are_those_of_reading_here(tmp_path: Path) -> None:
    broken = source(tmp_path, "allowlist: []\n")
    with pytest.raises(ConfigError) as found:
        asyncio.run(load_elsewhere(broken))
    with pytest.raises(Exception, match="not allowed") as expected:
        broken.load()
    assert str(found.value) == str(expected.value)
    assert found.value.hint == getattr(expected.value, "hint", None)


def test_process_that_cannot_start_is_an_error_of_the_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/at/all")
    with pytest.raises(ConfigError, match="no process to read it in: no such file or directory"):
        asyncio.run(load_elsewhere(source(tmp_path, TEXT)))


def test_process_that_fails_is_an_error_of_the_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ConfigError, match="the process that reads it ended with code 1"):
        asyncio.run(load_elsewhere(source(tmp_path, TEXT)))


def test_process_that_hangs_is_given_up_and_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "hang"
    script.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 1000\n")
    script.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(loading, "LOAD_TIMEOUT_S", 0.5)
    with pytest.raises(ConfigError, match="not read within 0 s"):
        asyncio.run(load_elsewhere(source(tmp_path, TEXT)))
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
