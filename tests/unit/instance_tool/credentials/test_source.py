from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from instance_tool.credentials import source as credential_source
from instance_tool.credentials.found import FoundCredentials
from instance_tool.credentials.source import REFRESH_MARGIN_S, CredentialSource
from vsock_wire.errors import CredentialsError
from vsock_wire.protocol.messages import Credentials

START = datetime(2031, 1, 1, tzinfo=UTC)
LIFETIME = timedelta(hours=6)
MARGIN = timedelta(seconds=REFRESH_MARGIN_S)
TIMEOUT_S = 10.0
"""A test that passes never waits this long."""


class Metadata:
    """Returns new credentials with each call, unless told otherwise."""

    def __init__(self) -> None:
        self.now = START
        self.asked = 0
        self.has_new = True
        self.error: CredentialsError | None = None
        self.before_answer: Callable[[], object] = lambda: None
        self._last: Credentials | None = None

    def find(self) -> FoundCredentials:
        self.asked += 1
        self.before_answer()
        if self.error is not None:
            raise self.error
        if self._last is None or self.has_new:
            expiration = (self.now + LIFETIME).isoformat()
            self._last = Credentials(f"ASIA{self.asked}", "theSecret", "theToken", expiration)
        return FoundCredentials(self._last, "the metadata")


@pytest.fixture
def metadata() -> Metadata:
    return Metadata()


@pytest.fixture
def source(metadata: Metadata) -> CredentialSource:
    return CredentialSource(metadata.find, now=lambda: metadata.now)


@pytest.fixture
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credential_source, "ASK_AGAIN_S", 0.0)


def key_id(source: CredentialSource) -> str:
    return source.current().access_key_id


def test_nothing_is_asked_before_it_is_needed_and_then_once(source: CredentialSource, metadata: Metadata) -> None:
    assert metadata.asked == 0
    assert {key_id(source) for _ in range(20)} == {"ASIA1"}


@pytest.mark.usefixtures("_no_pause")
@pytest.mark.parametrize(
    ("left", "expected"),
    [(MARGIN + timedelta(seconds=1), "ASIA1"), (MARGIN, "ASIA2"), (timedelta(), "ASIA2"), (-LIFETIME, "ASIA2")],
)
def test_credentials_inside_the_refresh_window_are_replaced(
    source: CredentialSource, metadata: Metadata, left: timedelta, expected: str
) -> None:
    source.current()
    metadata.now += LIFETIME - left
    assert key_id(source) == expected


@pytest.mark.parametrize("expiration", [None, "", "soon"])
def test_credentials_without_a_known_expiration_are_kept(expiration: str | None) -> None:
    found: list[Credentials] = []

    def find() -> FoundCredentials:
        found.append(Credentials("AKID", "theSecret", None, expiration))
        return FoundCredentials(found[-1], "here")

    source = CredentialSource(find)
    assert source.current() == source.current()
    assert len(found) == 1


def test_source_without_new_ones_is_not_asked_by_every_request(source: CredentialSource, metadata: Metadata) -> None:
    metadata.has_new = False
    source.current()
    metadata.now += LIFETIME - MARGIN
    assert {key_id(source) for _ in range(50)} == {"ASIA1"}
    assert metadata.asked <= 2


@pytest.mark.usefixtures("_no_pause")
def test_failure_before_expiration_is_a_warning_and_current_credentials_stay_in_use(
    source: CredentialSource, metadata: Metadata, caplog: pytest.LogCaptureFixture
) -> None:
    source.current()
    metadata.now += LIFETIME - MARGIN
    metadata.error = CredentialsError("IMDS: no answer")
    assert key_id(source) == "ASIA1"
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "credentials: expire soon, and no new ones were found: IMDS: no answer")
    ]
    metadata.error = None
    assert key_id(source) == "ASIA3"


@pytest.mark.usefixtures("_no_pause")
def test_failure_after_expiration_is_an_error(source: CredentialSource, metadata: Metadata) -> None:
    source.current()
    metadata.now += LIFETIME
    metadata.error = CredentialsError("IMDS: no answer", hint="look")
    with pytest.raises(CredentialsError, match=r"^IMDS: no answer$"):
        source.current()


def test_failure_answers_callers_right_after_it(source: CredentialSource, metadata: Metadata) -> None:
    metadata.error = CredentialsError("IMDS: no answer", hint="look")
    for _ in range(20):
        with pytest.raises(CredentialsError, match=r"^IMDS: no answer$") as caught:
            source.current()
        assert caught.value.hint == "look"
    assert metadata.asked == 1


class TestRenewed:
    def test_refused_credentials_are_replaced(self, source: CredentialSource) -> None:
        first = source.current()
        renewed = source.renewed(first)
        assert renewed is not None
        assert renewed.access_key_id == "ASIA2"
        assert source.current() == renewed

    def test_credentials_that_another_caller_replaced_are_not_replaced_again(
        self, source: CredentialSource, metadata: Metadata
    ) -> None:
        first = source.current()
        assert source.renewed(first) == source.renewed(first)
        assert metadata.asked == 2

    def test_source_without_replacements_returns_none(self, source: CredentialSource, metadata: Metadata) -> None:
        metadata.has_new = False
        assert source.renewed(source.current()) is None

    def test_failure_returns_none_and_logs_a_warning(
        self, source: CredentialSource, metadata: Metadata, caplog: pytest.LogCaptureFixture
    ) -> None:
        first = source.current()
        metadata.error = CredentialsError("IMDS: no answer")
        assert source.renewed(first) is None
        assert "credentials: expired, and no new ones were found: IMDS: no answer" in caplog.text

    def test_fixed_credentials_have_no_replacements(self) -> None:
        credentials = Credentials("AKID", "theSecret", None, "2001-01-01T00:00:00Z")
        source = CredentialSource.fixed(credentials)
        assert source.current() is credentials
        assert source.renewed(credentials) is None


class TestThreads:
    @pytest.mark.usefixtures("_no_pause")
    def test_others_keep_using_current_credentials_while_one_asks(
        self, source: CredentialSource, metadata: Metadata
    ) -> None:
        source.current()
        metadata.now += LIFETIME - MARGIN
        is_asking, may_answer = threading.Event(), threading.Event()

        def hold() -> None:
            is_asking.set()
            assert may_answer.wait(TIMEOUT_S)

        metadata.before_answer = hold
        results: list[str] = []
        thread = threading.Thread(target=lambda: results.append(key_id(source)))
        thread.start()
        assert is_asking.wait(TIMEOUT_S)
        assert key_id(source) == "ASIA1"
        may_answer.set()
        thread.join()
        assert results == ["ASIA2"]

    def test_concurrent_callers_share_what_one_finds(self, source: CredentialSource, metadata: Metadata) -> None:
        start = threading.Barrier(8)
        results: list[str] = []

        def ask() -> None:
            start.wait(TIMEOUT_S)
            results.append(key_id(source))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == ["ASIA1"] * 8
        assert metadata.asked == 1

    def test_caller_waits_for_a_fetch_that_hangs_only_as_long_as_it_wants(
        self, source: CredentialSource, metadata: Metadata
    ) -> None:
        may_answer = threading.Event()
        metadata.before_answer = lambda: may_answer.wait(TIMEOUT_S)
        for _ in range(3):
            with pytest.raises(CredentialsError, match=r"^no AWS credentials yet after 0\.05 s"):
                source.current(wait_s=0.05)
        assert metadata.asked == 1
        may_answer.set()
        assert source.current(wait_s=TIMEOUT_S).access_key_id == "ASIA1"
        assert metadata.asked == 1

    def test_caller_whose_credentials_were_refused_waits_only_as_long_as_it_wants(
        self, source: CredentialSource, metadata: Metadata
    ) -> None:
        first = source.current()
        may_answer = threading.Event()
        metadata.before_answer = lambda: may_answer.wait(TIMEOUT_S)
        assert source.renewed(first, wait_s=0.05) is None
        may_answer.set()
        renewed = source.renewed(first, wait_s=TIMEOUT_S)
        assert renewed is not None
        assert (renewed.access_key_id, metadata.asked) == ("ASIA2", 2)

    def test_bug_in_the_provider_reaches_every_caller(self) -> None:
        def find() -> FoundCredentials:
            raise KeyError("bug")

        source = CredentialSource(find)
        for _ in range(2):
            with pytest.raises(KeyError):
                source.current(wait_s=TIMEOUT_S)
