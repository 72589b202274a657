from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from vsock_wire.cli.streams import read_file, standard_input, standard_output
from vsock_wire.errors import ExitCode, InputError


def test_file_of_the_maximum_size_is_read_and_a_larger_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    assert read_file(str(file), "it", max_bytes=5) == b"12345"
    with pytest.raises(InputError, match=r"^it: larger than 4 bytes$"):
        read_file(file, "it", max_bytes=4)


def test_unreadable_file_is_a_usage_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^it: .*/missing: no such file or directory$") as caught:
        read_file(tmp_path / "missing", "it", max_bytes=4)
    assert caught.value.exit_code is ExitCode.USAGE
    with pytest.raises(InputError, match=r"is a directory$"):
        read_file(tmp_path, "it", max_bytes=4)


def test_dash_stands_for_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"piped")))
    assert read_file("-", "it", max_bytes=5) == b"piped"


def test_closed_streams_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(InputError, match="standard input is closed"):
        standard_input()
    with pytest.raises(InputError, match="standard output is closed"):
        standard_output()
