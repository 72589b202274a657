"""Split virtqueues in a guest's memory, from the device's side.

Source: Virtual I/O Device (VIRTIO) 1.2, section 2.7. Indirect descriptors and event indices are not supported, so a
device must not offer them. Written for x86, whose processors keep the order of stores.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from typing import NamedTuple

DESCRIPTOR_BYTES = 16
FLAG_NEXT, FLAG_WRITE = 1, 2


class Region(NamedTuple):
    """The addresses of a part of a guest's memory, for the guest's devices and in the guest's process."""

    guest_address: int
    size_bytes: int
    process_address: int


class GuestMemory:
    """One region of a guest's memory, shared with it.

    Args:
        region: the region that the file contains.
        descriptor: of the file; it is closed.
        offset: where the region begins in the file, in bytes; a multiple of the page size.
    """

    def __init__(self, region: Region, descriptor: int, offset: int) -> None:
        self.region = region
        self._map = mmap.mmap(descriptor, region.size_bytes, offset=offset)
        os.close(descriptor)
        self._bytes = memoryview(self._map)

    def at(self, address: int, size_bytes: int) -> memoryview:
        """Return the memory at an address of the guest."""
        return self._slice(address - self.region.guest_address, size_bytes)

    def at_process_address(self, address: int, size_bytes: int) -> memoryview:
        """Return the memory at an address of the guest's process."""
        return self._slice(address - self.region.process_address, size_bytes)

    def _slice(self, offset: int, size_bytes: int) -> memoryview:
        if not 0 <= offset <= offset + size_bytes <= self.region.size_bytes:
            raise ValueError(f"expected an address in the guest's memory, got offset {offset:#x}")
        return self._bytes[offset : offset + size_bytes]


class Buffer(NamedTuple):
    """A chain of descriptors: its number, and the memory that the device may read and write."""

    head: int
    readable: bytes
    writable: list[memoryview]

    @property
    def capacity_bytes(self) -> int:
        """Maximum number of bytes that the device may write."""
        return sum(map(len, self.writable))


class Virtqueue:
    """A queue whose addresses the guest has set.

    Args:
        memory: of the guest.
        size: the number of descriptors.
        descriptors, used, available: addresses in the guest's process.
    """

    def __init__(self, memory: GuestMemory, *, size: int, descriptors: int, used: int, available: int) -> None:
        self._memory = memory
        self._size = size
        self._descriptors = memory.at_process_address(descriptors, DESCRIPTOR_BYTES * size)
        # Arrays of integers, so that each is read and written at once.
        self._available = memory.at_process_address(available, 4 + 2 * size).cast("H")
        used_ring = memory.at_process_address(used, 4 + 8 * size)
        self._used_index = used_ring[:4].cast("H")
        self._used = used_ring[4:].cast("I")
        self._taken = 0

    def take(self) -> Iterator[Buffer]:
        """Yield the buffers that the guest has made available; each must be given back."""
        while self._taken != self._available[1]:
            head = self._available[2 + self._taken % self._size]
            self._taken = self._taken + 1 & 0xFFFF
            yield self._read_chain(head)

    def give_back(self, buffer: Buffer, written_bytes: int) -> None:
        """Return a buffer to the guest."""
        index = self._used_index[1]
        place = 2 * (index % self._size)
        self._used[place], self._used[place + 1] = buffer.head, written_bytes
        self._used_index[1] = index + 1 & 0xFFFF

    def _read_chain(self, head: int) -> Buffer:
        readable, writable, number = b"", [], head
        for _ in range(self._size):
            descriptor = self._descriptors[DESCRIPTOR_BYTES * number : DESCRIPTOR_BYTES * (number + 1)]
            address, size_bytes = descriptor[:8].cast("Q")[0], descriptor[8:12].cast("I")[0]
            flags, following = descriptor[12:].cast("H")
            data = self._memory.at(address, size_bytes)
            if flags & FLAG_WRITE:
                writable.append(data)
            else:
                readable += data
            if not flags & FLAG_NEXT:
                return Buffer(head, readable, writable)
            number = following
        raise ValueError("expected a chain of descriptors with an end, got a circle")
