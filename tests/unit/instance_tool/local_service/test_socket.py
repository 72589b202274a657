from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from instance_tool.local_service.socket import listen_private_socket
from vsock_wire.errors import InputError, TransportError
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


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720, 0o702, 0o1777], ids=oct)
def test_folder_that_others_can_write_to_is_refused(short_dir: Path, mode: int) -> None:
    folder = short_dir / "open"
    folder.mkdir()
    folder.chmod(mode)
    with (
        pytest.raises(InputError, match=r"--socket: folder .* is writable by other users$"),
        listen_private_socket(address_in(folder)),
    ):
        pass
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o750], ids=oct)
def test_folder_that_others_can_only_read_is_accepted(short_dir: Path, mode: int) -> None:
    folder = short_dir / "closed"
    folder.mkdir()
    folder.chmod(mode)
    with listen_private_socket(address_in(folder)):
        pass


def test_parent_that_others_can_write_to_is_refused_without_a_sticky_bit(short_dir: Path) -> None:
    folder = short_dir / "a" / "b"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o1777)
    with listen_private_socket(address_in(folder)):
        pass
    folder.parent.chmod(0o777)
    with (
        pytest.raises(InputError, match=f"folder {short_dir}/a is writable by other users"),
        listen_private_socket(address_in(folder)),
    ):
        pass


def test_folder_is_checked_after_symbolic_links_are_resolved(short_dir: Path) -> None:
    folder = short_dir / "open"
    folder.mkdir()
    folder.chmod(0o777)
    (short_dir / "link").symlink_to(folder)
    with (
        pytest.raises(InputError, match=f"folder {folder} is writable by other users"),
        listen_private_socket(address_in(short_dir / "link")),
    ):
        pass


def test_folder_of_another_user_is_refused(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = short_dir / "theirs"
    folder.mkdir()
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(folder, 12_345, 12_345)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    with (
        pytest.raises(InputError, match=r"folder .* belongs to another user$"),
        listen_private_socket(address_in(folder)),
    ):
        pass


def test_folder_that_is_not_there_is_an_input_error(short_dir: Path) -> None:
    with (
        pytest.raises(InputError, match=r"--socket: folder .*: no such file or directory$"),
        listen_private_socket(address_in(short_dir / "no")),
    ):
        pass


def test_relative_path_is_resolved_before_the_check(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(short_dir)
    with listen_private_socket(UnixAddress("s")):
        assert (short_dir / "s").exists()
    assert not (short_dir / "s").exists()
