"""Run kmstool-instance in this process, with its input and output."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable

import pytest

from instance_tool.main import main
from tests.support.enclave.scripted_enclave import Message

Ask = Callable[..., Message]
"""Runs a command with an enclave, and returns its request without the fields that every request has."""


class Tool:
    """Runs kmstool-instance in this process.

    Attributes:
        out: what the last run wrote to standard output.
        err: what it wrote to standard error.
        program: the name that it is started under.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[bytes]) -> None:
        self._monkeypatch = monkeypatch
        self._capture = capture
        self.out = b""
        self.err = ""
        self.program = "kmstool-instance"

    def run(self, *arguments: str, stdin: bytes = b"") -> int:
        self._monkeypatch.setattr(os, "_exit", sys.exit)  # which would end pytest
        self._monkeypatch.setattr(sys, "argv", [self.program, *arguments])
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = self._capture.readouterr()
        self.out, self.err = out, err.decode()
        assert isinstance(caught.value.code, int)
        return caught.value.code
