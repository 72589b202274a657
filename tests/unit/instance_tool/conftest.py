from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.enclave.scripted_enclave import Conversation, ScriptedEnclave
from tests.support.instance.command_line import Tool
from tests.support.instance.scripted_imds import ScriptedImds


@pytest.fixture(autouse=True)
def _no_aws_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the credentials, the instance metadata service and the configuration of the machine that runs the tests."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "KMSTOOL_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))


@pytest.fixture
def imds() -> Iterator[ScriptedImds]:
    with ScriptedImds() as server:
        yield server


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Iterator[Tool]:
    """Return kmstool-instance with credentials in its environment; its changes to this process are undone."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "theEnvSecret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "theEnvToken")
    handler = signal.getsignal(signal.SIGINT)
    yield Tool(monkeypatch, capsysbinary)
    signal.signal(signal.SIGINT, handler)
    for name in ("instance_tool", "vsock_wire"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.NOTSET)
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, logging.NullHandler)]


@pytest.fixture
def conversation() -> Conversation:
    return Conversation(is_c=False)


@pytest.fixture
def enclave(short_dir: Path, conversation: Conversation) -> Iterator[str]:
    """Return the address of an enclave that decrypts AQID to "Hello, KMS!"."""
    with ScriptedEnclave(short_dir, conversation) as enclave:
        yield str(enclave.address)
