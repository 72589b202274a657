from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from instance_tool.local_service.socket import listen_private_socket
from vsock_wire.errors import TransportError
from vsock_wire.net.address import UnixAddress


def address_in(folder: Path) -> UnixAddress:
    return UnixAddress(str(folder / "s"))


def test_socket_is_for_its_user_only_and_is_removed_at_the_end(short_dir: Path) -> None:
    with listen_private_socket(address_in(short_dir)) as listener:
        state = (short_dir / "s").stat()
        assert stat.S_ISSOCK(state.st_mode)
        assert stat.S_IMODE(state.st_mode) == 0o600
        assert listener.getsockname() == str(short_dir / "s")
    assert list(short_dir.iterdir()) == []


def test_socket_of_a_server_that_died_is_replaced(short_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(short_dir / "s"))
    with listen_private_socket(address_in(short_dir)):
        assert (short_dir / "s").exists()


def test_path_of_a_running_server_is_refused_and_left_alone(short_dir: Path) -> None:
    with listen_private_socket(address_in(short_dir)):
        with (
            pytest.raises(TransportError, match="address already in use") as caught,
            listen_private_socket(address_in(short_dir)),
        ):
            pass
        assert "another program is already listening there" in (caught.value.hint or "")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(short_dir / "s"))


def test_file_at_the_path_is_refused_and_left_alone(short_dir: Path) -> None:
    (short_dir / "s").write_text("a file")
    with pytest.raises(TransportError, match="address already in use"), listen_private_socket(address_in(short_dir)):
        pass
    assert (short_dir / "s").read_text() == "a file"


def test_socket_that_replaced_it_is_left_alone(short_dir: Path) -> None:
    with listen_private_socket(address_in(short_dir)):
        (short_dir / "kept").hardlink_to(short_dir / "s")  # so that the new socket cannot get the same inode
        (short_dir / "s").unlink()
        (short_dir / "s").write_text("another's")
    assert (short_dir / "s").read_text() == "another's"


def test_relative_path_is_resolved_before_the_check(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(short_dir)
    with listen_private_socket(UnixAddress("s")):
        assert (short_dir / "s").exists()
    assert not (short_dir / "s").exists()
