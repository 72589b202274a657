from __future__ import annotations

import hashlib
import math
import pickle
import threading
import time
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from enclave_tool.errors import CmsError, NsmError
from enclave_tool.recipient.attested_key import KEY_BITS, Recipient, RecipientKey
from tests.support.enclave.scripted_nsm import ScriptedNsm, attestation_answer
from tests.support.kms.ber_messages import seal
from vsock_wire.protocol.recording import recording
from vsock_wire.protocol.trace import Attested, Opened


class TestRecipientKey:
    def test_identifier_is_the_sha_256_of_the_public_key_info(self, recipient_key: RecipientKey) -> None:
        assert recipient_key.identifier == hashlib.sha256(recipient_key.public_key_der).digest()
        public_key = load_der_public_key(recipient_key.public_key_der)
        assert isinstance(public_key, rsa.RSAPublicKey)
        assert (public_key.key_size, public_key.public_numbers().e) == (2_048, 65_537)

    def test_every_key_is_different(self, recipient_key: RecipientKey, other_recipient_key: RecipientKey) -> None:
        assert recipient_key.identifier != other_recipient_key.identifier

    @pytest.mark.parametrize("bits", [0, 1_024, 2_047, 8_192])
    def test_sizes_other_than_kmss_are_a_programming_error(self, bits: int) -> None:
        with pytest.raises(ValueError, match="key_bits: expected one of"):
            RecipientKey.generate(bits)

    def test_public_key_of_every_size_fits_the_attestation_document(self) -> None:
        nsm = ScriptedNsm()
        Recipient(nsm, key=RecipientKey.generate(max(KEY_BITS[:2]))).document()
        assert len(nsm.carrier.requests[0]) < 1_024

    def test_repr_shows_its_identifier_only(self, recipient_key: RecipientKey) -> None:
        assert repr(recipient_key) == f"RecipientKey({recipient_key.identifier.hex()})"
        assert str(recipient_key) == repr(recipient_key)

    def test_private_key_cannot_be_pickled(self, recipient_key: RecipientKey) -> None:
        with pytest.raises(TypeError):
            pickle.dumps(recipient_key)

    def test_message_for_another_key_names_both(
        self, recipient_key: RecipientKey, other_recipient_key: RecipientKey
    ) -> None:
        with pytest.raises(CmsError) as caught:
            recipient_key.open_ciphertext_for_recipient(seal(other_recipient_key, b"plaintext"))
        assert str(caught.value) == (
            "CiphertextForRecipient: made for another key: expected subjectKeyIdentifier"
            f" {recipient_key.identifier.hex()}, got {other_recipient_key.identifier.hex()}"
        )

    def test_identifier_of_any_length_is_compared_and_shown_short(self, recipient_key: RecipientKey) -> None:
        sealed = seal(recipient_key, b"plaintext")
        for identifier in (b"", recipient_key.identifier[:20], bytes(200)):
            length = bytes([len(identifier)]) if len(identifier) < 128 else b"\x81" + bytes([len(identifier)])
            changed = sealed.replace(b"\x80\x20" + recipient_key.identifier, b"\x80" + length + identifier)
            assert changed != sealed
            with pytest.raises(CmsError, match="made for another key") as caught:
                recipient_key.open_ciphertext_for_recipient(changed)
            assert len(str(caught.value)) < 300


class TestDocument:
    def test_is_asked_for_with_the_public_key(self, recipient_key: RecipientKey, scripted_nsm: ScriptedNsm) -> None:
        Recipient(scripted_nsm, key=recipient_key).document()
        assert cbor2.loads(scripted_nsm.carrier.requests[0]) == {
            "Attestation": {"user_data": None, "nonce": None, "public_key": recipient_key.public_key_der}
        }

    def test_is_a_new_one_for_each_call(self, recipient_key: RecipientKey, scripted_nsm: ScriptedNsm) -> None:
        recipient = Recipient(scripted_nsm, key=recipient_key)
        assert [recipient.document() for _ in range(3)] == [b"document 1", b"document 2", b"document 3"]

    def test_is_reused_within_its_age_and_not_beyond(
        self, recipient_key: RecipientKey, scripted_nsm: ScriptedNsm, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = [1_000.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        recipient = Recipient(scripted_nsm, key=recipient_key, max_document_age_s=60)
        documents = []
        for now[0] in (1_000.0, 1_059.0, 1_060.0, 1_061.0, 1_100.0, 1_122.0):
            documents.append(recipient.document())
        assert documents == [b"document 1"] * 3 + [b"document 2"] * 2 + [b"document 3"]

    @pytest.mark.parametrize("now", [0.0, 1e-9, 5.0])
    def test_first_one_is_made_even_right_after_boot(
        self, recipient_key: RecipientKey, scripted_nsm: ScriptedNsm, monkeypatch: pytest.MonkeyPatch, now: float
    ) -> None:
        monkeypatch.setattr(time, "monotonic", lambda: now)
        assert Recipient(scripted_nsm, key=recipient_key, max_document_age_s=60).document() == b"document 1"

    @pytest.mark.parametrize("age", [math.inf, 1e300])
    def test_is_a_document_whatever_the_age(
        self, recipient_key: RecipientKey, scripted_nsm: ScriptedNsm, age: float
    ) -> None:
        recipient = Recipient(scripted_nsm, key=recipient_key, max_document_age_s=age)
        assert [recipient.document() for _ in range(2)] == [b"document 1"] * 2

    def test_age_counts_from_before_it_was_asked_for_or_at_least_from_its_arrival(
        self, recipient_key: RecipientKey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = [0.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])

        def slow(_request: bytes) -> bytes:
            now[0] += 1
            return attestation_answer(b"document")

        nsm = ScriptedNsm(slow)
        recipient = Recipient(nsm, key=recipient_key, max_document_age_s=10)
        recipient.document()
        now[0] = 11.5
        recipient.document()
        assert len(nsm.carrier.requests) == 2

    def test_failure_is_not_remembered(self, recipient_key: RecipientKey, scripted_nsm: ScriptedNsm) -> None:
        good = scripted_nsm.carrier.answer
        scripted_nsm.carrier.answer = cbor2.dumps({"Error": "InternalError"})
        recipient = Recipient(scripted_nsm, key=recipient_key, max_document_age_s=60)
        with pytest.raises(NsmError, match="InternalError"):
            recipient.document()
        scripted_nsm.carrier.answer = good
        assert recipient.document() == b"document 2"

    def test_many_threads_share_one_that_is_recent_enough(self, recipient_key: RecipientKey) -> None:
        may_answer = threading.Event()

        def slow(_request: bytes) -> bytes:
            assert may_answer.wait(5)
            return attestation_answer(b"document")

        nsm = ScriptedNsm(slow)
        recipient = Recipient(nsm, key=recipient_key, max_document_age_s=60)
        results: list[bytes] = []
        threads = [threading.Thread(target=lambda: results.append(recipient.document())) for _ in range(8)]
        for thread in threads:
            thread.start()
        may_answer.set()
        for thread in threads:
            thread.join()
        assert results == [b"document"] * 8
        assert len(nsm.carrier.requests) == 1

    def test_threads_that_want_fresh_ones_do_not_wait_for_each_other(self, recipient_key: RecipientKey) -> None:
        both_are_in = threading.Barrier(2, timeout=5)

        def meeting(_request: bytes) -> bytes:
            both_are_in.wait()
            return attestation_answer(b"document")

        recipient = Recipient(ScriptedNsm(meeting), key=recipient_key)
        threads = [threading.Thread(target=recipient.document) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not both_are_in.broken


def test_open_uses_the_key(recipient_key: RecipientKey, scripted_nsm: ScriptedNsm) -> None:
    assert (
        Recipient(scripted_nsm, key=recipient_key).open_ciphertext_for_recipient(seal(recipient_key, b"plaintext"))
        == b"plaintext"
    )


def test_recipient_makes_a_key_of_the_default_size_of_its_own(scripted_nsm: ScriptedNsm) -> None:
    first, second = Recipient(scripted_nsm), Recipient(scripted_nsm)
    assert first.key.identifier != second.key.identifier
    assert "PrivateKey" not in repr(first)


class TestRecording:
    def test_document_is_recorded_as_new_each_time(
        self, recipient_key: RecipientKey, scripted_nsm: ScriptedNsm
    ) -> None:
        recipient = Recipient(scripted_nsm, key=recipient_key)
        with recording() as steps:
            documents = [recipient.document() for _ in range(2)]
        assert told_documents(steps) == [(documents[0], False), (documents[1], False)]

    def test_reused_document_is_recorded_as_reused_until_its_age(
        self, recipient_key: RecipientKey, scripted_nsm: ScriptedNsm, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = [1_000.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        recipient = Recipient(scripted_nsm, key=recipient_key, max_document_age_s=60)
        with recording() as steps:
            for now[0] in (1_000.0, 1_060.0, 1_061.0, 1_062.0):
                recipient.document()
        assert told_documents(steps) == [
            (b"document 1", False),
            (b"document 1", True),
            (b"document 2", False),
            (b"document 2", True),
        ]

    def test_document_for_another_verifier_than_kms_is_recorded_too(
        self, recipient_key: RecipientKey, scripted_nsm: ScriptedNsm
    ) -> None:
        recipient = Recipient(scripted_nsm, key=recipient_key, max_document_age_s=60)
        with recording() as steps:
            document = recipient.attest(b"nonce", None)
            recipient.document()
        assert told_documents(steps) == [(document, False), (b"document 2", False)]

    def test_failed_document_is_not_recorded(self, recipient_key: RecipientKey) -> None:
        recipient = Recipient(ScriptedNsm(cbor2.dumps({"Error": "InternalError"})), key=recipient_key)
        with recording() as steps, pytest.raises(NsmError):
            recipient.document()
        assert steps == []

    def test_opening_is_recorded_with_size_and_key_but_without_the_plaintext(
        self, recipient_key: RecipientKey, scripted_nsm: ScriptedNsm
    ) -> None:
        sealed = seal(recipient_key, b"plaintext")
        with recording() as steps:
            Recipient(scripted_nsm, key=recipient_key).open_ciphertext_for_recipient(sealed)
        (step,) = steps
        assert isinstance(step, Opened)
        identifier = hashlib.sha256(recipient_key.public_key_der).hexdigest()
        assert step == Opened(len(sealed), identifier, step.elapsed_ms)
        assert step.elapsed_ms > 0

    def test_opening_that_failed_is_not_recorded(
        self, recipient_key: RecipientKey, other_recipient_key: RecipientKey, scripted_nsm: ScriptedNsm
    ) -> None:
        with recording() as steps, pytest.raises(CmsError):
            Recipient(scripted_nsm, key=recipient_key).open_ciphertext_for_recipient(
                seal(other_recipient_key, b"plaintext")
            )
        assert steps == []


def told_documents(steps: list[object]) -> list[tuple[bytes, bool]]:
    assert all(isinstance(step, Attested) and step.elapsed_ms >= 0 for step in steps)
    return [(step.document, step.is_reused) for step in steps if isinstance(step, Attested)]


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ({"nsm": "/dev/nsm"}, "nsm: expected what open_nsm returns, got str"),
            ({"key": b"der"}, "key: expected a RecipientKey, got bytes"),
            ({"max_document_age_s": "60"}, "max_document_age_s: expected a number of seconds, got str"),
            ({"max_document_age_s": True}, "max_document_age_s: expected a number of seconds, got bool"),
        ],
    )
    def test_wrong_type_is_a_type_error(
        self, recipient_key: RecipientKey, scripted_nsm: ScriptedNsm, arguments: dict[str, Any], text: str
    ) -> None:
        with pytest.raises(TypeError) as caught:
            Recipient(**{"nsm": scripted_nsm, "key": recipient_key, **arguments})
        assert str(caught.value) == text

    @pytest.mark.parametrize("age_s", [-1, math.nan])
    def test_invalid_age_is_a_value_error(
        self, recipient_key: RecipientKey, scripted_nsm: ScriptedNsm, age_s: float
    ) -> None:
        with pytest.raises(ValueError, match=r"^max_document_age_s: expected 0 or more seconds, got "):
            Recipient(scripted_nsm, key=recipient_key, max_document_age_s=age_s)

    def test_key_of_another_kind_is_a_type_error(self) -> None:
        key: Any = ec.generate_private_key(ec.SECP256R1())
        with pytest.raises(TypeError, match=r"^private_key: expected an RSA private key of cryptography's, got "):
            RecipientKey(key)
