from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path
from typing import Any

import cbor2
import pytest

from enclave_tool.errors import NsmError
from enclave_tool.nsm import entropy
from enclave_tool.nsm.entropy import RNDADDENTROPY, SEED_BYTES, credit_kernel_entropy, seed_kernel_entropy
from tests.support.enclave.scripted_nsm import ScriptedNsm
from vsock_wire.errors import ExitCode

CHUNK = bytes(range(256))
PYTHONS_LIMIT_BYTES = 1_024
"""Python's fcntl.ioctl copies a read-only argument into a buffer of this size, and refuses a longer one."""


class FakeKernel:
    def __init__(self) -> None:
        self.calls: list[tuple[int, bytes]] = []
        self.error: OSError | None = None

    def __call__(self, fd: int, number: int, argument: Any) -> int:
        os.fstat(fd)
        if memoryview(argument).readonly and len(argument) > PYTHONS_LIMIT_BYTES:
            raise ValueError("ioctl string arg too long")
        self.calls.append((number, bytes(argument)))
        if self.error is not None:
            raise self.error
        return 0


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeKernel:
    kernel = FakeKernel()
    (tmp_path / "random").touch()
    monkeypatch.setattr(entropy, "RANDOM_DEVICE", tmp_path / "random")
    monkeypatch.setattr(fcntl, "ioctl", kernel)
    return kernel


def device_nsm() -> ScriptedNsm:
    return ScriptedNsm(cbor2.dumps({"GetRandom": {"random": CHUNK}}), is_device=True)


def test_every_byte_of_the_module_is_credited_as_eight_bits(kernel: FakeKernel) -> None:
    seed_kernel_entropy(device_nsm())
    bits, given = 0, b""
    for number, pool_info in kernel.calls:
        assert number == RNDADDENTROPY == 0x4008_5203
        entropy_count, buf_size = struct.unpack_from("@ii", pool_info)
        assert len(pool_info) == 8 + buf_size
        bits, given = bits + entropy_count, given + pool_info[8:]
    assert given == CHUNK * (SEED_BYTES // len(CHUNK))
    assert bits == SEED_BYTES * 8


def test_simulated_module_is_asked_for_nothing_and_credits_nothing(kernel: FakeKernel) -> None:
    nsm = ScriptedNsm(is_device=False)
    seed_kernel_entropy(nsm)
    assert (kernel.calls, nsm.carrier.requests) == ([], [])


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL, errno.EFAULT])
def test_kernel_that_refuses_prevents_the_start(kernel: FakeKernel, number: int) -> None:
    kernel.error = OSError(number, os.strerror(number))
    with pytest.raises(NsmError, match=r"^NSM entropy: the kernel did not accept it: ") as caught:
        seed_kernel_entropy(device_nsm())
    assert caught.value.exit_code is ExitCode.FAILED
    assert "CAP_SYS_ADMIN" in (caught.value.hint or "")


def test_module_that_refuses_prevents_the_start(kernel: FakeKernel) -> None:
    with pytest.raises(NsmError, match="refused with InternalError"):
        seed_kernel_entropy(ScriptedNsm(cbor2.dumps({"Error": "InternalError"}), is_device=True))
    assert kernel.calls == []


def test_missing_random_device_prevents_the_start(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(entropy, "RANDOM_DEVICE", tmp_path / "none")
    with pytest.raises(NsmError, match="no such file"):
        credit_kernel_entropy(b"x")
    assert kernel.calls == []


def test_seed_of_full_size_passes_pythons_own_ioctl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Uses the real fcntl.ioctl on a file that does not know the request: the kernel must refuse it, not Python."""
    (tmp_path / "random").touch()
    monkeypatch.setattr(entropy, "RANDOM_DEVICE", tmp_path / "random")
    with pytest.raises(NsmError, match="inappropriate ioctl"):
        seed_kernel_entropy(device_nsm())


def test_descriptor_is_closed_after_success_and_failure(kernel: FakeKernel) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    credit_kernel_entropy(b"x")
    kernel.error = OSError(errno.EPERM, "Operation not permitted")
    with pytest.raises(NsmError):
        credit_kernel_entropy(b"x")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
