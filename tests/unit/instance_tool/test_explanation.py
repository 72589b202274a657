from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from instance_tool.attestation import AWS_NITRO_ROOT_SHA256
from instance_tool.document_file import root_name
from instance_tool.explanation import explain
from instance_tool.steps import Connected, CredentialsFound, Printed, Received, Sent
from tests.unit.instance_tool.documents import PCRS, authority, make_document
from tests.unit.vsock_wire.test_evidence import ANSWERED, CONNECTED
from vsock_wire.evidence import Attested, KmsAnswered, Opened
from vsock_wire.messages import Operation

KEY_DER = b"a public key"
KEY_SHA256 = hashlib.sha256(KEY_DER).hexdigest()
OPENED = Opened(493, KEY_SHA256, 0.5)
REPLY = Received("Decrypt", is_ok=True, fields=("Message", "KeyId"), received_bytes=99, elapsed_ms=20.0)


def attested(**options: object) -> Attested:
    document = make_document(public_key=KEY_DER, **options)  # type: ignore[arg-type] # the builder's own options
    return Attested(document, is_reused=False, elapsed_ms=1.5)


def told(*steps: object, operation: Operation = Operation.DECRYPT, at: datetime | None = None) -> str:
    """Return the explanation with its line breaks folded, so that wrapping does not matter."""
    return " ".join(explain(operation, steps, at=at or datetime.now(UTC)).split())


def test_steps_are_numbered_in_order_and_those_of_the_enclave_marked() -> None:
    steps = (CredentialsFound("the environment", 0.1), Connected("vsock://16:3000", 0.2), attested(), ANSWERED, REPLY)
    lines = explain(Operation.DECRYPT, steps, at=datetime.now(UTC)).splitlines()
    numbers = [line[:3] for line in lines if line[:2].strip().isdigit()]
    assert numbers == [" 1 ", " 2 ", " 3*", " 4*", " 5 "]


def test_key_that_opened_the_answer_is_compared_with_that_of_the_document() -> None:
    text = told(attested(), CONNECTED, ANSWERED, OPENED)
    assert f"by the private key of SHA-256 {KEY_SHA256} = the public key in the document" in text
    other = told(attested(), ANSWERED, Opened(493, "00" * 32, 0.5))
    assert "= NOT the public key in the document" in other


class TestDocument:
    def test_verified_one_is_told_with_its_root_module_pcr0_and_key(self) -> None:
        text = told(attested())
        root_sha256 = hashlib.sha256(authority().cabundle_der[0]).hexdigest()
        assert f"verified here, up to the root with SHA-256 {root_sha256}, which is NOT AWS's" in text
        assert f"PCR0 {PCRS[0].hex()}" in text
        assert f"public key in it: SHA-256 {KEY_SHA256}" in text
        assert "DEBUG" not in text

    def test_root_of_aws_has_its_name(self) -> None:
        assert root_name(AWS_NITRO_ROOT_SHA256) == "AWS's root for Nitro Enclaves"

    def test_one_of_an_enclave_in_debug_mode_is_told_loudly(self) -> None:
        assert "THE ENCLAVE RUNS IN DEBUG MODE" in told(attested(debug=True))

    def test_one_that_has_ended_is_not_called_verified(self) -> None:
        text = told(attested(), at=datetime.now(UTC) + timedelta(days=1))
        assert "NOT verified: attestation document: " in text
        assert "verified here, up to" not in text

    def test_one_whose_signature_is_broken_is_not_called_verified(self) -> None:
        good = attested()
        text = told(Attested(good.document[:-1] + bytes([good.document[-1] ^ 1]), is_reused=False, elapsed_ms=1.0))
        assert "NOT verified: attestation document: signature" in text

    def test_one_that_cannot_be_read_is_told_as_such(self) -> None:
        text = told(Attested(b"garbage", is_reused=False, elapsed_ms=1.0))
        assert "NOT verified: attestation document: COSE_Sign1" in text

    def test_one_that_served_before_is_told_as_such(self) -> None:
        document = attested().document
        assert "enclave: an earlier call's attestation document" in told(Attested(document, True, 0.0))


class TestAnswerOfKms:
    def test_without_an_opening_is_not_called_a_ciphertext_for_recipient(self) -> None:
        text = told(attested(), ANSWERED)
        assert "carried: an answer that the enclave did not take" in text
        assert "CiphertextForRecipient" not in text

    def test_refusal_is_told_with_its_status(self) -> None:
        text = told(attested(), KmsAnswered(6_000, 111, 400, "", 3.0))
        assert "HTTP 400, 111 bytes" in text
        assert "carried: a refusal" in text

    def test_of_encrypt_is_told_as_not_attested(self) -> None:
        text = told(ANSWERED, operation=Operation.ENCRYPT)
        assert "carried: the answer to Encrypt, which KMS does not attest" in text


@pytest.mark.parametrize(
    ("fields", "fate"),
    [
        (("Message", "KeyId"), "whoever controls this instance: Message is the Plaintext"),
        (("Delivery", "Digest"), "Plaintext: stayed in the enclave; Digest is its SHA-256"),
        (("Delivery", "Message"), "Plaintext: went to a program in the enclave; Message is what that printed"),
    ],
)
def test_fate_of_the_secret_follows_what_the_reply_carries(fields: tuple[str, ...], fate: str) -> None:
    assert fate in told(Received("Decrypt", is_ok=True, fields=fields, received_bytes=9, elapsed_ms=1.0))


def test_refusal_of_the_enclave_says_nothing_of_a_secret() -> None:
    text = told(Received("Decrypt", is_ok=False, fields=("Message", "Code"), received_bytes=9, elapsed_ms=1.0))
    assert "refusal of Decrypt" in text
    assert "Plaintext" not in text


def test_enclave_without_steps_is_told_as_such() -> None:
    assert "The enclave told of no steps of its own" in told(REPLY)
    assert "The enclave told of no steps of its own" not in told(attested(), REPLY)


@pytest.mark.parametrize(
    ("peer", "readers"),
    [
        ("vsock://16:3000", "vsock does not leave the machine"),
        ("unix:/run/kms", "whoever controls this machine"),
        ("tcp://127.0.0.1:1", "whoever sees the network on the way"),
    ],
)
def test_readers_follow_the_kind_of_address(peer: str, readers: str) -> None:
    assert readers in told(Sent(peer, "Decrypt", ("Ciphertext",), 50))


def test_text_of_a_peer_cannot_steer_the_terminal() -> None:
    evil = "\x1b[2J\u202eevil\n99* forged"
    steps = (
        CredentialsFound(evil, 1.0),
        KmsAnswered(1, 1, 400, evil, 1.0),
        Received("Decrypt", is_ok=True, fields=(evil,), received_bytes=1, elapsed_ms=1.0),
        Printed(1),
    )
    text = explain(Operation.DECRYPT, steps, at=datetime.now(UTC))
    assert all(line.isprintable() for line in text.splitlines())
    assert not any(line.startswith("99*") for line in text.splitlines())


def test_what_was_never_recorded_is_a_mistake_of_the_programmer() -> None:
    with pytest.raises(TypeError, match="expected one of those recorded, got str"):
        told("a step")
