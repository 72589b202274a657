from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from enclave_tool.kms.client import attested_kms_client
from enclave_tool.kms.clock import KmsClock
from enclave_tool.kms.clock_skew import MAX_CLOCK_OFFSET_S
from enclave_tool.kms.failures import kms_failure
from enclave_tool.kms.options import KmsOptions
from enclave_tool.recipient.attested_key import Recipient, RecipientKey
from tests.support.enclave.scripted_nsm import ScriptedNsm
from tests.support.kms.ber_messages import seal
from tests.support.kms.canned_kms import Answer, Call, CannedKms, ThrowawayAuthority
from vsock_wire.net.address import UnixAddress
from vsock_wire.protocol.messages import Credentials

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

CREDENTIALS = Credentials("AKIDEXAMPLE", "theSecretAccessKey", "theSessionToken")
ALLOWED = timedelta(minutes=5)
EXPIRED = "Signature expired: 20250101T000000Z is now earlier than 20250101T001000Z (20250101T001500Z - 5 min.)"


class ShiftedKms:
    """Checks the time of each signature against its own clock, as KMS does."""

    def __init__(self, kms: CannedKms, sealed: str) -> None:
        self.offset = timedelta()
        self.code = "InvalidSignatureException"
        self.headers: Callable[[datetime], dict[str, str]] = lambda now: {"Date": format_datetime(now, usegmt=True)}
        self.signed_at: list[datetime] = []
        self._sealed = sealed
        kms.answer = self._answer

    def _answer(self, call: Call) -> Answer:
        now = datetime.now(UTC) + self.offset
        signed_at = datetime.strptime(call.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        self.signed_at.append(signed_at)
        assert call.headers["authorization"].partition("/")[2][:8] == f"{signed_at:%Y%m%d}"
        if abs(signed_at - now) <= ALLOWED:
            return Answer({"CiphertextForRecipient": self._sealed, "KeyId": "k"}, 200, self.headers(now))
        text = EXPIRED if signed_at < now else EXPIRED.replace("expired", "not yet current")
        return Answer({"__type": self.code, "message": text}, 400, self.headers(now))


@pytest.fixture
def shifted(kms: CannedKms, recipient_key: RecipientKey) -> ShiftedKms:
    return ShiftedKms(kms, b64encode(seal(recipient_key, b"plaintext")).decode())


@pytest.fixture
def clock() -> KmsClock:
    return KmsClock()


@pytest.fixture
def client(
    kms: CannedKms, authority: ThrowawayAuthority, recipient_key: RecipientKey, clock: KmsClock, tmp_path: Path
) -> Iterator[KMSClient]:
    client = attested_kms_client(
        Recipient(ScriptedNsm(), key=recipient_key),
        region="us-east-1",
        credentials=CREDENTIALS,
        options=KmsOptions(
            proxy=UnixAddress(kms.address.path), ca_file=authority.write_bundle(tmp_path / "authority.pem"), clock=clock
        ),
    )
    yield client
    client.close()


def decrypt(client: KMSClient) -> bytes:
    return client.decrypt(CiphertextBlob=b"c")["Plaintext"]


def refusal_of(client: KMSClient) -> ClientError:
    with pytest.raises(ClientError) as caught:
        decrypt(client)
    return caught.value


@pytest.mark.parametrize("minutes", [10, -10, 59, -59])
def test_call_is_signed_again_by_kmss_time_and_the_offset_is_a_warning(
    client: KMSClient, shifted: ShiftedKms, kms: CannedKms, caplog: pytest.LogCaptureFixture, minutes: int
) -> None:
    shifted.offset = timedelta(minutes=minutes)
    assert decrypt(client) == b"plaintext"
    first, second = shifted.signed_at
    assert abs(second - first - shifted.offset) <= timedelta(seconds=3)
    (record,) = [record for record in caplog.records if record.name == "enclave_tool.kms.clock_skew"]
    assert record.levelno == logging.WARNING
    # the Date header has whole seconds, and time passes in between
    assert abs(int(record.getMessage().split()[4]) - minutes * 60) <= 3
    assert len(kms.calls) == 2


def test_later_calls_and_other_clients_of_the_clock_are_signed_right_at_once(
    client: KMSClient, shifted: ShiftedKms, clock: KmsClock, kms: CannedKms
) -> None:
    shifted.offset = timedelta(minutes=10)
    decrypt(client)
    kms.calls.clear()
    decrypt(client)
    assert len(kms.calls) == 1
    assert clock.offset > timedelta(minutes=9)


def test_clock_that_is_right_signs_as_botocore_does(client: KMSClient, shifted: ShiftedKms, clock: KmsClock) -> None:
    assert decrypt(client) == b"plaintext"
    assert clock.offset == timedelta()
    assert len(shifted.signed_at) == 1


def test_correction_is_undone_when_the_enclaves_clock_has_been_set(
    client: KMSClient, shifted: ShiftedKms, clock: KmsClock
) -> None:
    shifted.offset = timedelta(minutes=10)
    decrypt(client)
    shifted.offset = timedelta()
    assert decrypt(client) == b"plaintext"
    assert abs(clock.offset) < timedelta(seconds=3)


@pytest.mark.parametrize("sign", [1, -1])
def test_offset_over_the_bound_is_not_corrected_and_the_hint_says_so(
    client: KMSClient, shifted: ShiftedKms, clock: KmsClock, sign: int
) -> None:
    shifted.offset = sign * timedelta(seconds=MAX_CLOCK_OFFSET_S + 60)
    hint = kms_failure(refusal_of(client), UnixAddress("/proxy")).hint or ""
    assert hint.startswith("the enclave's clock is 36")
    assert (" s behind KMS's" if sign > 0 else " s ahead of KMS's") in hint
    assert "up to 3600 s are corrected" in hint
    assert clock.offset == timedelta()
    assert len(shifted.signed_at) == 1


@pytest.mark.parametrize("date", [None, "", "yesterday", "Thu, 99 Nov 2026 25:61:00 GMT", "9" * 1_000])
def test_answer_without_a_usable_date_is_not_signed_again(
    client: KMSClient, shifted: ShiftedKms, date: str | None
) -> None:
    shifted.offset = timedelta(minutes=10)
    shifted.headers = lambda _: {} if date is None else {"Date": date}
    assert refusal_of(client).response["Error"]["Code"] == "InvalidSignatureException"
    assert len(shifted.signed_at) == 1


def test_kms_that_refuses_every_time_is_called_twice(client: KMSClient, shifted: ShiftedKms) -> None:
    shifted.offset = timedelta(minutes=10)
    shifted.headers = lambda now: {"Date": format_datetime(now - timedelta(minutes=20), usegmt=True)}
    refusal_of(client)
    assert len(shifted.signed_at) == 2


def test_other_refusals_are_not_signed_again(client: KMSClient, shifted: ShiftedKms) -> None:
    shifted.offset = timedelta(minutes=10)
    shifted.code = "AccessDeniedException"
    refusal_of(client)
    assert len(shifted.signed_at) == 1
