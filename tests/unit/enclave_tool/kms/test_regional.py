from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from enclave_tool.errors import (
    KmsError,
    KmsUnreachableError,
)
from enclave_tool.kms.clock_skew import SignableRequest
from enclave_tool.kms.pool import HttpAnswer
from enclave_tool.kms.regional import Attempts
from enclave_tool.kms.regions import KmsRegions
from enclave_tool.recipient.attested_key import RecipientKey
from tests.support.enclave.attested_calls import CREDENTIALS, PLAINTEXT, REGION, sealing
from tests.support.kms.canned_kms import Answer, Call, CannedKms
from tests.support.kms.decrypting import decrypt_request
from vsock_wire.errors import ToolError

if TYPE_CHECKING:
    pass

REQUEST = decrypt_request(b"c")
pytestmark = pytest.mark.usefixtures("no_pauses", "made")


class TestAttempts:
    """Which failures are retried, how often, and within what time."""

    def test_one_is_counted_if_one_was_enough(
        self, regions: KmsRegions, kms: CannedKms, recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(recipient_key)
        attempts = Attempts()
        regions.caller(CREDENTIALS, REGION).call_kms(REQUEST, attempts)
        assert attempts.count == 1

    @pytest.mark.parametrize(
        "failure",
        [
            Answer({"__type": "ThrottlingException"}, 400),
            Answer({"__type": "KMSInternalException"}, 500),
            Answer(b"", 503),
            None,
        ],
    )
    def test_a_temporary_failure_is_retried(
        self, regions: KmsRegions, kms: CannedKms, recipient_key: RecipientKey, failure: Answer | None
    ) -> None:
        sealed, failures = sealing(recipient_key), iter([failure, failure])
        kms.answer = lambda call: next(failures, sealed(call))
        attempts = Attempts()
        assert regions.caller(CREDENTIALS, REGION).call_kms(REQUEST, attempts)["Plaintext"] == PLAINTEXT
        assert attempts.count == 3

    @pytest.mark.parametrize("failure", [Answer({"__type": "ThrottlingException"}, 400), Answer(b"", 503), None])
    def test_three_times_at_most(self, regions: KmsRegions, kms: CannedKms, failure: Answer | None) -> None:
        kms.answer = lambda _: failure
        attempts = Attempts()
        with pytest.raises(ToolError):
            regions.caller(CREDENTIALS, REGION).call_kms(REQUEST, attempts)
        assert attempts.count == 3

    @pytest.mark.parametrize("code", ["AccessDeniedException", "InvalidCiphertextException", "ExpiredTokenException"])
    def test_a_refusal_is_not_repeated(self, regions: KmsRegions, kms: CannedKms, code: str) -> None:
        kms.answer = lambda _: Answer({"__type": code}, 400)
        attempts = Attempts()
        with pytest.raises(KmsError):
            regions.caller(CREDENTIALS, REGION).call_kms(REQUEST, attempts)
        assert attempts.count == 1

    def test_no_attempt_starts_after_the_timeout(
        self, regions: KmsRegions, kms: CannedKms, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("random.random", lambda: 1.0)
        kms.answer = lambda _: Answer({"__type": "ThrottlingException"}, 400, {"x-amz-retry-after": "5000"})
        attempts = Attempts(timeout_s=1.0)
        with pytest.raises(KmsError, match="ThrottlingException"):
            regions.caller(CREDENTIALS, REGION).call_kms(REQUEST, attempts)
        assert attempts.count == 1

    def test_a_wait_for_kms_ends_with_the_time(self, regions: KmsRegions, kms: CannedKms) -> None:
        may_answer = threading.Event()

        def hold(_call: Call) -> Answer | None:
            may_answer.wait(10)
            return None

        kms.answer = hold
        attempts = Attempts(timeout_s=0.3)
        started = time.monotonic()
        with pytest.raises(KmsUnreachableError):
            regions.caller(CREDENTIALS, REGION).call_kms(REQUEST, attempts)
        waited_s = time.monotonic() - started
        may_answer.set()
        assert 0.2 < waited_s < 3.0
        assert attempts.count == 1

    def test_retry_quota_is_returned(self, regions: KmsRegions, kms: CannedKms, recipient_key: RecipientKey) -> None:
        """botocore's quota is 500. A retry takes 5 to 14 of it, and a good response returns that."""
        caller, sealed = regions.caller(CREDENTIALS, REGION), sealing(recipient_key)
        for _ in range(120):
            failures = iter([Answer(b"", 503)])
            kms.answer = lambda call, failures=failures: next(failures, sealed(call))  # type: ignore[misc] # binds early
            assert caller.call_kms(REQUEST, Attempts())["Plaintext"] == PLAINTEXT


def test_repr_of_a_request_and_of_an_answer_shows_no_secret() -> None:
    request = SignableRequest("POST", "https://kms/", {"X-Amz-Security-Token": "t0ken"}, b"b0dy")
    answer = HttpAnswer(200, {"Set-Cookie": "t0ken"}, b"b0dy")
    for text in (repr(request), str(request), repr(answer), str(answer), f"{(answer, {})}"):
        assert "t0ken" not in text
        assert "b0dy" not in text
