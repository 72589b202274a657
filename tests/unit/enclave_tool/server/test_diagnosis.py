from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import cbor2
import pytest

from enclave_tool.kms.options import KmsOptions
from enclave_tool.recipient.attested_key import Recipient, RecipientKey
from enclave_tool.server.diagnosis import Surveyor
from tests.support.enclave.scripted_nsm import ScriptedNsm, attestation_answer
from tests.support.kms.canned_kms import Answer, CannedKms, ThrowawayAuthority
from vsock_wire.net.address import UnixAddress
from vsock_wire.net.sockets import listen_socket
from vsock_wire.protocol.diagnosis import Hop, HopName, HopState

URL = "https://kms.us-east-1.amazonaws.com"
ORDER = [HopName.NSM, HopName.ENTROPY, HopName.PROXY, HopName.KMS, HopName.TLS, HopName.CLOCK]


class Module(ScriptedNsm):
    """Responds as a working module does, except for what the test changes."""

    def __init__(self) -> None:
        self.random = lambda count_bytes: os.urandom(count_bytes)  # type: ignore[method-assign]  # noqa: PLW0108 - typed
        super().__init__(self._sound)

    def _sound(self, request: bytes) -> bytes:
        if cbor2.loads(request) == "DescribeNSM":
            fields = {
                "version_major": 1, "version_minor": 0, "version_patch": 0, "module_id": "i-1-enc1",
                "max_pcrs": 32, "locked_pcrs": [0], "digest": "SHA384",
            }  # fmt: skip
            return cbor2.dumps({"DescribeNSM": fields})
        return attestation_answer(b"a document")


def date(offset_s: float = 0) -> dict[str, str]:
    return {"Date": format_datetime(datetime.now(UTC) + timedelta(seconds=offset_s), usegmt=True)}


@pytest.fixture
def module() -> Module:
    return Module()


@pytest.fixture
def bundle(authority: ThrowawayAuthority, tmp_path: Path) -> str:
    return str(authority.write_bundle(tmp_path / "authority.pem"))


def survey(module: Module, key: RecipientKey, proxy: UnixAddress, bundle: str) -> dict[HopName, Hop]:
    """Return the hops, and check that each occurs once and in order."""
    surveyor = Surveyor(module, Recipient(module, key=key), KmsOptions(proxy=proxy, ca_file=bundle))
    hops = list(surveyor.survey(URL))
    assert [hop.name for hop in hops] == ORDER
    return {hop.name: hop for hop in hops}


def only_failure(hops: dict[HopName, Hop]) -> Hop:
    """Return the one hop that failed, and check that those before it are ok and those after it were skipped."""
    (failed,) = [hop for hop in hops.values() if hop.state is HopState.FAILED]
    way = ORDER[:2] if failed.name in ORDER[:2] else ORDER[2:]
    place = way.index(failed.name)
    assert {hops[name].state for name in way[:place]} <= {HopState.OK}
    assert {hops[name].state for name in way[place + 1 :]} <= {HopState.SKIPPED}
    return failed


def test_every_working_hop_is_ok(module: Module, recipient_key: RecipientKey, kms: CannedKms, bundle: str) -> None:
    kms.answer = lambda _: Answer({}, status=404, headers=date())
    hops = survey(module, recipient_key, kms.address, bundle)
    assert {hop.state for hop in hops.values()} == {HopState.OK}
    assert hops[HopName.NSM].detail == "module i-1-enc1 made an attestation document of 10 bytes"
    assert "certificate for kms.us-east-1.amazonaws.com, issued by commonName=throwaway" in hops[HopName.TLS].detail
    (call,) = kms.calls
    assert "authorization" not in call.headers


class TestModule:
    def test_that_refuses_fails_and_entropy_is_not_checked(
        self, module: Module, recipient_key: RecipientKey, kms: CannedKms, bundle: str
    ) -> None:
        module.carrier.answer = cbor2.dumps({"Error": "InternalError"})
        kms.answer = lambda _: Answer({}, headers=date())
        failed = only_failure(survey(module, recipient_key, kms.address, bundle))
        assert failed.name is HopName.NSM
        assert "InternalError" in failed.detail

    def test_that_repeats_its_random_bytes_fails(
        self, module: Module, recipient_key: RecipientKey, kms: CannedKms, bundle: str
    ) -> None:
        module.random = lambda count_bytes: b"\7" * count_bytes  # type: ignore[method-assign]
        kms.answer = lambda _: Answer({}, headers=date())
        failed = only_failure(survey(module, recipient_key, kms.address, bundle))
        assert (failed.name, failed.hint) == (
            HopName.ENTROPY, "restart the enclave; do not use keys made in this one",
        )  # fmt: skip

    def test_with_a_kernel_without_entropy_fails(
        self,
        module: Module,
        recipient_key: RecipientKey,
        kms: CannedKms,
        bundle: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def would_block(_size: int, _flags: int = 0) -> bytes:
            raise BlockingIOError

        monkeypatch.setattr(os, "getrandom", would_block)
        kms.answer = lambda _: Answer({}, headers=date())
        failed = only_failure(survey(module, recipient_key, kms.address, bundle))
        assert (failed.name, failed.detail) == (HopName.ENTROPY, "the kernel's random number generator is not seeded")


class TestClock:
    @pytest.mark.parametrize("offset_s", [-298, -5, 5, 298])
    def test_within_the_tolerance_is_ok(
        self, module: Module, recipient_key: RecipientKey, kms: CannedKms, bundle: str, offset_s: int
    ) -> None:
        kms.answer = lambda _: Answer({}, headers=date(offset_s))
        hop = survey(module, recipient_key, kms.address, bundle)[HopName.CLOCK]
        assert hop.state is HopState.OK
        assert ("ahead of the enclave's" if offset_s > 0 else "behind the enclave's") in hop.detail

    @pytest.mark.parametrize("offset_s", [-303, 303])
    def test_beyond_it_fails(
        self, module: Module, recipient_key: RecipientKey, kms: CannedKms, bundle: str, offset_s: int
    ) -> None:
        kms.answer = lambda _: Answer({}, headers=date(offset_s))
        failed = only_failure(survey(module, recipient_key, kms.address, bundle))
        assert failed.name is HopName.CLOCK
        assert "more than the 300 s that KMS tolerates" in failed.detail

    @pytest.mark.parametrize("headers", [{}, {"Date": "yesterday"}])
    def test_without_a_date_from_kms_fails(
        self, module: Module, recipient_key: RecipientKey, kms: CannedKms, bundle: str, headers: dict[str, str]
    ) -> None:
        kms.answer = lambda _: Answer({}, headers=headers)
        failed = only_failure(survey(module, recipient_key, kms.address, bundle))
        assert failed.name is HopName.CLOCK
        assert "no readable Date header" in failed.detail


@contextlib.contextmanager
def saying(data: bytes, short_dir: Path) -> Iterator[UnixAddress]:
    """Accept one connection, send ``data`` on it, and close it."""
    address = UnixAddress(str(short_dir / "saying"))
    with listen_socket(address) as listener:

        def say_once() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.sendall(data)
                if data:
                    sock.recv(65_536)

        thread = threading.Thread(target=say_once)
        thread.start()
        yield address
        thread.join()


class TestWayToKms:
    def test_without_a_proxy_fails_there(
        self, module: Module, recipient_key: RecipientKey, bundle: str, short_dir: Path
    ) -> None:
        failed = only_failure(survey(module, recipient_key, UnixAddress(str(short_dir / "nobody")), bundle))
        assert failed.name is HopName.PROXY

    def test_behind_a_proxy_that_closes_fails_at_kms(
        self, module: Module, recipient_key: RecipientKey, bundle: str, short_dir: Path
    ) -> None:
        with saying(b"", short_dir) as proxy:
            assert only_failure(survey(module, recipient_key, proxy, bundle)).name is HopName.KMS

    def test_with_another_hosts_certificate_fails_at_tls(
        self, module: Module, recipient_key: RecipientKey, bundle: str, short_dir: Path, authority: ThrowawayAuthority
    ) -> None:
        with CannedKms(UnixAddress(str(short_dir / "other")), authority.server_context("kms.example")) as other:
            failed = only_failure(survey(module, recipient_key, other.address, bundle))
            assert (failed.name, other.calls) == (HopName.TLS, [])

    def test_to_a_peer_without_tls_fails_at_tls(
        self, module: Module, recipient_key: RecipientKey, bundle: str, short_dir: Path
    ) -> None:
        with saying(b"HTTP/1.1 400 Bad Request\r\n\r\n", short_dir) as plain:
            assert only_failure(survey(module, recipient_key, plain, bundle)).name is HopName.TLS

    def test_to_a_peer_that_hangs_up_after_the_handshake_fails_at_kms(
        self, module: Module, recipient_key: RecipientKey, kms: CannedKms, bundle: str
    ) -> None:
        kms.answer = lambda _: None
        assert only_failure(survey(module, recipient_key, kms.address, bundle)).name is HopName.KMS
