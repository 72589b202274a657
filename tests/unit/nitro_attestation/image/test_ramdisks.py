"""The ramdisks of an image as nitro-cli makes them, entry by entry."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nitro_attestation.errors import ImageError
from nitro_attestation.image.container.archive import ContainerImage, open_container_image
from nitro_attestation.image.container.engine import HOSTS, LINUXKIT_TIME_S, Engine
from nitro_attestation.image.container.file_tree import new_folder
from nitro_attestation.image.cpio import CpioEntry, Ramdisk
from nitro_attestation.image.ramdisks import (
    StartCommand,
    container_ramdisk,
    init_ramdisk,
    irreproducible_parts,
    start_command,
)
from nitro_attestation.image.sources import BytesSource
from tests.support.images.container_archives import Item, docker_archive, folder, layer

LONG = "d" * 120 + "/" + "f" * 200
M = LINUXKIT_TIME_S
T = 1_600_000_000

LOWER = layer(
    folder("etc/", 0o700, owner=(5, 6)),
    Item("etc/hosts", content=b"my own"),
    Item("etc/mtab", content=b"mine"),
    Item("etc/hostname", content=b"name"),
    Item("etc/passwd", content=b"root"),
    folder("opaque/"),
    Item("opaque/gone", content=b"1"),
    folder("opaque/sub/"),
    Item("opaque/sub/gone", content=b"2"),
    folder("bin/"),
    Item("bin/tool", mode=0o755, content=b"tool", time_s=T + 0.75),
    Item("bin/alias", tarfile.LNKTYPE, target="bin/tool"),
    Item("bin/su", mode=0o4755, content=b"su", owner=(0, 4)),
    Item("removed", content=b"x"),
    folder("whole/"),
    Item("whole/file", content=b"x"),
    folder("proc/", 0o555),
    Item("Dockerfile", content=b"FROM scratch"),
    Item("swap", content=b"a file first"),
    folder("kept/", 0o700),
    Item("kept/file", content=b"kept"),
)
UPPER = layer(
    Item(".wh.removed"),
    Item(".wh.whole"),
    folder("opaque/"),
    Item("opaque/.wh..wh..opq"),
    Item("opaque/new", content=b"new"),
    folder("swap/"),
    Item("swap/inside", content=b"now a folder"),
    folder("kept/", 0o711, owner=(7, 8)),
    Item("link", tarfile.SYMTYPE, 0o755, target="bin/tool", time_s=T + 0.5),
    folder("dev/"),
    Item("dev/null", tarfile.CHRTYPE, 0o666, device=(1, 3)),
    Item("dev/disk", tarfile.BLKTYPE, 0o660, owner=(0, 6), device=(8, 1)),
    Item("dev/console", tarfile.CHRTYPE, 0o600, device=(5, 1)),
    Item("pipe", tarfile.FIFOTYPE, 0o600),
    Item("zz-alias", tarfile.LNKTYPE, target="bin/tool"),
    folder("d" * 120 + "/"),
    Item(LONG, content=b"long"),
    Item("näme-ä", content=b"not ASCII"),
    folder("a-b/"),
    folder("a/"),
    Item("a/x", content=b"x"),
    Item(".wh..wh.plnk"),
)
START = {"Entrypoint": ["/bin/tool", "--flag"], "Env": ["PATH=/bin", "A=b c"]}

EXPECTED = [
    ("rootfs", "FOLDER", 0o755, (0, 0), M, b""),
    ("rootfs/a/", "FOLDER", 0o755, (0, 0), T, b""),
    ("rootfs/a/x", "FILE", 0o644, (0, 0), T, b"x"),
    ("rootfs/a-b/", "FOLDER", 0o755, (0, 0), T, b""),
    ("rootfs/bin/", "FOLDER", 0o755, (0, 0), T, b""),
    ("rootfs/bin/alias", "FILE", 0o755, (0, 0), T, b"tool"),
    ("rootfs/bin/su", "FILE", 0o4755, (0, 4), T, b"su"),
    ("rootfs/bin/tool", "SYMLINK", 0o755, (0, 0), T, b"alias"),
    (f"rootfs/{'d' * 120}/", "FOLDER", 0o755, (0, 0), T, b""),
    (f"rootfs/{LONG}", "FILE", 0o644, (0, 0), T, b"long"),
    ("rootfs/dev/", "FOLDER", 0o755, (0, 0), M, b""),
    ("rootfs/dev/disk", "BLOCK_DEVICE", 0o660, (0, 6), T, b""),
    ("rootfs/dev/null", "CHARACTER_DEVICE", 0o666, (0, 0), T, b""),
    ("rootfs/dev/pts/", "FOLDER", 0o755, (0, 0), M, b""),
    ("rootfs/dev/shm/", "FOLDER", 0o755, (0, 0), M, b""),
    ("rootfs/etc/", "FOLDER", 0o700, (5, 6), M, b""),
    ("rootfs/etc/hosts", "FILE", 0o755, (0, 0), M, HOSTS),
    ("rootfs/etc/mtab", "SYMLINK", 0o777, (0, 0), M, b"/proc/mounts"),
    ("rootfs/etc/passwd", "FILE", 0o644, (0, 0), T, b"root"),
    ("rootfs/etc/resolv.conf", "SYMLINK", 0o755, (0, 0), M, b"/run/resolvconf/resolv.conf"),
    ("rootfs/kept/", "FOLDER", 0o711, (7, 8), T, b""),
    ("rootfs/kept/file", "FILE", 0o644, (0, 0), T, b"kept"),
    ("rootfs/link", "SYMLINK", 0o777, (0, 0), T, b"bin/tool"),
    ("rootfs/näme-ä", "FILE", 0o644, (0, 0), T, b"not ASCII"),
    ("rootfs/opaque/", "FOLDER", 0o755, (0, 0), T, b""),
    ("rootfs/opaque/new", "FILE", 0o644, (0, 0), T, b"new"),
    ("rootfs/pipe", "FIFO", 0o600, (0, 0), T, b""),
    ("rootfs/proc/", "FOLDER", 0o555, (0, 0), M, b""),
    ("rootfs/swap/", "FOLDER", 0o755, (0, 0), T, b""),
    ("rootfs/swap/inside", "FILE", 0o644, (0, 0), T, b"now a folder"),
    ("rootfs/sys/", "FOLDER", 0o755, (0, 0), M, b""),
    ("rootfs/zz-alias", "SYMLINK", 0o755, (0, 0), T, b"bin/alias"),
    ("rootfs", "FOLDER", 0o755, (0, 0), M, b""),
    ("rootfs/dev", "FOLDER", 0o755, (0, 0), M, b""),
    ("rootfs/run", "FOLDER", 0o755, (0, 0), M, b""),
    ("rootfs/sys", "FOLDER", 0o755, (0, 0), M, b""),
    ("rootfs/var", "FOLDER", 0o755, (0, 0), M, b""),
    ("rootfs/proc", "FOLDER", 0o755, (0, 0), M, b""),
    ("rootfs/tmp", "FOLDER", 0o755, (0, 0), M, b""),
    ("cmd", "FILE", 0o644, (0, 0), M, b"/bin/tool\n--flag\n"),
    ("env", "FILE", 0o644, (0, 0), M, b"PATH=/bin\nA=b c\n"),
]
"""Written by hand from what nitro-cli 1.5.0 with dockerd makes of such an image: name, type, mode, owner, time and
content. The first name of a file is the first in the order of the names, whichever the layer has first."""


def row(entry: CpioEntry) -> tuple[str, str, int, tuple[int, int], int, bytes]:
    content = b"".join(entry.content.chunks())
    return entry.name.decode(), entry.kind.name, entry.mode, (entry.uid, entry.gid), entry.time_s, content


@pytest.fixture
def image(tmp_path: Path) -> Iterator[ContainerImage]:
    path = docker_archive(tmp_path / "app.tar", [LOWER, UPPER], START)
    with path.open("rb") as file, open_container_image(file) as image:
        yield image


def test_second_ramdisk_is_nitro_clis_entry_by_entry(image: ContainerImage) -> None:
    ramdisk = container_ramdisk(image.root, start_command(image.start), Engine.DOCKER)
    assert [row(entry) for entry in ramdisk.entries] == EXPECTED
    devices = {entry.name: entry.device for entry in ramdisk.entries if any(entry.device)}
    assert devices == {b"rootfs/dev/null": (1, 3), b"rootfs/dev/disk": (8, 1)}


def test_podman_leaves_the_files_that_docker_would_add_over_the_image(image: ContainerImage) -> None:
    ramdisk = container_ramdisk(image.root, start_command(image.start), Engine.PODMAN)
    rows = {entry.name.decode(): row(entry) for entry in ramdisk.entries}
    assert rows["rootfs/etc/hosts"] == ("rootfs/etc/hosts", "FILE", 0o644, (0, 0), M, HOSTS)
    assert rows["rootfs/etc/mtab"] == ("rootfs/etc/mtab", "FILE", 0o644, (0, 0), M, b"mine")
    assert "rootfs/etc/resolv.conf" not in rows
    assert "rootfs/etc/hostname" not in rows
    names = [entry.name for entry in ramdisk.entries]
    last = names.index(b"rootfs/zz-alias")
    assert names[last + 1 : last + 4] == [b"rootfs/dev/pts", b"rootfs/dev/shm", b"rootfs/sys"]


def test_docker_keeps_folders_and_replaces_everything_else_in_the_way(tmp_path: Path) -> None:
    odd = layer(
        Item("etc", tarfile.SYMTYPE, target="private/etc"),
        folder("private/"),
        folder("private/etc/"),
        folder("dev/"),
        Item("dev/pts", content=b"a file"),
        folder("dev/console/"),
        Item("dev/console/inside", content=b"1"),
        folder("Dockerfile/"),
    )
    path = docker_archive(tmp_path / "app.tar", [odd], {"Cmd": ["/x"]})
    with path.open("rb") as file, open_container_image(file) as image:
        ramdisk = container_ramdisk(image.root, start_command(image.start), Engine.DOCKER)
        kinds = {entry.name.decode(): entry.kind.name for entry in ramdisk.entries}
    assert kinds["rootfs/etc/"] == "FOLDER"
    assert kinds["rootfs/dev/pts/"] == "FOLDER"
    assert kinds["rootfs/dev/console/inside"] == "FILE"
    assert kinds["rootfs/Dockerfile/"] == "FOLDER"


def test_first_ramdisk_has_init_and_the_driver() -> None:
    ramdisk = init_ramdisk(BytesSource(b"init"), BytesSource(b"driver"))
    assert [row(entry) for entry in ramdisk.entries] == [
        ("dev", "FOLDER", 0o755, (0, 0), M, b""),
        ("init", "FILE", 0o755, (0, 0), M, b"init"),
        ("nsm.ko", "FILE", 0o755, (0, 0), M, b"driver"),
    ]


def test_first_ramdisk_can_be_without_a_driver() -> None:
    assert [entry.name for entry in init_ramdisk(BytesSource(b"init"), None).entries] == [b"dev", b"init"]


def test_same_image_gives_the_same_bytes(image: ContainerImage) -> None:
    start = start_command(image.start)
    ramdisk = container_ramdisk(image.root, start, Engine.DOCKER)
    again = Ramdisk(container_ramdisk(image.root, start, Engine.DOCKER).entries)  # the init layer is there already
    assert b"".join(ramdisk.chunks()) == b"".join(again.chunks())


class TestStartCommand:
    @pytest.mark.parametrize(
        ("start", "command", "warnings"),
        [
            ({"Cmd": ["a", "b"]}, ("a", "b"), 0),
            ({"Entrypoint": ["e"]}, ("e",), 0),
            ({"Entrypoint": ["e"], "Cmd": None}, ("e",), 0),
            ({"Entrypoint": ["e"], "Cmd": ["c"]}, ("c",), 1),
            ({"Cmd": ["c"], "User": "65532", "WorkingDir": "/app"}, ("c",), 2),
            ({"Cmd": ["c"], "User": "root", "WorkingDir": "/"}, ("c",), 0),
        ],
    )
    def test_cmd_counts_alone_and_entrypoint_without_it(
        self, start: dict[str, object], command: tuple[str, ...], warnings: int
    ) -> None:
        result = start_command(start)
        assert result.command == command
        assert len(result.warnings) == warnings

    def test_warning_says_what_the_enclave_starts(self) -> None:
        (warning,) = start_command({"Entrypoint": ["/entry.sh"], "Cmd": ["serve", "--all"]}).warnings
        assert warning == "ENTRYPOINT is ignored because there is a CMD: the enclave starts serve --all"

    @pytest.mark.parametrize(
        "start", [{}, {"Cmd": []}, {"Cmd": "text"}, {"Cmd": [1]}, {"Cmd": ["a\nb"]}, {"Cmd": ["a"], "Env": ["A=\n"]}]
    )
    def test_image_without_a_usable_command_is_refused(self, start: dict[str, object]) -> None:
        with pytest.raises(ImageError, match=r"^configuration: "):
            start_command(start)

    def test_command_and_environment_are_one_entry_a_line(self) -> None:
        ramdisk = container_ramdisk(new_folder(), StartCommand(("a", "b c"), ()), Engine.DOCKER)
        contents = {entry.name: b"".join(entry.content.chunks()) for entry in ramdisk.entries}
        assert (contents[b"cmd"], contents[b"env"]) == (b"a\nb c\n", b"")


class TestIrreproducibleParts:
    def test_image_that_lists_every_folder_has_none(self, image: ContainerImage) -> None:
        assert irreproducible_parts(image.root, image.start, image.unlisted) == []

    def test_folder_that_a_layer_does_not_list_is_named(self, tmp_path: Path) -> None:
        layers = [layer(folder("etc/"), Item("etc/a")), layer(Item("etc/b")), layer(Item("new/deep/c"))]
        path = docker_archive(tmp_path / "app.tar", layers, {})
        with path.open("rb") as file, open_container_image(file) as image:
            reasons = irreproducible_parts(image.root, {}, image.unlisted)
        assert [reason.partition(" without")[0] for reason in reasons] == [
            "a layer changes the folder etc/",
            "a layer changes the folder new/deep/",
        ]

    def test_missing_working_directory_is_named(self, image: ContainerImage) -> None:
        (reason,) = irreproducible_parts(image.root, {"WorkingDir": "/srv/app"}, ())
        assert reason.startswith("WORKDIR /srv/app does not exist")
        assert irreproducible_parts(image.root, {"WorkingDir": "/bin"}, ()) == []
