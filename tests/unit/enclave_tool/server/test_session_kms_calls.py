"""Calls to KMS on one connection."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from enclave_tool.errors import (
    CmsError,
    KmsError,
    KmsUnreachableError,
    NsmError,
    ProxyUnreachableError,
    RecipientError,
    TlsError,
)
from enclave_tool.server.session import Session, refuse
from tests.support.enclave.scripted_kms import (
    DECRYPT,
    OPENED,
    ScriptedRegions,
    ask,
    raising,
)
from tests.support.kms.decrypting import decrypt_answer, decrypt_request
from tests.support.wire.kmstool_messages import KMSTOOL_SET_CLIENT
from vsock_wire.errors import ToolError
from vsock_wire.protocol.kms_operations import KmsRequest, encode_kms_request
from vsock_wire.protocol.messages import Credentials
from vsock_wire.protocol.recording import record
from vsock_wire.protocol.refusals.row import Reason
from vsock_wire.protocol.trace import parse_evidence
from vsock_wire.protocol.vocabulary import EnclaveCode


class TestKmstoolsOwnConversation:
    def test_its_set_client_and_decrypt_get_its_replies(self, session: Session, regions: ScriptedRegions) -> None:
        first = session.take(KMSTOOL_SET_CLIENT).answer()
        second = session.take(
            rb'{ "Operation": "Decrypt", "Ciphertext": "AQID", "EncryptionContext": { "a": "1" } }'
        ).answer()
        assert first["Status"] == "Ok"
        assert (second["Status"], second["Message"]) == ("Ok", "cGxhaW4gAQID")
        assert regions.requests == [
            (
                Credentials("AKIDMOCK00000000TEST", "mockSecret/notARealOne+0000000000000000000", "mockSessionToken=="),
                "us-east-1",
                decrypt_request(b"\1\2\3", {"a": "1"}),
            )
        ]

    @pytest.mark.parametrize(
        ("request_bytes", "message"),
        [
            (b"", "Error reading JSON object"),
            (b"{", "Error reading JSON object"),
            (b"{'Operation':'Decrypt'}", "Error reading JSON object"),
            (b'{"Operation":"Decrypt"} trailing', "Error reading JSON object"),
            (b'{"Operation":"Decrypt","Operation":"Describe"}', "Error reading JSON object"),
            (b"null", "Error reading JSON object"),
            (b"[]", "JSON is wrong type"),
            (b'"Decrypt"', "JSON is wrong type"),
            (b"17", "JSON is wrong type"),
            (b"{}", "JSON structure incomplete"),
            (b'{"Operation":null}', "JSON structure incomplete"),
            (b'{"Operation":3}', "Operation is wrong type"),
            (b'{"Operation":{}}', "Operation is wrong type"),
            (b'{"Operation":"Encrypt!"}', "Operation not recognized"),
            (b'{"Operation":"SetClient"}', "Could not read credentials"),
            (b'{"Operation":"SetClient","AwsAccessKeyId":"","AwsSecretAccessKey":""}', "Could not read credentials"),
            (b'{"Operation":"SetClient","AwsAccessKeyId":"A","AwsSecretAccessKey":7}', "Could not read credentials"),
            (b'{"Operation":"Decrypt"}', "Client not initialized"),
            (b'{"Operation":"Decrypt","Ciphertext":"AQID"}', "Client not initialized"),
        ],
    )
    def test_malformed_request_gets_its_text_to_the_letter(
        self, session: Session, request_bytes: bytes, message: str
    ) -> None:
        reply = session.take(request_bytes).answer()
        assert (reply["Status"], reply["Message"], reply["Service"]) == ("Error", message, "enclave")

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({}, "Message does not contain a Ciphertext"),
            ({"Ciphertext": None}, "Message does not contain a Ciphertext"),
            ({"Ciphertext": "?"}, "Ciphertext not a base64 string"),
            ({"Ciphertext": 5}, "Ciphertext not a base64 string"),
        ],
    )
    def test_malformed_decrypt_gets_its_text_to_the_letter(
        self, ready: Session, fields: dict[str, object], message: str
    ) -> None:
        assert ask(ready, {"Operation": "Decrypt", **fields})["Message"] == message

    @pytest.mark.parametrize("context", ["a=1", 1, 1.5, True, [], ["a"], {"a": 1}, {"a": {"b": "c"}}])
    def test_context_that_crashes_kmstool_is_refused(self, ready: Session, context: object) -> None:
        reply = ask(ready, {**DECRYPT, "EncryptionContext": context})
        assert reply["Status"] == "Error"
        assert reply["Message"].startswith("Could not decrypt ciphertext: EncryptionContext: expected")
        assert ask(ready, DECRYPT)["Status"] == "Ok"

    @pytest.mark.parametrize("context", [None, {}])
    def test_empty_context_means_none(self, ready: Session, regions: ScriptedRegions, context: object) -> None:
        assert ask(ready, {**DECRYPT, "EncryptionContext": context})["Status"] == "Ok"
        assert regions.requests[0][2] == decrypt_request(b"\1\2\3")


class TestDecrypt:
    def test_reply_carries_plaintext_key_and_algorithm(self, ready: Session) -> None:
        assert ask(ready, DECRYPT) == {
            "Status": "Ok",
            "Message": "cGxhaW4gAQID",
            "KeyId": "key-arn",
            "EncryptionAlgorithm": "SYMMETRIC",
            "Tries": 1,
        }

    @pytest.mark.parametrize(
        ("field", "timeout_s"), [({}, None), ({"TimeoutS": 1.5}, 1.5), ({"TimeoutS": 86_400}, 86_400.0)]
    )
    def test_timeout_for_kms_comes_from_the_request(
        self, ready: Session, regions: ScriptedRegions, field: dict[str, float], timeout_s: float | None
    ) -> None:
        ask(ready, {**DECRYPT, **field})
        assert [attempts.timeout_s for attempts in regions.attempts] == [timeout_s]

    @pytest.mark.parametrize("timeout_s", [0, -1, 86_401, "5", True, [1]])
    def test_time_out_of_range_is_refused(self, ready: Session, regions: ScriptedRegions, timeout_s: object) -> None:
        reply = ask(ready, {**DECRYPT, "TimeoutS": timeout_s})
        assert reply["Message"] == "TimeoutS: expected a number above 0 and at most 86400"
        assert regions.requests == []

    def test_all_fields_reach_kms(self, ready: Session, regions: ScriptedRegions) -> None:
        request = decrypt_request(b"\1", {"a": "1", "b": ""}, "alias/k", "RSAES_OAEP_SHA_256", ("t1", "t2"))
        ask(ready, encode_kms_request(request))
        assert regions.requests[0][2] == request

    @pytest.mark.parametrize(
        ("error", "code", "service"),
        [
            (ProxyUnreachableError("connect to proxy", "vsock://3:8000", "refused"), "ProxyUnreachable", "enclave"),
            (KmsUnreachableError("reach KMS", "vsock://3:8000", "closed"), "KmsUnreachable", "enclave"),
            (TlsError("TLS with kms: certificate rejected"), "TlsFailed", "enclave"),
            (RecipientError("KMS Decrypt: expected"), "CiphertextForRecipientMissing", "enclave"),
            (CmsError("CiphertextForRecipient: malformed"), "CiphertextForRecipientUnreadable", "enclave"),
            (NsmError("Attestation", "refused", code="InvalidOperation"), "InvalidOperation", "nsm"),
            (NsmError("Attestation", "no such device"), "NsmFailed", "nsm"),
            (KmsError("DisabledException", "", http_status=None, request_id=None), "DisabledException", "kms"),
        ],
    )
    def test_failure_starts_with_kmstools_text_and_has_its_code(
        self, ready: Session, regions: ScriptedRegions, error: ToolError, code: str, service: str
    ) -> None:
        regions.behavior = raising(error)
        reply = ask(ready, DECRYPT)
        assert reply["Message"] == f"Could not decrypt ciphertext: {error}"
        assert (reply["Status"], reply["Code"], reply["Service"]) == ("Error", code, service)

    def test_error_of_kms_is_passed_on_completely(self, ready: Session, regions: ScriptedRegions) -> None:
        regions.behavior = raising(
            KmsError(
                "AccessDeniedException",
                "User: x is not authorized",
                http_status=400,
                request_id="r-1",
                reason=Reason.KEY_NOT_FOUND,
                hint="look",
            )
        )
        assert ask(ready, DECRYPT) == {
            "Status": "Error",
            "Message": "Could not decrypt ciphertext: AccessDeniedException: User: x is not authorized",
            "Code": "AccessDeniedException",
            "Reason": "KeyNotFound",
            "Service": "kms",
            "HttpStatus": 400,
            "RequestId": "r-1",
            "Hint": "look",
            "Tries": 1,
        }

    def test_internal_error_shows_its_text_neither_in_the_reply_nor_in_the_log(
        self, ready: Session, regions: ScriptedRegions, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        regions.behavior = raising(KeyError("the plaintext is hunter2"))
        reply = ask(ready, DECRYPT)
        assert reply == {"Status": "Error", "Message": "Internal error", "Code": "InternalError", "Service": "enclave"}
        assert "KeyError" in caplog.text
        assert "hunter2" not in caplog.text

    def test_session_serves_on_after_an_internal_error(self, ready: Session, regions: ScriptedRegions) -> None:
        good = regions.behavior
        regions.behavior = raising(ZeroDivisionError())
        assert ask(ready, DECRYPT)["Status"] == "Error"
        regions.behavior = good
        assert ask(ready, DECRYPT)["Status"] == "Ok"

    def test_unknown_tool_error_is_not_called_a_bad_message(self) -> None:
        assert refuse(ToolError("something else")).code != "InvalidMessage"


class TestOtherOperations:
    def test_data_key_is_delivered_with_its_ciphertext(self, ready: Session, regions: ScriptedRegions) -> None:
        regions.behavior = lambda _: {"Plaintext": b"\1", "CiphertextBlob": b"\2", "KeyId": "arn"}
        reply = ask(ready, {"Operation": "GenerateDataKey", "KeyId": "k", "KeySpec": "AES_256"})
        assert reply == {"Status": "Ok", "Message": "AQ==", "CiphertextBlob": "Ag==", "KeyId": "arn", "Tries": 1}

    def test_failure_starts_with_the_text_of_the_operation(self, ready: Session, regions: ScriptedRegions) -> None:
        regions.behavior = raising(NsmError("Attestation", "no such device"))
        reply = ask(ready, {"Operation": "GenerateRandom", "NumberOfBytes": 8})
        assert reply["Message"] == "Could not generate random bytes: NSM Attestation: no such device"

    def test_needs_a_client(self, session: Session) -> None:
        assert ask(session, {"Operation": "GenerateRandom", "NumberOfBytes": 8})["Message"] == "Client not initialized"


class TestExplain:
    def test_reply_has_the_steps_of_this_very_request(self, ready: Session, regions: ScriptedRegions) -> None:
        def behavior(request: KmsRequest) -> dict[str, Any]:
            record(OPENED)
            return decrypt_answer(request.parameters["CiphertextBlob"], "key-arn", "SYMMETRIC")

        regions.behavior = behavior
        for _ in range(2):
            assert parse_evidence(ask(ready, {**DECRYPT, "Explain": True})) == [OPENED]
        assert "Evidence" not in ask(ready, DECRYPT)

    def test_refusal_has_the_steps_up_to_it(self, ready: Session, regions: ScriptedRegions) -> None:
        def behavior(_request: KmsRequest) -> dict[str, Any]:
            record(OPENED)
            raise CmsError("cannot be opened")

        regions.behavior = behavior
        reply = ask(ready, {**DECRYPT, "Explain": True})
        assert (reply["Status"], parse_evidence(reply)) == ("Error", [OPENED])

    def test_anything_but_true_and_false_is_refused(self, ready: Session, regions: ScriptedRegions) -> None:
        reply = ask(ready, {**DECRYPT, "Explain": "yes"})
        assert (reply["Status"], reply["Code"]) == ("Error", EnclaveCode.INVALID_REQUEST)
        assert regions.requests == []
