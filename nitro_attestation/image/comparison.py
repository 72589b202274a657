"""What differs between two enclave image files: which section, and in a ramdisk, which file and what about it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest

from nitro_attestation.errors import ImageError
from nitro_attestation.image.cpio import CpioEntry, FileKind, decode_ramdisk
from nitro_attestation.image.eif_format import Header, Section, SectionType
from nitro_attestation.image.reading import ImageFile
from nitro_attestation.image.sources import Source, StreamPart
from nitro_attestation.quoting import printable

_NOT_MEASURED = {SectionType.METADATA, SectionType.SIGNATURE}
_Named = dict[tuple[bytes, int], CpioEntry]


def compare_images(first: ImageFile, second: ImageFile) -> Iterator[str]:
    """Yield one line for each difference between two files; nothing if they are the same.

    A CRC that differs is not a difference of its own, since it follows from the others.

    Raises:
        ImageError: a ramdisk is damaged, or a file ends early.
        OSError: a file cannot be read.
    """
    yield from _compare_headers(first.header, second.header)
    for number, (one, other) in enumerate(zip_longest(first.sections, second.sections)):
        if one is None or other is None or one.type is not other.type:
            yield f"section {number}: {_type_name(one)}, then {_type_name(other)}"
        elif _digest(first.source(one)) != _digest(second.source(other)):
            yield from _compare_sections(first, second, number)


def _compare_headers(first: Header, second: Header) -> Iterator[str]:
    for name in ("version", "is_arm64", "default_memory_bytes", "default_cpus"):
        one, other = getattr(first, name), getattr(second, name)
        if one != other:
            yield f"header: {name}: {one}, then {other}"


def _compare_sections(first: ImageFile, second: ImageFile, number: int) -> Iterator[str]:
    one, other = first.sections[number], second.sections[number]
    name = f"section {number} ({one.type.name.lower()})"
    if one.type is SectionType.RAMDISK:
        yield from (f"{name}: {line}" for line in _compare_ramdisks(first.source(one), second.source(other)))
    elif one.type is SectionType.CMDLINE:
        texts = (b"".join(image.source(section).chunks()) for image, section in ((first, one), (second, other)))
        yield f"{name}: {', then '.join(repr(text.decode('utf-8', 'backslashreplace')) for text in texts)}"
    else:
        note = ", which is not measured" if one.type in _NOT_MEASURED else ""
        yield f"{name}: other content{note}: {one.size_bytes} bytes, then {other.size_bytes} bytes"


def _compare_ramdisks(first: StreamPart, second: StreamPart) -> Iterator[str]:
    try:
        entries = [_named(decode_ramdisk(ramdisk)) for ramdisk in (first, second)]
    except ImageError as error:
        yield f"other content, which cannot be compared file by file: {error.reason}"
        return
    one, other = entries
    for key in sorted(one.keys() | other.keys()):
        if key not in one or key not in other:
            yield f"{_shown(key[0])}: only in the {'second' if key not in one else 'first'}"
        else:
            yield from (f"{_shown(key[0])}: {line}" for line in _compare_entries(one[key], other[key]))
    common = [[key for key in named if key in one and key in other] for named in entries]
    moved = next((key for key, key_there in zip(*common, strict=True) if key != key_there), None)
    if moved is not None:
        yield f"the order of the entries, from {_shown(moved[0])} on"


def _named(entries: Iterator[CpioEntry]) -> _Named:
    """Return entries by their name and how often it was there before: a ramdisk may have a name twice."""
    seen: Counter[bytes] = Counter()
    named: _Named = {}
    for entry in entries:
        name = entry.name.rstrip(b"/")
        named[name, seen[name]] = entry
        seen[name] += 1
    return named


def _compare_entries(one: CpioEntry, other: CpioEntry) -> Iterator[str]:
    shown = {
        "name": (_shown(one.name), _shown(other.name)),
        "type": (one.kind.name.lower(), other.kind.name.lower()),
        "mode": (f"{one.mode:04o}", f"{other.mode:04o}"),
        "owner": (f"{one.uid}:{one.gid}", f"{other.uid}:{other.gid}"),
        "time": (str(one.time_s), str(other.time_s)),
        "device": ("{}:{}".format(*one.device), "{}:{}".format(*other.device)),
        "content": (_content(one), _content(other)),
    }
    for name, (before, after) in shown.items():
        if before != after:
            yield f"{name}: {before}, then {after}"


def _content(entry: CpioEntry) -> str:
    if entry.kind is FileKind.SYMLINK:
        return _shown(b"".join(entry.content.chunks()))
    return f"{entry.content.size_bytes} bytes, SHA-256 {_digest(entry.content)[:16]}"


def _digest(source: Source) -> str:
    digest = hashlib.sha256()
    for chunk in source.chunks():
        digest.update(chunk)
    return digest.hexdigest()


def _type_name(section: Section | None) -> str:
    return "none" if section is None else section.type.name.lower()


def _shown(name: bytes) -> str:
    return printable(name.decode("utf-8", "backslashreplace"))
