from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enclave_tool.errors import (
    CmsError,
    KmsError,
    KmsUnreachableError,
    NsmError,
    ProxyUnreachableError,
    RecipientError,
    TlsError,
)
from enclave_tool.kms.caller import KmsCaller
from enclave_tool.kms.options import KmsOptions
from enclave_tool.kms.regional import Attempts
from enclave_tool.kms.regions import KmsRegions
from enclave_tool.recipient.attested_key import Recipient, RecipientKey
from enclave_tool.server.session import Enclave, Session, choose_region, refuse
from tests.support.enclave.scripted_nsm import ScriptedNsm
from tests.support.kms.decrypting import decrypt_answer, decrypt_request
from tests.support.wire.kmstool_messages import KMSTOOL_SET_CLIENT
from vsock_wire.errors import ToolError
from vsock_wire.net.address import UnixAddress
from vsock_wire.protocol.diagnosis import Hop, HopName, HopState, parse_diagnosis
from vsock_wire.protocol.frames import MAX_MESSAGE_BYTES, encode_frame
from vsock_wire.protocol.json_codec import encode_base64, encode_message
from vsock_wire.protocol.kms_operations import KmsRequest, encode_kms_request
from vsock_wire.protocol.messages import Credentials
from vsock_wire.protocol.recording import record
from vsock_wire.protocol.trace import Opened, parse_evidence
from vsock_wire.protocol.vocabulary import EnclaveCode, KmstoolText, RequestError

SET_CLIENT = {"Operation": "SetClient", "AwsAccessKeyId": "AKIDEXAMPLE", "AwsSecretAccessKey": "theSecretAccessKey"}
DECRYPT = {"Operation": "Decrypt", "Ciphertext": "AQID"}
OPENED = Opened(493, "ab" * 32, 0.5)

Behaviour = Callable[[KmsRequest], dict[str, Any]]


class ScriptedCaller(KmsCaller):
    """KMS as the test wants it."""

    def __init__(self, clients: ScriptedClients, credentials: Credentials, region: str) -> None:
        self._clients = clients
        self._seen_as = (credentials, region)

    def call_kms(self, request: KmsRequest, attempts: Attempts) -> dict[str, Any]:
        self._clients.requests.append((*self._seen_as, request))
        self._clients.attempts.append(attempts)
        attempts.count += 1
        return self._clients.behaviour(request)


class ScriptedClients(KmsRegions):
    """Makes a ScriptedCaller for every region but ``bad_region``."""

    def __init__(self) -> None:
        self.requests: list[tuple[Credentials, str, KmsRequest]] = []
        self.attempts: list[Attempts] = []
        self.made: list[tuple[Credentials, str]] = []
        self.bad_region = "nowhere-1"
        self.behaviour: Behaviour = lambda request: decrypt_answer(
            b"plain " + request.parameters["CiphertextBlob"], "key-arn", "SYMMETRIC"
        )

    def endpoint_url(self, region: str) -> str:
        return f"https://kms.{region}.amazonaws.com"

    def caller(self, credentials: Credentials, region: str) -> KmsCaller:
        if region == self.bad_region:
            raise RequestError(KmstoolText.CLIENT_FAILED, EnclaveCode.CLIENT_FAILED)
        self.made.append((credentials, region))
        return ScriptedCaller(self, credentials, region)


def attest(nonce: bytes | None, user_data: bytes | None) -> bytes:
    return b"document of %r and %r" % (nonce, user_data)


def survey(kms_url: str) -> list[Hop]:
    return [Hop(HopName.PROXY, HopState.OK, f"on the way to {kms_url}")]


@pytest.fixture
def clients() -> ScriptedClients:
    return ScriptedClients()


def new_session(clients: KmsRegions, region: str | None = None) -> Session:
    return Session(Enclave(clients, region, {"Version": "1", "ModuleId": "i-1-enc1"}, attest, survey))


@pytest.fixture
def session(clients: ScriptedClients) -> Session:
    return new_session(clients)


@pytest.fixture
def ready(session: Session) -> Session:
    assert ask(session, SET_CLIENT)["Status"] == "Ok"
    return session


def ask(session: Session, message: Mapping[str, object]) -> dict[str, Any]:
    return session.take(encode_message(message)).answer()


class TestKmstoolsOwnConversation:
    def test_its_set_client_and_decrypt_get_its_replies(self, session: Session, clients: ScriptedClients) -> None:
        first = session.take(KMSTOOL_SET_CLIENT).answer()
        second = session.take(
            rb'{ "Operation": "Decrypt", "Ciphertext": "AQID", "EncryptionContext": { "a": "1" } }'
        ).answer()
        assert first["Status"] == "Ok"
        assert (second["Status"], second["Message"]) == ("Ok", "cGxhaW4gAQID")
        assert clients.requests == [
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
    def test_empty_context_means_none(self, ready: Session, clients: ScriptedClients, context: object) -> None:
        assert ask(ready, {**DECRYPT, "EncryptionContext": context})["Status"] == "Ok"
        assert clients.requests[0][2] == decrypt_request(b"\1\2\3")


class TestSetClient:
    def test_reply_announces_protocol_and_operations(self, session: Session) -> None:
        assert ask(session, SET_CLIENT) == {
            "Status": "Ok",
            "Protocol": 2,
            "Operations": [
                "SetClient",
                "Decrypt",
                "GenerateDataKey",
                "GenerateDataKeyPair",
                "GenerateRandom",
                "DeriveSharedSecret",
                "Encrypt",
                "GetAttestationDocument",
                "Describe",
                "Diagnose",
            ],
        }

    @pytest.mark.parametrize(
        ("enclave_region", "instance_region", "expected"),
        [
            (None, None, "us-east-1"),
            ("eu-west-1", None, "eu-west-1"),
            (None, "eu-north-1", "eu-north-1"),
            (None, "", "us-east-1"),
        ],
    )
    def test_region_of_one_side_counts_and_without_any_kmstools_default(
        self, clients: ScriptedClients, enclave_region: str | None, instance_region: str | None, expected: str
    ) -> None:
        session = new_session(clients, enclave_region)
        assert ask(session, {**SET_CLIENT, "AwsRegion": instance_region})["Status"] == "Ok"
        assert [region for _, region in clients.made] == [expected]

    @pytest.mark.parametrize("instance_region", ["us-east-1", "eu-west-1"])
    def test_region_of_both_sides_is_refused_even_if_equal(
        self, clients: ScriptedClients, instance_region: str
    ) -> None:
        reply = ask(new_session(clients, "eu-west-1"), {**SET_CLIENT, "AwsRegion": instance_region})
        assert reply["Message"] == "Could not set region correctly, check configuration."
        assert reply["Code"] == "RegionConflict"
        assert clients.made == []

    @pytest.mark.parametrize("second", [{"AwsRegion": "nowhere-1"}, {"AwsRegion": 5}, {"AwsAccessKeyId": ""}])
    def test_failing_set_client_leaves_the_earlier_client_in_place(
        self, ready: Session, clients: ScriptedClients, second: dict[str, object]
    ) -> None:
        assert ask(ready, {**SET_CLIENT, **second})["Status"] == "Error"
        assert ask(ready, DECRYPT)["Status"] == "Ok"
        assert clients.requests[0][1] == "us-east-1"

    def test_bad_region_gets_kmstools_text(self, session: Session) -> None:
        reply = ask(session, {**SET_CLIENT, "AwsRegion": "nowhere-1"})
        assert (reply["Message"], reply["Code"]) == ("Could not create new client", "ClientFailed")

    def test_second_good_set_client_replaces_the_first(self, ready: Session, clients: ScriptedClients) -> None:
        ask(ready, {**SET_CLIENT, "AwsAccessKeyId": "AKIDOTHER", "AwsRegion": "eu-north-1"})
        ask(ready, DECRYPT)
        assert clients.requests[0][:2] == (Credentials("AKIDOTHER", "theSecretAccessKey"), "eu-north-1")

    def test_client_of_one_connection_is_not_that_of_another(self, ready: Session, clients: ScriptedClients) -> None:
        assert ask(new_session(clients), DECRYPT)["Message"] == "Client not initialized"
        assert ask(ready, DECRYPT)["Status"] == "Ok"

    def test_reply_and_log_hold_no_credential(
        self, session: Session, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        caplog.set_level(logging.DEBUG)
        replies = [
            ask(session, {**SET_CLIENT, "AwsSessionToken": "theSessionToken"}),
            ask(session, {**SET_CLIENT, "AwsSessionToken": ["theSessionToken"]}),
            session.take(encode_message({**SET_CLIENT, "AwsSessionToken": "theSessionToken"})[:-1]).answer(),
        ]
        shown = json.dumps(replies) + caplog.text + "".join(capfd.readouterr())
        for secret in ("theSecretAccessKey", "theSessionToken", "AKIDEXAMPLE"):
            assert secret not in shown


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
    def test_time_for_kms_is_what_the_request_says(
        self, ready: Session, clients: ScriptedClients, field: dict[str, float], timeout_s: float | None
    ) -> None:
        ask(ready, {**DECRYPT, **field})
        assert [attempts.timeout_s for attempts in clients.attempts] == [timeout_s]

    @pytest.mark.parametrize("timeout_s", [0, -1, 86_401, "5", True, [1]])
    def test_time_out_of_range_is_refused(self, ready: Session, clients: ScriptedClients, timeout_s: object) -> None:
        reply = ask(ready, {**DECRYPT, "TimeoutS": timeout_s})
        assert reply["Message"] == "TimeoutS: expected a number above 0 and up to 86400, got something else"
        assert clients.requests == []

    def test_all_fields_reach_kms(self, ready: Session, clients: ScriptedClients) -> None:
        request = decrypt_request(b"\1", {"a": "1", "b": ""}, "alias/k", "RSAES_OAEP_SHA_256", ("t1", "t2"))
        ask(ready, encode_kms_request(request))
        assert clients.requests[0][2] == request

    @pytest.mark.parametrize(
        ("error", "code", "service"),
        [
            (ProxyUnreachableError("connect to proxy", "vsock://3:8000", "refused"), "ProxyUnreachable", "enclave"),
            (KmsUnreachableError("reach KMS", "vsock://3:8000", "closed"), "KmsUnreachable", "enclave"),
            (TlsError("TLS with kms: certificate refused"), "TlsFailed", "enclave"),
            (RecipientError("KMS Decrypt: expected"), "CiphertextForRecipientMissing", "enclave"),
            (CmsError("CiphertextForRecipient: malformed"), "CiphertextForRecipientUnreadable", "enclave"),
            (NsmError("Attestation", "refused", code="InvalidOperation"), "InvalidOperation", "nsm"),
            (NsmError("Attestation", "no such device"), "NsmFailed", "nsm"),
            (KmsError("DisabledException", "", http_status=None, request_id=None), "DisabledException", "kms"),
        ],
    )
    def test_failure_starts_with_kmstools_text_and_has_its_code(
        self, ready: Session, clients: ScriptedClients, error: ToolError, code: str, service: str
    ) -> None:
        clients.behaviour = raising(error)
        reply = ask(ready, DECRYPT)
        assert reply["Message"] == f"Could not decrypt ciphertext: {error}"
        assert (reply["Status"], reply["Code"], reply["Service"]) == ("Error", code, service)

    def test_error_of_kms_travels_whole(self, ready: Session, clients: ScriptedClients) -> None:
        clients.behaviour = raising(
            KmsError(
                "AccessDeniedException", "User: x is not authorized", http_status=400, request_id="r-1", hint="look"
            )
        )
        assert ask(ready, DECRYPT) == {
            "Status": "Error",
            "Message": "Could not decrypt ciphertext: AccessDeniedException: User: x is not authorized",
            "Code": "AccessDeniedException",
            "Service": "kms",
            "HttpStatus": 400,
            "RequestId": "r-1",
            "Hint": "look",
            "Tries": 1,
        }

    def test_internal_error_gives_neither_text_nor_log_of_it(
        self, ready: Session, clients: ScriptedClients, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        clients.behaviour = raising(KeyError("the plaintext is hunter2"))
        reply = ask(ready, DECRYPT)
        assert reply == {"Status": "Error", "Message": "Internal error", "Code": "InternalError", "Service": "enclave"}
        assert "KeyError" in caplog.text
        assert "hunter2" not in caplog.text

    def test_session_serves_on_after_an_internal_error(self, ready: Session, clients: ScriptedClients) -> None:
        good = clients.behaviour
        clients.behaviour = raising(ZeroDivisionError())
        assert ask(ready, DECRYPT)["Status"] == "Error"
        clients.behaviour = good
        assert ask(ready, DECRYPT)["Status"] == "Ok"

    def test_unknown_error_of_ours_is_not_called_a_bad_message(self) -> None:
        assert refuse(ToolError("something else")).code != "InvalidMessage"


class TestId:
    @pytest.mark.parametrize(
        "message",
        [SET_CLIENT, {"Operation": "Describe"}, {"Operation": "nope"}, {}, {"Operation": "SetClient"}, DECRYPT],
    )
    def test_is_echoed_in_every_reply(self, session: Session, message: dict[str, object]) -> None:
        assert ask(session, {**message, "Id": "request 7"})["Id"] == "request 7"

    def test_is_echoed_with_an_internal_error(self, ready: Session, clients: ScriptedClients) -> None:
        clients.behaviour = raising(ZeroDivisionError())
        assert ask(ready, {**DECRYPT, "Id": "7"})["Id"] == "7"

    def test_reply_has_none_without_one(self, session: Session) -> None:
        assert "Id" not in ask(session, {"Operation": "Describe"})

    @pytest.mark.parametrize("request_id", [7, [], {}, True, "x" * 65])
    def test_of_wrong_form_is_refused_and_not_echoed(self, session: Session, request_id: object) -> None:
        reply = ask(session, {"Operation": "Describe", "Id": request_id})
        assert (reply["Status"], reply["Message"]) == ("Error", "Id is wrong type")
        assert "Id" not in reply

    @pytest.mark.parametrize("character", ["x", "\u00e9", "\N{GRINNING FACE}"])
    def test_as_long_as_a_message_can_hold_still_gets_a_reply_that_fits(self, session: Session, character: str) -> None:
        size = (MAX_MESSAGE_BYTES - 100) // len(character.encode())
        frame = json.dumps({"Operation": "Describe", "Id": character * size}, ensure_ascii=False).encode()
        assert len(frame) <= MAX_MESSAGE_BYTES
        encode_frame(encode_message(session.take(frame).answer()))


class TestDescribe:
    def test_tells_of_the_enclave_without_a_client(self, clients: ScriptedClients) -> None:
        reply = ask(new_session(clients, "eu-west-1"), {"Operation": "Describe"})
        assert reply.pop("UptimeS") >= 0
        assert reply == {"Status": "Ok", "Version": "1", "ModuleId": "i-1-enc1", "Region": "eu-west-1"}

    def test_does_not_show_credentials_of_the_connection(self, ready: Session) -> None:
        shown = json.dumps(ask(ready, {"Operation": "Describe"}))
        assert "AKIDEXAMPLE" not in shown
        assert "theSecretAccessKey" not in shown


class TestAnswer:
    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=5,
    )
    fields = st.sampled_from(
        ["Operation", "Ciphertext", "EncryptionContext", "KeyId", "GrantTokens", "AwsAccessKeyId", "AwsRegion", "Id"]
    )

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.binary(max_size=40) | st.dictionaries(fields, json_values).map(lambda m: json.dumps(m).encode()))
    def test_is_one_reply_that_fits_a_frame_whatever_the_request(self, ready: Session, frame: bytes) -> None:
        reply = ready.take(frame).answer()
        assert reply["Status"] in ("Ok", "Error")
        assert reply.get("Code") != "InternalError"
        encode_frame(encode_message(reply))

    @pytest.mark.parametrize("operation", ["SetClient", "Decrypt", "Describe"])
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(fields=st.dictionaries(fields.filter(lambda name: name != "Operation"), json_values))
    def test_of_each_operation_is_never_an_internal_error(
        self, ready: Session, operation: str, fields: dict[str, object]
    ) -> None:
        reply = ready.take(json.dumps({"Operation": operation, **fields}).encode()).answer()
        assert reply.get("Code") != "InternalError"


class TestRealClients:
    """Requests that only a real botocore client judges."""

    @pytest.fixture
    def ready(self, recipient_key: RecipientKey, short_dir: Any) -> Session:
        options = KmsOptions(proxy=UnixAddress(str(short_dir / "nobody")), tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        session = new_session(KmsRegions(Recipient(ScriptedNsm(), key=recipient_key), options))
        assert ask(session, SET_CLIENT)["Status"] == "Ok"
        return session

    @pytest.mark.parametrize(
        "region", ["", "nowhere.evil.example", "us-east-1/../x", "a b", "us-east-1\r\nHost: x", "-", "#", "\u00e9"]
    )
    def test_bad_region_after_a_good_set_client_keeps_serving(self, ready: Session, region: str) -> None:
        reply = ask(ready, {**SET_CLIENT, "AwsRegion": region})
        assert reply["Status"] == "Ok" if region == "" else reply["Message"] == "Could not create new client"
        assert ask(ready, DECRYPT)["Code"] == "ProxyUnreachable"

    @pytest.mark.parametrize(
        "fields", [{"GrantTokens": [""]}, {"EncryptionAlgorithm": "NO_SUCH"}, {"KeyId": "x" * 5_000}]
    )
    def test_request_that_botocore_refuses_is_not_called_a_network_failure(
        self, ready: Session, fields: dict[str, object]
    ) -> None:
        assert ask(ready, {**DECRYPT, **fields})["Code"] in ("InvalidRequest", "ProxyUnreachable")

    @pytest.mark.parametrize("token", ["theToken\r\nX-Evil: 1", "theToken\u20ac", "theToken\0"])
    def test_token_that_no_header_can_hold_is_refused_without_showing_it(
        self, ready: Session, token: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, "enclave_tool")
        replies = [ask(ready, {**SET_CLIENT, "AwsSessionToken": token}), ask(ready, DECRYPT)]
        assert replies[-1]["Status"] == "Error"
        assert "theToken" not in json.dumps(replies) + "".join(
            r.getMessage() for r in caplog.records if r.name.startswith("enclave")
        )


class TestChooseRegion:
    @pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
    def test_refuses_two(self, region: str) -> None:
        with pytest.raises(RequestError, match=r"^Could not set region correctly, check configuration\.$"):
            choose_region("us-east-1", region)

    def test_without_any_is_kmstools(self) -> None:
        assert choose_region(None, None) == "us-east-1"


def raising(error: Exception) -> Behaviour:
    def behaviour(_request: KmsRequest) -> dict[str, Any]:
        raise error

    return behaviour


def test_uptime_counts_from_the_start_of_the_process(clients: ScriptedClients) -> None:
    enclave = Enclave(clients, None, {}, attest, survey, started_at=-1e9)
    assert ask(Session(enclave), {"Operation": "Describe"})["UptimeS"] > 1e9 - 1


class TestGetAttestationDocument:
    def test_needs_no_client_and_carries_nonce_and_user_data(self, session: Session) -> None:
        reply = ask(session, {"Operation": "GetAttestationDocument", "Nonce": "AQID", "UserData": "BAUG"})
        assert reply == {"Status": "Ok", "Document": encode_base64(attest(b"\1\2\3", b"\4\5\6"))}

    def test_malformed_nonce_is_an_error(self, session: Session) -> None:
        reply = ask(session, {"Operation": "GetAttestationDocument", "Nonce": "!"})
        assert reply["Status"] == "Error"
        assert reply["Code"] == "InvalidRequest"


class TestOtherOperations:
    def test_data_key_is_delivered_with_its_ciphertext(self, ready: Session, clients: ScriptedClients) -> None:
        clients.behaviour = lambda _: {"Plaintext": b"\1", "CiphertextBlob": b"\2", "KeyId": "arn"}
        reply = ask(ready, {"Operation": "GenerateDataKey", "KeyId": "k", "KeySpec": "AES_256"})
        assert reply == {"Status": "Ok", "Message": "AQ==", "CiphertextBlob": "Ag==", "KeyId": "arn", "Tries": 1}

    def test_failure_starts_with_the_text_of_the_operation(self, ready: Session, clients: ScriptedClients) -> None:
        clients.behaviour = raising(NsmError("Attestation", "no such device"))
        reply = ask(ready, {"Operation": "GenerateRandom", "NumberOfBytes": 8})
        assert reply["Message"] == "Could not generate random bytes: NSM Attestation: no such device"

    def test_needs_a_client(self, session: Session) -> None:
        assert ask(session, {"Operation": "GenerateRandom", "NumberOfBytes": 8})["Message"] == "Client not initialized"


class TestExplain:
    def test_reply_has_the_steps_of_this_very_request(self, ready: Session, clients: ScriptedClients) -> None:
        def behaviour(request: KmsRequest) -> dict[str, Any]:
            record(OPENED)
            return decrypt_answer(request.parameters["CiphertextBlob"], "key-arn", "SYMMETRIC")

        clients.behaviour = behaviour
        for _ in range(2):
            assert parse_evidence(ask(ready, {**DECRYPT, "Explain": True})) == [OPENED]
        assert "Evidence" not in ask(ready, DECRYPT)

    def test_refusal_has_the_steps_up_to_it(self, ready: Session, clients: ScriptedClients) -> None:
        def behaviour(_request: KmsRequest) -> dict[str, Any]:
            record(OPENED)
            raise CmsError("cannot be opened")

        clients.behaviour = behaviour
        reply = ask(ready, {**DECRYPT, "Explain": True})
        assert (reply["Status"], parse_evidence(reply)) == ("Error", [OPENED])

    def test_anything_but_true_and_false_is_refused(self, ready: Session, clients: ScriptedClients) -> None:
        reply = ask(ready, {**DECRYPT, "Explain": "yes"})
        assert (reply["Status"], reply["Code"]) == ("Error", EnclaveCode.INVALID_REQUEST)
        assert clients.requests == []


class TestDiagnose:
    def test_hops_to_the_endpoint_of_the_region_are_told_without_credentials(self, session: Session) -> None:
        diagnosis = parse_diagnosis(ask(session, {"Operation": "Diagnose", "AwsRegion": "eu-west-1"}))
        assert diagnosis.kms_host == "kms.eu-west-1.amazonaws.com"
        assert diagnosis.hops == tuple(survey("https://kms.eu-west-1.amazonaws.com"))

    def test_region_on_both_sides_is_refused(self, clients: ScriptedClients) -> None:
        reply = ask(new_session(clients, "us-east-1"), {"Operation": "Diagnose", "AwsRegion": "us-east-1"})
        assert reply["Code"] == EnclaveCode.REGION_CONFLICT
