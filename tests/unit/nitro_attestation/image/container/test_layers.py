"""Layers as they are applied."""

from __future__ import annotations

import tarfile
from io import BytesIO

import pytest

from nitro_attestation.errors import ImageError
from nitro_attestation.image.container.file_tree import walk
from nitro_attestation.image.container.layers import LayeredTree
from tests.support.images.container_archives import Item, folder, layer


def applied(*layers: bytes) -> LayeredTree:
    tree = LayeredTree()
    for number, data in enumerate(layers, 1):
        tree.apply(BytesIO(data), f"layer {number}")
    return tree


def names(*layers: bytes) -> list[str]:
    return [path.decode() for path, _ in walk(applied(*layers).root)]


def test_leading_slash_and_dot_mean_nothing() -> None:
    assert names(layer(folder("./"), folder("./a/"), Item("/a/b"), Item("a/./c"))) == ["a", "a/b", "a/c"]


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/.."])
def test_path_that_leads_upwards_is_refused(name: str) -> None:
    with pytest.raises(ImageError, match=r"must not contain \.\.$"):
        applied(layer(Item(name)))


def test_whiteout_of_what_is_not_there_changes_nothing() -> None:
    assert names(layer(Item("a")), layer(Item(".wh.b"), Item("c/.wh.d"))) == ["a", "c"]


def test_opaque_folder_keeps_what_its_own_layer_has_whatever_the_order() -> None:
    lower = layer(folder("d/"), Item("d/old"), folder("d/sub/"), Item("d/sub/old"))
    entries = [folder("d/"), Item("d/new"), folder("d/sub/"), Item("d/sub/new"), Item("d/.wh..wh..opq")]
    assert names(lower, layer(*entries)) == ["d", "d/new", "d/sub", "d/sub/new"]
    assert names(lower, layer(entries[0], entries[-1], *entries[1:-1])) == ["d", "d/new", "d/sub", "d/sub/new"]


def test_file_replaces_a_folder_and_a_folder_a_file() -> None:
    lower = layer(folder("a/"), Item("a/x"), Item("b"))
    assert names(lower, layer(Item("a"), folder("b/"), Item("b/y"))) == ["a", "b", "b/y"]


def test_other_name_of_a_file_keeps_its_content_when_one_is_replaced() -> None:
    tree = applied(
        layer(Item("a", content=b"old"), Item("b", tarfile.LNKTYPE, target="a")), layer(Item("a", content=b"new"))
    )
    contents = {path: b"".join(node.content.chunks()) for path, node in walk(tree.root)}
    assert contents == {b"a": b"new", b"b": b"old"}


@pytest.mark.parametrize("target", ["missing", "folder", "", "missing/deep"])
def test_hard_link_to_no_file_is_refused(target: str) -> None:
    with pytest.raises(ImageError, match=r"which is not a file of the image$"):
        applied(layer(folder("folder/"), Item("b", tarfile.LNKTYPE, target=target)))


def test_entry_below_a_link_goes_where_the_link_leads() -> None:
    lower = layer(folder("usr/"), folder("usr/lib/"), Item("lib", tarfile.SYMTYPE, target="usr/lib"))
    assert names(lower, layer(Item("lib/new"))) == ["lib", "usr", "usr/lib", "usr/lib/new"]


def test_link_that_leads_out_ends_at_the_root() -> None:
    lower = layer(Item("up", tarfile.SYMTYPE, target="../../.."), folder("a/"))
    assert names(lower, layer(Item("up/new"))) == ["a", "new", "up"]


def test_links_that_lead_in_a_circle_are_refused() -> None:
    links = layer(Item("a", tarfile.SYMTYPE, target="b"), Item("b", tarfile.SYMTYPE, target="a"))
    with pytest.raises(ImageError, match=r"more than 40 symbolic links"):
        applied(links, layer(Item("a/x")))


def test_unsupported_type_is_refused() -> None:
    with pytest.raises(ImageError, match=r"^layer 1: odd: unsupported type b'Z' of a tar entry$"):
        applied(layer(Item("odd", b"Z")))


def test_truncated_layer_is_refused() -> None:
    data = layer(Item("a", content=bytes(2000)), Item("b"))
    with pytest.raises(ImageError, match=r"^layer 1: not a tar archive, or a damaged one"):
        applied(data[:600])


def test_content_that_ends_early_is_refused_when_it_is_read() -> None:
    tree = LayeredTree()
    stream = BytesIO(layer(Item("a", content=bytes(2000))))
    tree.apply(stream, "layer 1")
    node = dict(walk(tree.root)).get(b"a")
    assert node is not None
    stream.truncate(1000)
    with pytest.raises(ImageError, match=r"^layer 1: a: ends 1512 bytes too early$"):
        list(node.content.chunks())


def test_folders_that_a_layer_changes_without_listing_them_are_named() -> None:
    lower = layer(folder("a/"), Item("a/x"), folder("b/"), folder("b/c/"))
    assert applied(lower).unlisted == []
    assert applied(lower, layer(Item("a/y"))).unlisted == [b"a"]
    assert applied(lower, layer(Item("a/.wh.x"))).unlisted == [b"a"]
    assert applied(lower, layer(folder("b/c/"))).unlisted == []
    assert applied(lower, layer(Item("b/c/d"), folder("b/c/"))).unlisted == []
