from __future__ import annotations

import json
import logging
import ssl
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enclave_tool.kms.options import KmsOptions
from enclave_tool.kms.regions import KmsRegions
from enclave_tool.recipient.attested_key import Recipient, RecipientKey
from enclave_tool.server.session import Enclave, Session, choose_region
from tests.support.enclave.scripted_kms import (
    DECRYPT,
    SET_CLIENT,
    ScriptedRegions,
    ask,
    attest,
    new_session,
    raising,
    survey,
)
from tests.support.enclave.scripted_nsm import ScriptedNsm
from vsock_wire.net.address import UnixAddress
from vsock_wire.protocol.attestation import AttestationRequest
from vsock_wire.protocol.diagnosis import parse_diagnosis
from vsock_wire.protocol.frames import MAX_MESSAGE_BYTES, encode_frame
from vsock_wire.protocol.json_codec import encode_base64, encode_message
from vsock_wire.protocol.messages import Credentials
from vsock_wire.protocol.vocabulary import EnclaveCode, RequestError


class TestSetClient:
    def test_reply_announces_protocol_and_operations(self, session: Session) -> None:
        assert ask(session, SET_CLIENT) == {
            "Status": "Ok",
            "Protocol": 2,
            "Delivery": "reply",
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
            "Region": None,
        }

    def test_reply_says_which_region_the_enclave_sets(self, regions: ScriptedRegions) -> None:
        assert ask(new_session(regions, "eu-west-1"), SET_CLIENT)["Region"] == "eu-west-1"

    @pytest.mark.parametrize(
        ("enclave_region", "instance_region", "expected"),
        [
            (None, None, "us-east-1"),
            ("eu-west-1", None, "eu-west-1"),
            (None, "eu-north-1", "eu-north-1"),
            (None, "", "us-east-1"),
        ],
    )
    def test_region_of_one_side_is_used_or_else_kmstools_default(
        self, regions: ScriptedRegions, enclave_region: str | None, instance_region: str | None, expected: str
    ) -> None:
        session = new_session(regions, enclave_region)
        assert ask(session, {**SET_CLIENT, "AwsRegion": instance_region})["Status"] == "Ok"
        assert [region for _, region in regions.made] == [expected]

    @pytest.mark.parametrize("instance_region", ["us-east-1", "eu-west-1"])
    def test_region_of_both_sides_is_refused_even_if_equal(
        self, regions: ScriptedRegions, instance_region: str
    ) -> None:
        reply = ask(new_session(regions, "eu-west-1"), {**SET_CLIENT, "AwsRegion": instance_region})
        assert reply["Message"] == "Could not set region correctly, check configuration."
        assert reply["Code"] == "RegionConflict"
        assert regions.made == []

    @pytest.mark.parametrize("second", [{"AwsRegion": "nowhere-1"}, {"AwsRegion": 5}, {"AwsAccessKeyId": ""}])
    def test_failing_set_client_leaves_the_earlier_client_in_place(
        self, ready: Session, regions: ScriptedRegions, second: dict[str, object]
    ) -> None:
        assert ask(ready, {**SET_CLIENT, **second})["Status"] == "Error"
        assert ask(ready, DECRYPT)["Status"] == "Ok"
        assert regions.requests[0][1] == "us-east-1"

    def test_bad_region_gets_kmstools_text(self, session: Session) -> None:
        reply = ask(session, {**SET_CLIENT, "AwsRegion": "nowhere-1"})
        assert (reply["Message"], reply["Code"]) == ("Could not create new client", "ClientFailed")

    def test_second_good_set_client_replaces_the_first(self, ready: Session, regions: ScriptedRegions) -> None:
        ask(ready, {**SET_CLIENT, "AwsAccessKeyId": "AKIDOTHER", "AwsRegion": "eu-north-1"})
        ask(ready, DECRYPT)
        assert regions.requests[0][:2] == (Credentials("AKIDOTHER", "theSecretAccessKey"), "eu-north-1")

    def test_client_of_one_connection_is_not_that_of_another(self, ready: Session, regions: ScriptedRegions) -> None:
        assert ask(new_session(regions), DECRYPT)["Message"] == "Client not initialized"
        assert ask(ready, DECRYPT)["Status"] == "Ok"

    def test_reply_and_log_contain_no_credential(
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


class TestId:
    @pytest.mark.parametrize(
        "message",
        [SET_CLIENT, {"Operation": "Describe"}, {"Operation": "nope"}, {}, {"Operation": "SetClient"}, DECRYPT],
    )
    def test_is_echoed_in_every_reply(self, session: Session, message: dict[str, object]) -> None:
        assert ask(session, {**message, "Id": "request 7"})["Id"] == "request 7"

    def test_is_echoed_with_an_internal_error(self, ready: Session, regions: ScriptedRegions) -> None:
        regions.behavior = raising(ZeroDivisionError())
        assert ask(ready, {**DECRYPT, "Id": "7"})["Id"] == "7"

    def test_reply_has_none_without_one(self, session: Session) -> None:
        assert "Id" not in ask(session, {"Operation": "Describe"})

    @pytest.mark.parametrize("request_id", [7, [], {}, True, "x" * 65])
    def test_malformed_one_is_refused_and_not_echoed(self, session: Session, request_id: object) -> None:
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
    def test_describes_the_enclave_without_a_client(self, regions: ScriptedRegions) -> None:
        reply = ask(new_session(regions, "eu-west-1"), {"Operation": "Describe"})
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
    """Requests that only a real botocore client can check."""

    @pytest.fixture
    def ready(self, recipient_key: RecipientKey, short_dir: Any) -> Session:
        options = KmsOptions(proxy=UnixAddress(str(short_dir / "nobody")), tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        session = new_session(KmsRegions(Recipient(ScriptedNsm(), key=recipient_key), options))
        assert ask(session, SET_CLIENT)["Status"] == "Ok"
        return session

    @pytest.mark.parametrize(
        "region",
        ["", "s3", "nowhere.evil.example", "us-east-1/../x", "a b", "us-east-1\r\nHost: x", "-", "#", "\u00e9"],
    )
    def test_bad_region_after_a_good_set_client_keeps_serving(self, ready: Session, region: str) -> None:
        reply = ask(ready, {**SET_CLIENT, "AwsRegion": region})
        assert reply["Status"] == "Ok" if region == "" else reply["Code"] == "UnknownRegion"
        assert ask(ready, DECRYPT)["Code"] == "ProxyUnreachable"

    @pytest.mark.parametrize(
        "fields", [{"GrantTokens": [""]}, {"EncryptionAlgorithm": "NO_SUCH"}, {"KeyId": "x" * 5_000}]
    )
    def test_request_that_botocore_refuses_is_not_called_a_network_failure(
        self, ready: Session, fields: dict[str, object]
    ) -> None:
        assert ask(ready, {**DECRYPT, **fields})["Code"] in ("InvalidRequest", "ProxyUnreachable")

    @pytest.mark.parametrize("token", ["theToken\r\nX-Evil: 1", "theToken\u20ac", "theToken\0"])
    def test_token_that_does_not_fit_a_header_is_refused_without_showing_it(
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

    def test_default_is_kmstools(self) -> None:
        assert choose_region(None, None) == "us-east-1"


class TestGetAttestationDocument:
    def test_needs_no_client_and_carries_nonce_and_user_data(self, session: Session) -> None:
        reply = ask(session, {"Operation": "GetAttestationDocument", "Nonce": "AQID", "UserData": "BAUG"})
        assert reply == {"Status": "Ok", "Document": encode_base64(attest(AttestationRequest(b"\1\2\3", b"\4\5\6")))}

    def test_no_bytes_are_another_request_than_none(self, session: Session) -> None:
        reply = ask(session, {"Operation": "GetAttestationDocument", "Nonce": "", "UserData": ""})
        assert reply == {"Status": "Ok", "Document": encode_base64(attest(AttestationRequest(b"", b"")))}

    def test_malformed_nonce_is_an_error(self, session: Session) -> None:
        reply = ask(session, {"Operation": "GetAttestationDocument", "Nonce": "!"})
        assert reply["Status"] == "Error"
        assert reply["Code"] == "InvalidRequest"


class TestDiagnose:
    def test_hops_to_the_endpoint_of_the_region_are_reported_without_credentials(self, session: Session) -> None:
        diagnosis = parse_diagnosis(ask(session, {"Operation": "Diagnose", "AwsRegion": "eu-west-1"}))
        assert diagnosis.kms_host == "kms.eu-west-1.amazonaws.com"
        assert diagnosis.hops == tuple(survey("https://kms.eu-west-1.amazonaws.com"))

    def test_region_on_both_sides_is_refused(self, regions: ScriptedRegions) -> None:
        reply = ask(new_session(regions, "us-east-1"), {"Operation": "Diagnose", "AwsRegion": "us-east-1"})
        assert reply["Code"] == EnclaveCode.REGION_CONFLICT


def test_uptime_counts_from_the_start_of_the_process(regions: ScriptedRegions) -> None:
    enclave = Enclave(regions, None, {}, attest, survey, started_at=-1e9)
    assert ask(Session(enclave), {"Operation": "Describe"})["UptimeS"] > 1e9 - 1
