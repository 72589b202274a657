"""Compares what the transport records of a traced call with what the other end saw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ConnectionClosedError, SSLError

from enclave_tool.kms.tls import tls_context
from tests.support.kms.canned_kms import Answer, CannedKms, ThrowawayAuthority
from tests.support.kms.proxy_sessions import HOST, Session, fetch, new_session
from vsock_wire.protocol.recording import recording
from vsock_wire.protocol.trace import KmsAnswered, TlsConnected, encode_evidence, parse_evidence


@pytest.fixture
def session(kms: CannedKms, authority: ThrowawayAuthority, tmp_path: Path) -> Iterator[Session]:
    bundle = str(authority.write_bundle(tmp_path / "authority.pem"))
    with new_session(kms.address, tls_context(bundle)) as session:
        yield session


def explained_fetch(session: Session) -> tuple[TlsConnected, KmsAnswered]:
    with recording() as steps:
        fetch(session)
    tls, answered = steps
    assert isinstance(tls, TlsConnected)
    assert isinstance(answered, KmsAnswered)
    return tls, answered


def test_new_connection_is_recorded_with_what_was_checked(session: Session, kms: CannedKms) -> None:
    tls, _ = explained_fetch(session)
    assert tls == TlsConnected(
        proxy=str(kms.address),
        host=HOST,
        version="TLSv1.3",
        cipher=tls.cipher,
        certificate_names=HOST,
        certificate_issuer="commonName=throwaway authority",
        is_kept=False,
        elapsed_ms=tls.elapsed_ms,
    )
    assert tls.cipher.startswith("TLS_AES_")
    assert tls.elapsed_ms > 0


def test_kept_connection_is_recorded_as_such_even_if_the_call_that_opened_it_was_not(
    session: Session, kms: CannedKms
) -> None:
    fetch(session)
    for _ in range(2):
        tls, _ = explained_fetch(session)
        assert (tls.is_kept, tls.elapsed_ms, tls.host) == (True, 0.0, HOST)
    assert kms.connections == 1


def test_connection_that_replaces_a_kept_one_is_new(session: Session, kms: CannedKms) -> None:
    fetch(session)
    kms.drop_connections()
    while True:  # the close of the other end may take a moment to arrive; until then, a request fails
        try:
            tls, _ = explained_fetch(session)
            break
        except ConnectionClosedError:
            continue
    assert (tls.is_kept, kms.connections) == (False, 2)


def test_answer_is_recorded_with_the_bytes_that_the_other_end_saw(session: Session, kms: CannedKms) -> None:
    kms.answer = lambda _: Answer(b"x" * 1_234, 418, {"x-amzn-RequestId": "the-id"})
    for number in range(2):  # the second is counted for itself
        _, answered = explained_fetch(session)
        assert answered == KmsAnswered(len(kms.calls[number].raw), 1_234, 418, "the-id", answered.elapsed_ms)
        assert answered.elapsed_ms > 0


@pytest.mark.parametrize("length", ["", "x", "-0", "+2", "2x", "0x2", "2, 2", "\u0662", "1_0"])
def test_length_other_than_a_number_counts_as_none(session: Session, kms: CannedKms, length: str) -> None:
    kms.answer = lambda _: Answer({}, headers={"Content-Length": length, "Connection": "close"})
    with (
        recording() as steps,
        suppress(BotoCoreError, HTTPException),
    ):  # reading the body fails after the length is recorded
        fetch(session)
    answered = steps[-1]
    assert isinstance(answered, KmsAnswered)
    assert answered.received_bytes == 0


def test_answer_without_a_request_id_has_none(session: Session, kms: CannedKms) -> None:
    kms.answer = lambda _: Answer({}, headers={"x-amzn-RequestId": ""})
    _, answered = explained_fetch(session)
    assert answered.request_id == ""


def test_texts_of_the_other_end_are_truncated_to_fit_into_a_step(session: Session, kms: CannedKms) -> None:
    kms.answer = lambda _: Answer({}, headers={"x-amzn-RequestId": "i" * 5_000})
    steps = list(explained_fetch(session))
    assert parse_evidence({"Evidence": encode_evidence(steps)}) == steps


def test_peer_that_was_refused_is_not_recorded(kms: CannedKms, tmp_path: Path) -> None:
    other = str(ThrowawayAuthority().write_bundle(tmp_path / "other.pem"))
    with recording() as steps, new_session(kms.address, tls_context(other)) as session, pytest.raises(SSLError):
        fetch(session)
    assert steps == []


def test_request_without_an_answer_leaves_the_connection_recorded(session: Session, kms: CannedKms) -> None:
    kms.answer = lambda _: None
    with recording() as steps, pytest.raises(ConnectionClosedError):
        fetch(session)
    assert [type(step) for step in steps] == [TlsConnected]
