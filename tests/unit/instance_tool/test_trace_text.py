from __future__ import annotations

import dataclasses
import hashlib
from datetime import UTC, datetime, timedelta

import cbor2
import pytest

from instance_tool.trace_text import trace_text
from nitro_attestation.document import report as document_file
from nitro_attestation.document.cose import parse_unverified_document
from nitro_simulator.nsm.service import SimulatedNsm
from tests.support.attestation.documents import MODULE_ID, PCRS, authority, make_document
from tests.support.vectors import real_vectors
from vsock_wire.protocol.trace import (
    MAX_TEXT_CHARS,
    Attested,
    Connected,
    CredentialsFound,
    KmsAnswered,
    Opened,
    Printed,
    Received,
    Sent,
    TlsConnected,
)
from vsock_wire.protocol.vocabulary import Operation

KEY_DER = b"a public key"
KEY_ID = hashlib.sha256(KEY_DER).hexdigest()
OTHER_KEY_ID = hashlib.sha256(b"another public key").hexdigest()
DOCUMENT = make_document(public_key=KEY_DER)
NOW = datetime.now(UTC)
OWN_WORD = "    evidence: "

CREDENTIALS = CredentialsFound("IMDSv2, role EnclaveInstanceRole", 9.0)
CONNECTED = Connected("vsock://16:3000", 1.0)
SENT = Sent("vsock://16:3000", "Decrypt", ("Ciphertext", "EncryptionContext"), 1_197)
ATTESTED = Attested(DOCUMENT, is_reused=False, elapsed_ms=3.1)
TLS = TlsConnected(
    "vsock://3:8000", "kms.us-east-1.amazonaws.com", "TLSv1.3", "TLS_AES_128_GCM_SHA256",
    "kms.us-east-1.amazonaws.com, kms.amazonaws.com", "commonName=Amazon RSA 2048 M01", False, 1_234.56,
)  # fmt: skip
ANSWERED = KmsAnswered(6_711, 778, 200, "5591ce78-d18c-4a96-9881-87cf5db77612", 45.25)
OPENED = Opened(461, KEY_ID, 5.3)
RECEIVED = Received("Decrypt", True, ("Message", "KeyId"), None, 6_221, 67.5)
PRINTED = Printed(1_024)
FLOW = (CREDENTIALS, CONNECTED, SENT, ATTESTED, TLS, ANSWERED, OPENED, RECEIVED, PRINTED)

FORGED = "\x1b[2J\x1b[1;1H\r\n 9  the forged\u202e step\x00\x07\x9b\u2028\u2029\u0085end"


def told(*steps: object, operation: Operation = Operation.DECRYPT, at: datetime = NOW) -> str:
    return trace_text(operation, steps, at=at)


def unwrapped(text: str) -> str:
    """Undo the wrapping of a text: return it with single spaces for all white space."""
    return " ".join(text.split())


def lines_of(text: str, number: int) -> list[str]:
    """Return the lines of one step, with each detail on a single line."""
    lines: list[str] = []
    for line in text.partition("\n\n")[2].partition("\n\n")[0].splitlines():
        if line.startswith("      "):
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    starts = [index for index, line in enumerate(lines) if not line.startswith("    ")]
    ends = [*starts[1:], len(lines)]
    return lines[starts[number - 1] : ends[number - 1]]


class TestFlow:
    def test_names_what_it_explains_and_numbers_every_step(self) -> None:
        lines = told(*FLOW).splitlines()
        assert lines[:2] == ["trace of Decrypt", ""]
        headings = [line[:4] for line in lines if line[1:2].isdigit() and not line.startswith("    ")]
        assert headings == [" 1  ", " 2  ", " 3  ", " 4* ", " 5* ", " 6* ", " 7* ", " 8  ", " 9  "]

    def test_says_what_a_star_means(self) -> None:
        assert (
            "Steps marked * are reported by the enclave, or by whatever answers at its address, and are not proven."
            in unwrapped(told(*FLOW))
        )

    def test_keeps_its_prose_within_the_width(self) -> None:
        for line in told(*FLOW).splitlines():
            assert len(line) <= 100 or " " not in line.strip()

    def test_may_have_more_than_ninety_nine_steps(self) -> None:
        assert "\n120  this instance connected to" in told(*[CONNECTED] * 120)


class TestInstance:
    def test_credentials(self) -> None:
        assert lines_of(told(CREDENTIALS), 1) == [
            " 1  this instance found credentials: IMDSv2, role EnclaveInstanceRole         9.0 ms",
            "    readable by: anyone who controls this instance",
        ]

    def test_connection(self) -> None:
        assert lines_of(told(CONNECTED), 1) == [
            " 1  this instance connected to vsock://16:3000                                1.0 ms"
        ]

    @pytest.mark.parametrize(
        ("peer", "readers"),
        [
            ("vsock://16:3000", "anyone who controls this instance, and the enclave; vsock does not leave the machine"),
            ("unix:/run/serve.sock", "anyone who controls this machine"),
            ("tcp://10.0.0.1:3000", "anyone on the network path"),
        ],
    )
    def test_request_and_who_can_read_it(self, peer: str, readers: str) -> None:
        assert lines_of(told(dataclasses.replace(SENT, peer=peer)), 1) == [
            " 1  this instance -> enclave: Decrypt, 1,197 bytes",
            "    carried: Ciphertext, EncryptionContext",
            f"    readable by: {readers}",
        ]

    def test_request_without_fields_carries_nothing(self) -> None:
        assert "carried" not in told(dataclasses.replace(SENT, fields=()))

    def test_standard_output(self) -> None:
        assert lines_of(told(PRINTED), 1) == [" 1  this instance -> standard output: 1,024 bytes"]

    def test_anything_else_is_a_type_error(self) -> None:
        with pytest.raises(TypeError, match=r"step: expected a step of vsock_wire\.protocol\.trace, got str"):
            told("step")


class TestDocument:
    def test_of_the_simulator_is_verified_under_a_root_that_is_not_awss(self) -> None:
        root = authority().root_sha256.hex()
        assert lines_of(told(ATTESTED), 1) == [
            f" 1* Nitro Security Module -> enclave: attestation document, {len(DOCUMENT):,} bytes       3.1 ms",
            (
                "    evidence: signature and certificates verified here, up to the root with SHA-256"
                f" {root}, which is NOT AWS's"
            ),
            f'    evidence: module "{MODULE_ID}"',
            f"    evidence: PCR0 {PCRS[0].hex()}",
            f"    evidence: public key in the document: SHA-256 {KEY_ID}",
            "    readable by: anyone; it contains no secret, and the private key stays in the enclave",
        ]

    def test_under_awss_root_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(document_file, "AWS_NITRO_ROOT_SHA256", authority().root_sha256)
        text = told(ATTESTED)
        assert "verified here, up to AWS's root for Nitro Enclaves" in unwrapped(text)
        assert "NOT" not in text

    @pytest.mark.parametrize("vector", real_vectors("veracruz_aws_nitro_document.cbor"))
    def test_of_a_real_enclave_verifies_up_to_awss_root(self, vector: tuple[bytes]) -> None:
        (document,) = vector
        at = parse_unverified_document(document).issued_at
        text = unwrapped(told(dataclasses.replace(ATTESTED, document=document), at=at))
        assert "evidence: signature and certificates verified here, up to AWS's root for Nitro Enclaves" in text

    def test_that_is_reused_says_so(self) -> None:
        (heading, *_) = lines_of(told(dataclasses.replace(ATTESTED, is_reused=True)), 1)
        assert heading.startswith(" 1* enclave: reused attestation document, ")

    @pytest.mark.parametrize("days", [-1, 1])
    def test_with_certificates_outside_their_validity_proves_nothing(self, days: int) -> None:
        text = told(ATTESTED, OPENED, at=NOW + timedelta(days=days))
        assert "unproven: NOT verified: attestation document: " in unwrapped(text)
        assert f"unproven: PCR0 {PCRS[0].hex()}" in unwrapped(text)
        assert "evidence" not in "".join(lines_of(text, 1))
        assert lines_of(text, 2)[2] == "    = the public key in the document, which is NOT verified"

    def test_with_a_broken_signature_proves_nothing(self) -> None:
        broken = DOCUMENT[:-1] + bytes([DOCUMENT[-1] ^ 1])
        text = told(dataclasses.replace(ATTESTED, document=broken))
        assert "unproven: NOT verified: attestation document: " in unwrapped(text)
        assert "evidence" not in "".join(lines_of(text, 1))

    @pytest.mark.parametrize("document", [b"", b"\x80", b"no document", DOCUMENT[:-1], DOCUMENT + b"\0"])
    def test_that_cannot_be_parsed_says_so_and_shows_nothing_else(self, document: bytes) -> None:
        text = told(dataclasses.replace(ATTESTED, document=document), OPENED)
        heading, *details = lines_of(text, 1)
        assert f"attestation document, {len(document):,} bytes" in heading
        assert [detail[:38] for detail in details] == ["    NOT verified: attestation document"]
        assert lines_of(text, 2)[2] == "    not compared with the public key in the document, which cannot be read"

    def test_of_an_enclave_in_debug_mode_gets_a_warning(self) -> None:
        details = lines_of(told(dataclasses.replace(ATTESTED, document=make_document(debug=True))), 1)
        assert details[-1].startswith("    THE ENCLAVE RUNS IN DEBUG MODE: ")
        assert "DEBUG" not in told(ATTESTED)

    def test_without_a_public_key_says_so_and_matches_no_key(self) -> None:
        keyless = dataclasses.replace(ATTESTED, document=make_document())
        text = told(keyless, dataclasses.replace(OPENED, key_identifier=""))
        assert "    evidence: public key in the document: SHA-256 missing" in lines_of(text, 1)
        assert lines_of(text, 2)[2] == "    = NOT the public key in the document"


class TestKms:
    def test_new_connection(self) -> None:
        assert lines_of(told(TLS), 1) == [
            " 1* enclave -> KMS: TLSv1.3 through vsock://3:8000, new                   1,234.6 ms",
            (
                "    evidence: certificate for kms.us-east-1.amazonaws.com, kms.amazonaws.com, issued by"
                " commonName=Amazon RSA 2048 M01"
            ),
            "    evidence: checked in the enclave against the name kms.us-east-1.amazonaws.com",
            "    readable by: the enclave and KMS; the proxy sees only TLS records (TLS_AES_128_GCM_SHA256)",
        ]

    def test_kept_connection_took_no_time(self) -> None:
        (heading, *_) = lines_of(told(dataclasses.replace(TLS, is_kept=True, elapsed_ms=0.0)), 1)
        assert heading == " 1* enclave -> KMS: TLSv1.3 through vsock://3:8000, reused"

    def test_answer_that_was_opened(self) -> None:
        assert lines_of(told(ANSWERED, OPENED), 1) == [
            " 1* enclave <-> KMS: 6,711 bytes; HTTP 200, 778 bytes                        45.2 ms",
            "    carried: CiphertextForRecipient, the Plaintext encrypted again with the enclave's public key",
            "    readable by: only the enclave; breaking TLS is not enough without its private key",
            "    evidence: KMS's request id 5591ce78-d18c-4a96-9881-87cf5db77612",
        ]

    @pytest.mark.parametrize("status", [0, 199, 201, 400, 500])
    def test_any_other_status_is_an_error(self, status: int) -> None:
        details = lines_of(told(dataclasses.replace(ANSWERED, http_status=status), OPENED), 1)[1:]
        assert details[0] == "    carried: an error"
        assert not any("readable by" in detail for detail in details)

    def test_response_that_was_not_opened_was_not_accepted(self) -> None:
        assert lines_of(told(ANSWERED, RECEIVED), 1)[1] == "    carried: a response that the enclave did not accept"

    def test_only_the_response_that_was_opened_is_described_as_opened(self) -> None:
        text = told(dataclasses.replace(ANSWERED), ANSWERED, OPENED)
        assert lines_of(text, 1)[1] == "    carried: a response that the enclave did not accept"
        assert lines_of(text, 2)[1].startswith("    carried: CiphertextForRecipient")

    def test_encrypt_is_not_attested(self) -> None:
        encrypted = dataclasses.replace(RECEIVED, operation="Encrypt", fields=("CiphertextBlob",))
        text = told(TLS, ANSWERED, encrypted, operation=Operation.ENCRYPT)
        assert (
            lines_of(text, 2)[1] == "    carried: the response to Encrypt, which KMS does not encrypt for the enclave"
        )
        assert "CiphertextForRecipient" not in text
        assert "readable by: anyone who controls this instance" not in text

    def test_answer_without_a_request_id_names_none(self) -> None:
        assert "request id" not in told(dataclasses.replace(ANSWERED, request_id=""), OPENED)

    @pytest.mark.parametrize(
        ("operation", "secret"),
        [
            (Operation.GENERATE_DATA_KEY, "Plaintext"),
            (Operation.GENERATE_DATA_KEY_PAIR, "PrivateKeyPlaintext"),
            (Operation.DERIVE_SHARED_SECRET, "SharedSecret"),
        ],
    )
    def test_secret_has_kmss_name(self, operation: Operation, secret: str) -> None:
        text = told(ANSWERED, OPENED, dataclasses.replace(RECEIVED, operation=operation), operation=operation)
        assert f"CiphertextForRecipient, the {secret} encrypted again" in text
        assert f"Message is the {secret}; " in unwrapped(text)


class TestOpened:
    def test_with_the_key_of_the_document(self) -> None:
        assert lines_of(told(ATTESTED, OPENED), 2) == [
            " 2* enclave: opened CiphertextForRecipient, 461 bytes                         5.3 ms",
            f"    evidence: public key of the private key used: SHA-256 {KEY_ID}",
            "    = the public key in the document",
            "    readable by: only the enclave",
        ]

    def test_with_another_key_says_so(self) -> None:
        text = told(ATTESTED, dataclasses.replace(OPENED, key_identifier=OTHER_KEY_ID))
        assert lines_of(text, 2)[2] == "    = NOT the public key in the document"

    @pytest.mark.parametrize("steps", [(OPENED,), (OPENED, ATTESTED)])
    def test_before_any_document_matches_no_key(self, steps: tuple[object, ...]) -> None:
        assert lines_of(told(*steps), 1)[2] == "    = NOT the public key in the document"

    def test_is_compared_with_the_document_before_it_and_not_with_a_later_one(self) -> None:
        other = dataclasses.replace(ATTESTED, document=make_document(public_key=b"another public key"))
        text = told(ATTESTED, OPENED, other, OPENED)
        assert lines_of(text, 2)[2] == "    = the public key in the document"
        assert lines_of(text, 4)[2] == "    = NOT the public key in the document"
        assert f"    evidence: public key in the document: SHA-256 {KEY_ID}" in lines_of(text, 1)
        assert f"    evidence: public key in the document: SHA-256 {OTHER_KEY_ID}" in lines_of(text, 3)


class TestReply:
    def test_with_the_plaintext_is_readable_by_the_instance(self) -> None:
        assert lines_of(told(RECEIVED), 1) == [
            " 1  enclave -> this instance: reply to Decrypt, 6,221 bytes                  67.5 ms",
            "    carried: Message, KeyId",
            (
                "    readable by: anyone who controls this instance: Message is the Plaintext; kmstool-enclave"
                " --deliver digest or exec keeps it inside"
            ),
        ]

    def test_with_a_digest_says_that_the_secret_stayed(self) -> None:
        digest = dataclasses.replace(RECEIVED, fields=("Delivery", "Digest"), delivery="digest")
        assert lines_of(told(digest), 1)[1:] == [
            "    carried: Delivery, Digest",
            "    Plaintext: stayed in the enclave; Digest is its SHA-256",
        ]

    def test_with_the_output_of_a_program_says_so(self) -> None:
        output = dataclasses.replace(RECEIVED, fields=("Delivery", "Message"), delivery="exec")
        assert lines_of(told(output), 1)[1:] == [
            "    carried: Delivery, Message",
            "    Plaintext: went to a program in the enclave; Message is that program's output",
        ]

    @pytest.mark.parametrize("delivery", [None, "reply", "digest", "by hand"])
    def test_with_a_message_never_claims_that_the_secret_stayed_inside(self, delivery: str | None) -> None:
        reply = dataclasses.replace(RECEIVED, fields=("Delivery", "Digest", "Message"), delivery=delivery)
        text = told(reply)
        assert "readable by: anyone who controls this instance: Message is the Plaintext" in text
        assert "stayed" not in text

    def test_without_a_secret_says_nothing_about_one(self) -> None:
        assert lines_of(told(dataclasses.replace(RECEIVED, fields=())), 1)[1:] == []

    def test_with_an_error_delivers_nothing(self) -> None:
        refusal = dataclasses.replace(RECEIVED, is_ok=False, fields=("Message", "Code", "Hint"))
        assert lines_of(told(refusal), 1) == [
            " 1  enclave -> this instance: error reply to Decrypt, 6,221 bytes            67.5 ms",
            "    carried: Message, Code, Hint",
        ]

    def test_to_another_request_delivers_nothing(self) -> None:
        other = dataclasses.replace(RECEIVED, operation="SetClient")
        assert "readable by" not in told(other)

    def test_to_a_request_for_a_document_delivers_nothing(self) -> None:
        document = dataclasses.replace(RECEIVED, operation="GetAttestationDocument", fields=("Document",))
        assert "readable by" not in told(document, operation=Operation.GET_ATTESTATION_DOCUMENT)

    def test_from_an_enclave_that_reports_no_steps_says_so(self) -> None:
        text = unwrapped(told(CONNECTED, SENT, RECEIVED))
        assert text.endswith(
            "The enclave reported no steps of its own; kmstool in C never does."
            " A reply's time is measured from its request."
        )
        assert "*" not in text

    @pytest.mark.parametrize("steps", [(), (CONNECTED, SENT)])
    def test_missing_reply_is_mentioned(self, steps: tuple[object, ...]) -> None:
        assert told(*steps).endswith("\n\nThe enclave did not answer.")


PEERS_WORDS = [
    dataclasses.replace(TLS, proxy=FORGED),
    dataclasses.replace(TLS, host=FORGED),
    dataclasses.replace(TLS, version=FORGED),
    dataclasses.replace(TLS, cipher=FORGED),
    dataclasses.replace(TLS, certificate_names=FORGED),
    dataclasses.replace(TLS, certificate_issuer=FORGED),
    dataclasses.replace(ANSWERED, request_id=FORGED),
    dataclasses.replace(OPENED, key_identifier=FORGED),
    dataclasses.replace(RECEIVED, fields=(FORGED,)),
    dataclasses.replace(RECEIVED, fields=("Message",), delivery=FORGED),
    dataclasses.replace(CREDENTIALS, source=FORGED),
    dataclasses.replace(SENT, fields=(FORGED,)),
]


class TestHostilePeer:
    @pytest.mark.parametrize("step", PEERS_WORDS)
    def test_cannot_steer_the_terminal_or_forge_a_line(self, step: object) -> None:
        text = told(step)
        assert text.replace("\n", "").isprintable()
        assert not any(line.startswith(" 9 ") for line in text.splitlines())

    def test_text_of_a_peer_stays_inside_its_own_step(self) -> None:
        text = told(dataclasses.replace(TLS, certificate_names=f"{'x ' * 90} evidence: AWS"))
        assert [line for line in text.splitlines() if line.strip().startswith("evidence: AWS")] == []

    def test_module_id_of_a_self_signed_document_is_printed_safely(self) -> None:
        nsm = SimulatedNsm(authority(), module_id=f'"{FORGED}')
        request = {"Attestation": {"user_data": None, "nonce": None, "public_key": None}}
        document = cbor2.loads(nsm.answer(cbor2.dumps(request)))["Attestation"]["document"]
        text = told(dataclasses.replace(ATTESTED, document=document))
        assert "the forged\\u202e step" in unwrapped(text)
        assert text.replace("\n", "").isprintable()

    def test_cannot_flood_with_field_names(self) -> None:
        fields = tuple(f"{number:030}" for number in range(1_500))
        text = told(dataclasses.replace(RECEIVED, fields=fields))
        assert len(text) < 2 * MAX_TEXT_CHARS + 500
