from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_tool.kms.reasons import MAX_REASON_TEXT_CHARS, is_about_clock, refusal_reason
from tools.reference.refusal_page import WORDS
from vsock_wire.protocol.kms_operations import KMS_OPERATIONS
from vsock_wire.protocol.refusals.row import Reason
from vsock_wire.protocol.vocabulary import Operation

USER = "User: arn:aws:sts::111122223333:assumed-role/EnclaveInstanceRole/i-0123456789abcdef0"
KEY = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
POLICY = "arn:aws:organizations::111122223333:policy/o-example/service_control_policy/p-example"
PLACES = (
    f" on resource: {KEY}",
    f' on resource: "{KEY}"',
    " on resource: *",
    " on this resource",
    " on the resource associated with this ciphertext",
    "",
)


def access_reason(text: str, code: str = "AccessDeniedException") -> Reason | None:
    return refusal_reason("Decrypt", code, text)


@pytest.mark.parametrize("place", PLACES, ids=repr)
@pytest.mark.parametrize(("reason", "words"), WORDS.items(), ids=WORDS)
def test_each_reason_is_read_from_every_form_that_aws_documents(reason: Reason, words: str, place: str) -> None:
    text = f"{USER} is not authorized to perform: kms:Decrypt{place} {words.replace('...', 'kms:Decrypt')}"
    assert access_reason(text) is reason
    assert access_reason(f"{text}.") is reason
    assert access_reason(text, "AccessDenied") is reason
    if "explicit deny" in words:
        assert access_reason(f"{text}: {POLICY}") is reason


@pytest.mark.parametrize(
    "text",
    [
        "",
        "User: x",
        f"{USER} is not authorized to perform: kms:Decrypt on resource: {KEY}",
        f"{USER} is not authorized to perform: kms:Decrypt because no other policy allows the kms:Decrypt action",
        f"{USER} is not authorized to perform: kms:Decrypt on resource: {KEY} with an explicit deny in a new policy",
        f"{USER} is not authorized to perform: kms:Decrypt with an explicit deny in a session policy and more",
        f"{USER} is not authorized to perform: kms:Decrypt because no session policy allows the kms:Decrypt action, or",
        f"x {USER} is not authorized to perform: kms:Decrypt because no session policy allows the kms:Decrypt action",
        "because no identity-based policy allows the kms:Decrypt action",
        "The ciphertext refers to nothing",
    ],
)
def test_text_of_any_other_form_has_no_known_reason(text: str) -> None:
    assert access_reason(text) is None


def test_older_text_about_a_missing_key_is_known_too() -> None:
    text = (
        "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are"
    )
    assert access_reason(f"{text} not allowed to access.") is Reason.KEY_NOT_FOUND
    assert access_reason(f"{text} not allowed to access") is Reason.KEY_NOT_FOUND
    assert access_reason(text) is None


def test_reason_in_the_text_of_another_code_counts_for_nothing() -> None:
    text = f"{USER} is not authorized to perform: kms:Decrypt because no session policy allows the kms:Decrypt action"
    assert access_reason(text, "DisabledException") is None
    assert access_reason(text, "InvalidSignatureException") is None


@pytest.mark.parametrize(
    ("operation", "text", "reason"),
    [
        ("Decrypt", "", None),
        ("Decrypt", "something is odd", None),
        ("GenerateRandom", "Invalid attestation document", Reason.ATTESTATION_DOCUMENT),
        ("Decrypt", "AttestationDocument is expired", Reason.ATTESTATION_DOCUMENT),
        ("Decrypt", "Recipient: the public key in it is not RSA", Reason.ATTESTATION_DOCUMENT),
        ("Decrypt", "attestation document: KeyId: odd", Reason.ATTESTATION_DOCUMENT),
        (
            "Decrypt",
            "1 validation error detected: Value at 'recipient.attestationDocument' failed to satisfy constraint: x",
            Reason.ATTESTATION_DOCUMENT,
        ),
        (
            "GenerateDataKey",
            "1 validation error detected: Value 'AES_1' at 'keySpec' failed to satisfy constraint: Member must satisfy",
            Reason.PARAMETER,
        ),
        (
            "GenerateDataKey",
            "2 validation errors detected: Value null at 'keyId' failed to satisfy constraint: x; Value at 'b'",
            Reason.PARAMETER,
        ),
        ("GenerateDataKey", "Please specify either number of bytes or key spec.", Reason.PARAMETER),
        ("Decrypt", "EncryptionContext: an RSA key cannot bind one", Reason.PARAMETER),
        ("Decrypt", "the encryption context is not supported", Reason.PARAMETER),
        ("DeriveSharedSecret", "PublicKey: not on the curve", Reason.PARAMETER),
        ("Encrypt", "", Reason.PARAMETER),
        ("Encrypt", "Invalid attestation document", Reason.PARAMETER),
        ("NewOperation", "", Reason.PARAMETER),
    ],
)
def test_value_that_is_not_valid_is_a_parameter_or_the_document(
    operation: str, text: str, reason: Reason | None
) -> None:
    assert refusal_reason(operation, "ValidationException", text) is reason
    assert refusal_reason(operation, "ValidationError", text) is reason


@pytest.mark.parametrize(
    ("error", "is_clock"),
    [
        ({"Code": "InvalidSignatureException", "Message": "Signature expired: x"}, True),
        ({"Code": "InvalidSignatureException", "Message": "Signature not yet current: x"}, True),
        ({"Code": "SignatureDoesNotMatch", "Message": "Signature expired: x"}, True),
        ({"Code": "InvalidSignatureException", "Message": "The request signature we calculated does not match"}, False),
        ({"Code": "InvalidSignatureException"}, False),
        ({"Code": "RequestTimeTooSkewed"}, True),
        ({"Code": "RequestExpired", "Message": ""}, True),
        ({"Code": "RequestInTheFuture"}, True),
        ({"Code": "ExpiredTokenException", "Message": "Signature expired"}, False),
        ({}, False),
    ],
)
def test_refusal_because_of_the_clock_is_distinguished_from_others(error: dict[str, Any], *, is_clock: bool) -> None:
    assert is_about_clock(error) is is_clock
    reason = refusal_reason("Decrypt", str(error.get("Code")), str(error.get("Message")))
    assert reason is (Reason.CLOCK if is_clock else None)


@given(
    st.sampled_from([*KMS_OPERATIONS, "New"]),
    st.sampled_from(["AccessDeniedException", "ValidationException"]),
    st.text(),
)
def test_no_text_makes_it_fail(operation: Operation | str, code: str, text: str) -> None:
    assert refusal_reason(operation, code, text) in {*Reason, None}


def test_text_is_read_up_to_its_limit_only() -> None:
    denied = "User: x is not authorized to perform: kms:Decrypt with an explicit deny in a session policy: "
    assert access_reason(denied.ljust(MAX_REASON_TEXT_CHARS, "a")) is Reason.DENY_IN_SESSION_POLICY
    start = "User: ".ljust(MAX_REASON_TEXT_CHARS - len(denied) + 7, "x")
    assert access_reason(start + denied[7:-2]) is Reason.DENY_IN_SESSION_POLICY
    assert access_reason("User: ".ljust(MAX_REASON_TEXT_CHARS, "x") + denied[7:]) is None


@pytest.mark.parametrize("end", ["", " because no ", ": x"])
def test_endless_text_has_no_reason(end: str) -> None:
    start = f"{USER} is not authorized to perform: kms:Decrypt on resource: {KEY} because no "
    assert access_reason(start + "a " * 500_000 + end) is None
    assert refusal_reason("Decrypt", "ValidationException", "Value '" * 200_000) is None
