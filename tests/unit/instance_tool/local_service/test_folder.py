from __future__ import annotations

import os
from pathlib import Path

import pytest

from instance_tool.local_service.folder import MAX_LINKS, verify_private_folder
from instance_tool.local_service.socket import listen_private_socket
from tests.support.instance.other_user import OTHER_UID, as_other_user
from vsock_wire.errors import InputError
from vsock_wire.net.address import UnixAddress


def address_in(folder: Path) -> UnixAddress:
    return UnixAddress(str(folder / "s"))


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


def test_folder_reached_through_another_users_link_is_refused(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other user owns the link in a sticky folder, such as /tmp, and can point it elsewhere at any time."""
    shared, private = short_dir / "shared", short_dir / "private"
    shared.mkdir()
    shared.chmod(0o1777)
    private.mkdir(mode=0o700)
    short_dir.chmod(0o755)
    link = shared / "link"
    assert as_other_user(lambda: link.symlink_to(private)) == 0
    if os.geteuid() != 0:  # only root can become a second user
        monkeypatch.setattr(os, "geteuid", lambda: OTHER_UID)
    with (
        pytest.raises(InputError, match=r"folder .*/link is a symbolic link of another user$|belongs to another user$"),
        listen_private_socket(address_in(link)),
    ):
        pass
    assert list(private.iterdir()) == []


def test_folder_in_another_users_folder_is_refused_even_if_it_is_ours(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = short_dir / "theirs" / "ours"
    ours.mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(short_dir / "theirs", OTHER_UID, OTHER_UID)
    else:  # only root can give a folder away
        monkeypatch.setattr(os, "geteuid", lambda: OTHER_UID)
    with pytest.raises(InputError, match="belongs to another user"):
        verify_private_folder(ours)


@pytest.mark.parametrize("is_absolute", [True, False])
def test_own_link_to_a_private_folder_is_accepted(short_dir: Path, *, is_absolute: bool) -> None:
    (short_dir / "private").mkdir(mode=0o700)
    (short_dir / "link").symlink_to(short_dir / "private" if is_absolute else "private")
    (short_dir / "again").symlink_to("link/../link")
    with listen_private_socket(address_in(short_dir / "again")):
        assert (short_dir / "private" / "s").exists()


def test_links_that_lead_in_a_circle_are_refused(short_dir: Path) -> None:
    (short_dir / "a").symlink_to("b")
    (short_dir / "b").symlink_to("a")
    with pytest.raises(InputError, match="too many symbolic links"):
        verify_private_folder(short_dir / "a")


def test_as_many_links_as_the_kernel_follows_are_followed(short_dir: Path) -> None:
    (short_dir / "0").mkdir()
    for number in range(MAX_LINKS):
        (short_dir / str(number + 1)).symlink_to(str(number))
    verify_private_folder(short_dir / str(MAX_LINKS))


def test_file_instead_of_a_folder_is_an_input_error(short_dir: Path) -> None:
    (short_dir / "file").write_text("x")
    with pytest.raises(InputError, match="not a directory"):
        verify_private_folder(short_dir / "file" / "more")


def test_no_descriptor_stays_open(short_dir: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    verify_private_folder(short_dir)
    with pytest.raises(InputError):
        verify_private_folder(short_dir / "no")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
