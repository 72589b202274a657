"""Container images in archives: which are read, and which are refused."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nitro_attestation.errors import ImageError
from nitro_attestation.image.container.archive import MAX_INDEXES, ContainerImage, open_container_image
from nitro_attestation.image.container.file_tree import walk
from tests.support.images.container_archives import (
    Item,
    configuration,
    docker_archive,
    folder,
    layer,
    oci_archive,
    write_archive,
)

LAYERS = [layer(folder("etc/"), Item("etc/a", content=b"1")), layer(folder("etc/"), Item("etc/b", content=b"22"))]
START = {"Cmd": ["/app"]}


def read(path: Path, **options: str) -> tuple[ContainerImage, dict[bytes, bytes]]:
    """Return an image, and the content of each of its files."""
    with path.open("rb") as file, open_container_image(file, **options) as image:
        contents = {name: b"".join(node.content.chunks()) for name, node in walk(image.root) if not node.is_folder}
    return image, contents


@pytest.mark.parametrize("write", [docker_archive, oci_archive])
def test_image_of_either_kind_of_archive_is_read(write: Callable[..., Path], tmp_path: Path) -> None:
    image, contents = read(write(tmp_path / "app.tar", LAYERS, START))
    assert contents == {b"etc/a": b"1", b"etc/b": b"22"}
    assert image.start == START
    assert image.architecture == "amd64"
    assert len(image.image_id) == 64


def test_archive_compressed_as_a_whole_is_read(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "app.tar", LAYERS, START)
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert read(path)[1] == {b"etc/a": b"1", b"etc/b": b"22"}


def test_docker_archive_is_preferred_where_a_file_is_both(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "app.tar", LAYERS, START)
    files = {"index.json": b"{}", "manifest.json": b"", "config.json": configuration(LAYERS, START)}
    files["manifest.json"] = json.dumps([{"Config": "config.json", "Layers": ["a", "b"]}]).encode()
    write_archive(path, {**files, "a": LAYERS[0], "b": LAYERS[1]})
    assert read(path)[0].name == ""


def damaged(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    files = {"config.json": configuration(LAYERS, START), "0/layer.tar": LAYERS[0], "1/layer.tar": LAYERS[1]}
    manifest = [{"Config": "config.json", "RepoTags": ["app:latest"], "Layers": ["0/layer.tar", "1/layer.tar"]}]
    files["manifest.json"] = json.dumps(manifest).encode()
    change(files)
    return write_archive(path, files)


def put(name: str, content: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda files: files.update({name: content})


def drop(name: str) -> Callable[[dict[str, bytes]], None]:
    return lambda files: files.__delitem__(name)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (drop("manifest.json"), "archive"),
        (put("manifest.json", b"x"), "manifest.json"),
        (put("manifest.json", b"{}"), "manifest.json"),
        (put("manifest.json", b"[1]"), "manifest.json"),
        (put("manifest.json", b'[{"Layers": []}]'), "manifest.json"),
        (put("manifest.json", b'[{"Config": "config.json", "Layers": [1]}]'), "manifest.json"),
        (put("manifest.json", b'[{"Config": "config.json", "Layers": []}]'), "manifest"),
        (drop("config.json"), "config.json"),
        (put("config.json", b"[]"), "config.json"),
        (put("config.json", b"{}"), "configuration"),
        (put("config.json", b'{"rootfs": {"diff_ids": [1]}}'), "configuration"),
        (drop("1/layer.tar"), "1/layer.tar"),
        (put("1/layer.tar", LAYERS[1] + b"\0"), "layer 2"),
        (put("0/layer.tar", b"\x28\xb5\x2f\xfd" + LAYERS[0]), "layer 1"),
        (put("0/layer.tar", gzip.compress(LAYERS[0])[:-20]), "layer 1"),
        (put("0/layer.tar", b"\x1f\x8b" + bytes(20)), "layer 1"),
    ],
)
def test_damaged_docker_archive_is_refused_by_its_part(
    change: Callable[[dict[str, bytes]], None], field: str, tmp_path: Path
) -> None:
    with pytest.raises(ImageError) as raised:
        read(damaged(tmp_path / "app.tar", change))
    assert raised.value.field == field


def test_other_file_is_refused_with_how_to_make_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "app.eif"
    path.write_bytes(b".eif" + bytes(2000))
    with pytest.raises(ImageError, match=r"^archive: not a tar archive, or a damaged one") as raised:
        read(path)
    assert raised.value.hint is not None
    assert "docker save" in raised.value.hint


class TestSeveralImages:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        images = [{"Config": "c", "RepoTags": [f"{name}:1"], "Layers": ["a", "b"]} for name in ("app", "base")]
        files = {"manifest.json": json.dumps(images).encode(), "c": configuration(LAYERS, START)}
        return write_archive(tmp_path / "both.tar", {**files, "a": LAYERS[0], "b": LAYERS[1]})

    def test_one_is_chosen_by_name(self, path: Path) -> None:
        assert read(path, name="base:1")[0].name == "base:1"

    @pytest.mark.parametrize("name", [None, "other:1"])
    def test_without_a_choice_their_names_are_listed(self, name: str | None, path: Path) -> None:
        options = {} if name is None else {"name": name}
        with pytest.raises(ImageError) as raised:
            read(path, **options)
        assert raised.value.hint == "choose one with --image: app:1, base:1"


class TestOciArchive:
    def test_image_is_chosen_by_architecture(self, tmp_path: Path) -> None:
        path = oci_archive(tmp_path / "app.tar", LAYERS, START)
        index = _index_of(path)
        descriptor = index["manifests"][0]
        platforms = [
            {**descriptor, "platform": {"architecture": name, "os": "linux"}} for name in ("amd64", "arm64")
        ] + [{**descriptor, "platform": {"architecture": "unknown", "os": "unknown"}}]
        _replace_index(path, {"manifests": platforms})
        assert read(path, architecture="arm64")[1] == {b"etc/a": b"1", b"etc/b": b"22"}
        with pytest.raises(ImageError, match=r"^index.json: none of its images is for riscv64$"):
            read(path, architecture="riscv64")

    def test_index_of_itself_ends(self, tmp_path: Path) -> None:
        path = tmp_path / "app.tar"
        inner = json.dumps({"manifests": []}).encode()
        write_archive(path, {"index.json": inner})
        with pytest.raises(ImageError, match=r"^index.json: none of its images"):
            read(path)
        assert MAX_INDEXES < 10

    @pytest.mark.parametrize("digest", ["sha512:" + "a" * 64, "sha256:../../etc/passwd", "sha256:" + "/" * 64, 5, None])
    def test_blob_without_its_sha256_is_refused(self, digest: object, tmp_path: Path) -> None:
        path = write_archive(
            tmp_path / "app.tar", {"index.json": json.dumps({"manifests": [{"digest": digest}]}).encode()}
        )
        with pytest.raises(ImageError, match=r"^index.json: it names a blob without its SHA-256$"):
            read(path)

    def test_changed_manifest_is_refused(self, tmp_path: Path) -> None:
        path = write_archive(
            tmp_path / "app.tar",
            {
                "index.json": json.dumps({"manifests": [{"digest": "sha256:" + "a" * 64}]}).encode(),
                "blobs/sha256/" + "a" * 64: b"{}",
            },
        )
        with pytest.raises(ImageError, match=r"its SHA-256 is not the one in its name"):
            read(path)


def _index_of(path: Path) -> dict[str, list[dict[str, object]]]:
    with tarfile.open(path) as archive:
        file = archive.extractfile("index.json")
        assert file is not None
        index: dict[str, list[dict[str, object]]] = json.load(file)
        return index


def _replace_index(path: Path, index: object) -> None:
    with tarfile.open(path) as archive:
        files = {member.name: archive.extractfile(member) for member in archive}
        contents = {name: file.read() for name, file in files.items() if file is not None}
    write_archive(path, {**contents, "index.json": json.dumps(index).encode()})
