from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from instance_tool.configuration.config_file import MAX_CONFIG_BYTES, config_path, read_config
from vsock_wire.errors import ExitCode, InputError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "kmstool"
    folder.mkdir()
    path = folder / "config.toml"
    path.write_text("cid = 16\n")
    path.chmod(0o644)
    return path


def environ(file: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(file.parents[1])}


@pytest.mark.parametrize(
    ("variables", "path"),
    [
        ({"HOME": "/home/u"}, "/home/u/.config/kmstool/config.toml"),
        ({"HOME": "/home/u", "XDG_CONFIG_HOME": "/etc/xdg"}, "/etc/xdg/kmstool/config.toml"),
        ({"HOME": "/home/u", "XDG_CONFIG_HOME": ""}, "/home/u/.config/kmstool/config.toml"),
        ({"HOME": "/home/u", "XDG_CONFIG_HOME": "relative"}, "/home/u/.config/kmstool/config.toml"),
        ({}, None),
    ],
)
def test_path_follows_the_xdg_specification(variables: dict[str, str], path: str | None) -> None:
    assert config_path(variables) == (None if path is None else Path(path))


def test_values_are_read_by_their_names(file: Path) -> None:
    file.write_text('cid = 16\ntimeout = 2.5\nencryption-context = ["a=1", "b=2"]\nquiet = true\n')
    config = read_config(environ(file))
    assert config is not None
    assert config.path == file
    assert config.values == {"cid": 16, "timeout": 2.5, "encryption-context": ["a=1", "b=2"], "quiet": True}


def test_missing_file_folder_or_home_means_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "kmstool").write_text("a file")
    for folder in (tmp_path, tmp_path / "none"):
        assert read_config({"XDG_CONFIG_HOME": str(folder)}) is None
    assert read_config({}) is None


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o622])
def test_file_that_others_can_write_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(InputError, match=r"other users can write it, and choose the credentials$") as caught:
        read_config(environ(file))
    assert caught.value.hint == f"chmod go-w {file}"
    assert caught.value.exit_code is ExitCode.USAGE


def test_file_of_another_user_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(file, 12_345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(InputError, match=r"belongs to another user \(uid \d+\), who could choose the credentials$"):
        read_config(environ(file))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"cid = ", "not TOML: invalid value"),
        (b"cid = 1\ncid = 2\n", "not TOML: cannot overwrite a value"),
        (b"cid 16", "not TOML: "),
        (b"\xff", "not UTF-8 text"),
        (b"a = " + b"[" * 5_000, "not TOML: "),
        (b"#" * (MAX_CONFIG_BYTES + 1), "larger than 65536 bytes"),
    ],
)
def test_file_that_is_not_toml_is_refused_and_named(file: Path, content: bytes, words: str) -> None:
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_config(environ(file))
    assert str(caught.value).startswith(f"{file}: {words}")


@contextmanager
def unprivileged() -> Iterator[None]:
    """Run as a user whom permissions bind, even if root runs the tests."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_directory_that_this_user_cannot_enter_is_ignored(file: Path) -> None:
    file.parent.chmod(0)
    with unprivileged():
        assert read_config(environ(file)) is None
    file.parent.chmod(0o700)


def test_file_that_this_user_cannot_read_is_refused(short_dir: Path) -> None:
    path = short_dir / "kmstool/config.toml"
    path.parent.mkdir()
    path.write_text("cid = 16")
    path.chmod(0)
    for folder in (short_dir, path.parent):
        folder.chmod(0o755)
    with unprivileged(), pytest.raises(InputError, match=r"config\.toml: permission denied$"):
        read_config(environ(path))


def test_directory_in_its_place_is_refused(file: Path) -> None:
    file.unlink()
    file.mkdir()
    with pytest.raises(InputError, match=r"config\.toml: is a directory$"):
        read_config(environ(file))
