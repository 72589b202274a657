from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tools.images.archive import Entry, Image, differences, read_files, read_image

Layer = dict[str, bytes | str | None]
"""By path: a file's bytes, the target of a link, or None for a folder."""


def add(archive: tarfile.TarFile, name: str, data: bytes, **attributes: Any) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for attribute, value in attributes.items():
        setattr(member, attribute, value)
    archive.addfile(member, io.BytesIO(data))


def layer_bytes(layer: Layer) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in layer.items():
            if content is None:
                add(archive, path, b"", type=tarfile.DIRTYPE, mode=0o755)
            elif isinstance(content, str):
                add(archive, path, b"", type=tarfile.SYMTYPE, linkname=content)
            else:
                add(archive, path, content, mode=0o4755, uid=1, gid=2, mtime=3)
    return buffer.getvalue()


def write_archive(path: Path, *layers: Layer, images: int = 1, config: dict[str, Any] | None = None) -> Path:
    names = [f"{number}.tar" for number in range(len(layers))]
    with tarfile.open(path, "w") as archive:
        for name, layer in zip(names, layers, strict=True):
            add(archive, name, layer_bytes(layer))
        add(archive, "config.json", json.dumps({"config": config or {}}).encode())
        add(archive, "manifest.json", json.dumps([{"Config": "config.json", "Layers": names}] * images).encode())
    return path


class TestReadImage:
    def test_later_layers_override_earlier_ones(self, tmp_path: Path) -> None:
        image = read_image(write_archive(tmp_path / "a", {"a": b"1", "b": b"2", "f": None}, {"a": b"3", "f/l": "../a"}))
        assert list(image.entries) == ["a", "b", "f", "f/l"]
        assert image.entries["a"] == Entry(
            "file", 0o4755, (1, 2), 3, "4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce", 1
        )
        assert (image.entries["f/l"].kind, image.entries["f/l"].content) == ("sym", "../a")

    def test_whiteout_removes_only_its_file_or_folder(self, tmp_path: Path) -> None:
        below: Layer = {"f": None, "f/a": b"", "f2": b"", "g": None, "g/a": b""}
        image = read_image(write_archive(tmp_path / "a", below, {".wh.f": b"", "g/.wh.a": b""}))
        assert list(image.entries) == ["f2", "g"]

    def test_command_and_environment_are_read(self, tmp_path: Path) -> None:
        config = {"Entrypoint": ["a"], "Cmd": ["b"], "Env": ["C=d"], "Labels": {"e": "f"}}
        image = read_image(write_archive(tmp_path / "a", config=config))
        assert (image.command, image.environment) == (["a", "b"], ["C=d"])
        assert "Labels" not in image.start

    def test_two_images_in_one_archive_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="expected 1 image, got 2"):
            read_image(write_archive(tmp_path / "a", images=2))


class TestReadFiles:
    def test_gives_bytes(self, tmp_path: Path) -> None:
        files = read_files(write_archive(tmp_path / "a", {"f": None, "f/a": b"1", "l": "f"}))
        assert [(member.name, content) for member, content in files] == [("f", b""), ("f/a", b"1"), ("l", b"")]

    def test_layer_that_removes_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"the layer removes \.wh\.a"):
            list(read_files(write_archive(tmp_path / "a", {".wh.a": b""})))


class TestDifferences:
    entry = Entry("file", 0o644, (0, 0), 1, "aa", 5)

    def test_none_between_equals(self) -> None:
        assert list(differences(Image({"a": self.entry}), Image({"a": self.entry}))) == []

    @pytest.mark.parametrize(
        ("change", "line"),
        [
            ({"mode": 0o755}, "a: mode: 644, then 755"),
            ({"owner": (0, 1)}, "a: owner: (0, 0), then (0, 1)"),
            ({"time_s": 2}, "a: time_s: 1, then 2"),
            ({"content": "bb"}, "a: content: aa, then bb"),
            ({"kind": "sym"}, "a: kind: file, then sym"),
        ],
    )
    def test_each_attribute_is_named(self, change: dict[str, Any], line: str) -> None:
        other = Entry(**{**vars(self.entry), **change})
        assert list(differences(Image({"a": self.entry}), Image({"a": other}))) == [line]

    def test_file_of_one_build_only_and_start_are_named(self) -> None:
        one, other = Image({"a": self.entry}, {"Cmd": ["x"]}), Image({"b": self.entry}, {"Cmd": ["y"]})
        assert list(differences(one, other)) == [
            "Cmd: ['x'], then ['y']",
            "a: only in the first build",
            "b: only in the second build",
        ]
