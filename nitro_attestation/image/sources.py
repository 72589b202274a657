"""Bytes that are read in pieces: a part of a file, a whole file, or bytes in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from nitro_attestation.errors import ImageError

CHUNK_BYTES = 1 << 20
"""How much is read at a time. Larger pieces are not faster, and an image may be larger than the memory."""


class Source(Protocol):
    """Bytes of a known size that can be read more than once."""

    @property
    def size_bytes(self) -> int:
        """The number of bytes that ``chunks`` yields in total."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes from the beginning, in pieces of at most CHUNK_BYTES."""


@dataclass(frozen=True)
class BytesSource:
    """Bytes in memory."""

    content: bytes

    @property
    def size_bytes(self) -> int:
        """The number of bytes."""
        return len(self.content)

    def chunks(self) -> Iterator[bytes]:
        """Yield all bytes at once, or nothing if there are none."""
        if self.content:
            yield self.content


@dataclass(frozen=True)
class StreamPart:
    """A part of a seekable stream, such as a file inside a tar archive.

    Attributes:
        stream: where it is; each read seeks first, so several parts may share one stream, but not several threads.
        offset_bytes: where it begins.
        size_bytes: its size.
        name: what an error calls it.
    """

    stream: BinaryIO
    offset_bytes: int
    size_bytes: int
    name: str

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes.

        Raises:
            ImageError: the stream ends before the part does.
            OSError: it cannot be read.
        """
        offset, end = self.offset_bytes, self.offset_bytes + self.size_bytes
        while offset < end:
            self.stream.seek(offset)  # each time: another part may have been read since the last piece
            chunk = self.stream.read(min(CHUNK_BYTES, end - offset))
            if not chunk:
                raise ImageError(self.name, f"ends {end - offset} bytes too early")
            offset += len(chunk)
            yield chunk


@dataclass(frozen=True)
class FileSource:
    """A whole file, opened for each read."""

    path: Path

    @property
    def size_bytes(self) -> int:
        """The file's size when it is asked for."""
        return self.path.stat().st_size

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes.

        Raises:
            OSError: the file cannot be read.
        """
        with self.path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
