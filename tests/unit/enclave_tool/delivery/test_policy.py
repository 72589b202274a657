from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_tool.delivery.policy import Deliverer, Program, ProgramLimits
from enclave_tool.errors import DeliveryError
from enclave_tool.kms.caller import KmsCaller
from enclave_tool.kms.regional import Attempts
from enclave_tool.kms.regions import KmsRegions
from enclave_tool.server.config import parse_delivery
from enclave_tool.server.session import Enclave, Session
from vsock_wire.errors import InputError
from vsock_wire.protocol.attestation import MAX_ATTESTED_BYTES, AttestationRequest
from vsock_wire.protocol.delivery import DIGEST, OUTPUT, Delivery, encode_delivery_line, split_delivery_line
from vsock_wire.protocol.json_codec import JsonObject, encode_base64, encode_message
from vsock_wire.protocol.kms_operations import (
    KMS_OPERATIONS,
    KmsRequest,
    KmsResult,
    encode_kms_request,
    encode_kms_result,
    parse_kms_result,
)
from vsock_wire.protocol.messages import Credentials
from vsock_wire.protocol.vocabulary import Operation, RequestError

SECRET = b"hunter2 hunter2"
DELIVERING = [operation for operation, spec in KMS_OPERATIONS.items() if spec.delivers]
DIGESTS_ONLY = Deliverer(Delivery.DIGEST)
REVERSING = Deliverer(Delivery.EXEC, lambda secret: secret[::-1])


def answer_to(operation: Operation) -> dict[str, Any]:
    delivers = KMS_OPERATIONS[operation].delivers
    return {"KeyId": "key-arn"} | ({delivers: SECRET} if delivers else {})


class TestDeliver:
    def test_reply_is_the_secret_as_kmstool_has_it(self) -> None:
        assert Deliverer().deliver(SECRET) == {"Message": encode_base64(SECRET)}

    def test_digest_is_sha256_in_hexadecimal_and_no_message(self) -> None:
        expected = {"Delivery": "digest", "Digest": hashlib.sha256(SECRET).hexdigest()}
        assert DIGESTS_ONLY.deliver(SECRET) == expected

    def test_exec_is_the_output_of_the_program(self) -> None:
        assert REVERSING.deliver(SECRET) == {"Delivery": "exec", "Message": encode_base64(SECRET[::-1])}

    @pytest.mark.parametrize(("delivery", "run"), [(Delivery.EXEC, None), (Delivery.DIGEST, bytes), (None, bytes)])
    def test_program_without_exec_or_exec_without_one_is_a_mistake(self, delivery: Delivery | None, run: Any) -> None:
        with pytest.raises(ValueError, match="run_program"):
            Deliverer(delivery or Delivery.REPLY, run)


@pytest.mark.parametrize("operation", DELIVERING)
class TestEveryOperationThatDelivers:
    def test_digest_arrives_without_the_secret(self, operation: Operation) -> None:
        reply = encode_kms_result(operation, answer_to(operation), DIGESTS_ONLY.deliver)
        result = parse_kms_result(operation, reply)
        assert result.secret is None
        assert result.fields[DIGEST] == hashlib.sha256(SECRET).hexdigest()
        assert encode_base64(SECRET) not in json.dumps(reply)

    def test_output_arrives_apart_from_secrets(self, operation: Operation) -> None:
        reply = encode_kms_result(operation, answer_to(operation), REVERSING.deliver)
        result = parse_kms_result(operation, reply)
        assert (result.secret, result.fields[OUTPUT]) == (None, SECRET[::-1])

    def test_our_client_accepts_a_digest_and_kmstools_is_refused(self, operation: Operation) -> None:
        message = encode_kms_request(KmsRequest(operation, {}))
        DIGESTS_ONLY.check_client(operation, message)
        for accepts in (None, [], ["exec"], "digest", {"digest": 1}, True):
            with pytest.raises(RequestError, match=r"^this enclave returns only the digest of a plaintext, "):
                DIGESTS_ONLY.check_client(operation, {**message, "Accepts": accepts})

    @pytest.mark.parametrize("deliverer", [Deliverer(), REVERSING])
    def test_reply_and_exec_serve_kmstools_client_too(self, operation: Operation, deliverer: Deliverer) -> None:
        deliverer.check_client(operation, {})


def test_encrypt_delivers_nothing_and_is_the_same_under_every_delivery() -> None:
    for deliverer in (Deliverer(), DIGESTS_ONLY, REVERSING):
        deliverer.check_client(Operation.ENCRYPT, {})
        reply = encode_kms_result(Operation.ENCRYPT, answer_to(Operation.ENCRYPT), deliverer.deliver)
        assert parse_kms_result(Operation.ENCRYPT, reply) == KmsResult(None, {"KeyId": "key-arn"})
    assert "Accepts" not in encode_kms_request(KmsRequest(Operation.ENCRYPT, {}))


class TestUserData:
    @pytest.mark.parametrize("delivery", [Delivery.REPLY, Delivery.DIGEST])
    @pytest.mark.parametrize("requested", [None, b""])
    def test_is_only_the_delivery_if_the_client_sends_none(self, delivery: Delivery, requested: bytes | None) -> None:
        assert (
            Deliverer(delivery).user_data(AttestationRequest(user_data=requested)) == f"deliver={delivery}\n".encode()
        )

    @given(st.binary(max_size=400))
    def test_first_line_is_the_enclaves_own_whatever_the_client_sends(self, requested: bytes) -> None:
        for key, own in ((None, b"deliver=reply\n"), (b"", b"deliver=reply key=caller\n")):
            user_data = Deliverer().user_data(AttestationRequest(user_data=requested, public_key=key))
            assert user_data == own + requested
            assert split_delivery_line(user_data) == (own, requested)

    def test_fills_the_document_and_no_more(self) -> None:
        left = MAX_ATTESTED_BYTES - len(b"deliver=digest\n")
        assert len(DIGESTS_ONLY.user_data(AttestationRequest(user_data=bytes(left))) or b"") == MAX_ATTESTED_BYTES
        with pytest.raises(RequestError, match=rf"UserData: expected at most {left} bytes, got {left + 1}$"):
            DIGESTS_ONLY.user_data(AttestationRequest(user_data=bytes(left + 1)))

    @pytest.mark.parametrize("requested", [None, b"", b"mine", bytes(MAX_ATTESTED_BYTES)])
    @pytest.mark.parametrize("public_key", [None, b"a key"])
    def test_of_an_enclave_that_delivers_nothing_is_the_clients_alone_if_asked_for(
        self, requested: bytes | None, public_key: bytes | None
    ) -> None:
        request = AttestationRequest(user_data=requested, public_key=public_key, is_user_data_bare=True)
        assert Deliverer().user_data(request) == requested

    @pytest.mark.parametrize("deliverer", [DIGESTS_ONLY, REVERSING])
    @pytest.mark.parametrize("asked", [{"public_key": b"a key"}, {"public_key": b""}, {"is_user_data_bare": True}])
    def test_and_key_are_the_enclaves_where_it_keeps_secrets_inside(
        self, deliverer: Deliverer, asked: dict[str, Any]
    ) -> None:
        """KMS would encrypt to the caller's key what this enclave is to keep."""
        with pytest.raises(RequestError, match=r"(PublicKey|BareUserData) cannot be used with --deliver ") as caught:
            deliverer.user_data(AttestationRequest(**asked))
        assert str(caught.value).endswith(f" {deliverer.delivery}")
        assert caught.value.hint

    @pytest.mark.parametrize("line", [b"deliver=digest\n", b"deliver=reply\n", b"deliver=", b"deliver=x\nmore"])
    def test_of_a_client_cannot_pass_for_the_enclaves_line(self, line: bytes) -> None:
        with pytest.raises(RequestError, match=r"UserData: expected bytes that do not begin with deliver="):
            Deliverer().user_data(AttestationRequest(user_data=line, is_user_data_bare=True))


class TestSplitDeliveryLine:
    @pytest.mark.parametrize("delivery", Delivery)
    @pytest.mark.parametrize("is_key_of_caller", [True, False])
    def test_takes_the_line_off(self, delivery: Delivery, *, is_key_of_caller: bool) -> None:
        line = encode_delivery_line(delivery, is_key_of_caller=is_key_of_caller)
        for rest in (b"", b"mine", b"\n", line):
            assert split_delivery_line(line + rest) == (line, rest)

    @pytest.mark.parametrize(
        "user_data",
        [b"", b"mine", b"deliver=reply", b"deliver=all\n", b"deliver=reply key=caller", b"\ndeliver=reply\n"],
    )
    def test_leaves_other_user_data_as_it_is(self, user_data: bytes) -> None:
        assert split_delivery_line(user_data) == (b"", user_data)


class TestParseDelivery:
    LIMITS = ProgramLimits(1.0, 1 << 20)

    def test_takes_a_program_and_its_arguments(self) -> None:
        delivery, program = parse_delivery("exec", "/app/sign", ("--key", "-"), self.LIMITS)
        assert (delivery, program) == (Delivery.EXEC, Program(("/app/sign", "--key", "-"), self.LIMITS))

    @pytest.mark.parametrize("name", ["reply", "digest"])
    def test_accepts_the_others_without_one(self, name: str) -> None:
        assert parse_delivery(name, None, (), self.LIMITS) == (Delivery(name), None)

    @pytest.mark.parametrize(
        ("name", "program", "arguments"),
        [
            ("exec", None, ()),
            ("exec", None, ("/app/sign",)),
            ("exec", "sign", ()),
            ("exec", "", ()),
            ("exec", "./sign", ()),
            ("reply", "/app/sign", ()),
            ("digest", "/app/sign", ()),
            ("reply", None, ("x",)),
        ],
    )
    def test_refuses_everything_else(self, name: str, program: str | None, arguments: tuple[str, ...]) -> None:
        with pytest.raises(InputError, match=r"^--deliver"):
            parse_delivery(name, program, arguments, self.LIMITS)

    def test_arguments_are_not_shown(self) -> None:
        assert "hunter2" not in repr(Program(("/app/sign", "--pin", "hunter2")))


class AnsweringRegions(KmsRegions):
    """A KMS that gives the secret to every caller, and counts the calls."""

    def __init__(self) -> None:
        self.calls = 0

    def caller(self, credentials: Credentials, region: str) -> KmsCaller:  # noqa: ARG002 - the signature of KmsRegions
        return AnsweringCaller(self)


class AnsweringCaller(KmsCaller):
    def __init__(self, clients: AnsweringRegions) -> None:
        self._clients = clients

    def call_kms(self, request: KmsRequest, attempts: Attempts) -> dict[str, Any]:
        self._clients.calls += 1
        attempts.count += 1
        return answer_to(request.operation)


def ask(deliverer: Deliverer, message: JsonObject) -> tuple[JsonObject, int]:
    """Return a session's reply to one request, and the number of calls to KMS."""
    clients = AnsweringRegions()
    session = Session(Enclave(clients, None, {}, lambda *_: b"", lambda _: (), deliverer))
    session.take(b'{"Operation": "SetClient", "AwsAccessKeyId": "AKIDEXAMPLE", "AwsSecretAccessKey": "x"}').answer()
    return session.take(encode_message(message)).answer(), clients.calls


class TestSession:
    def test_delivers_the_digest_to_a_client_that_can_read_it(self) -> None:
        reply, _ = ask(DIGESTS_ONLY, {"Operation": "Decrypt", "Ciphertext": "AQID", "Accepts": ["digest"]})
        assert (reply["Status"], reply["Digest"]) == ("Ok", hashlib.sha256(SECRET).hexdigest())
        assert "Message" not in reply

    def test_refuses_kmstools_client_in_digest_mode_before_kms_is_asked(self) -> None:
        reply, calls = ask(DIGESTS_ONLY, {"Operation": "Decrypt", "Ciphertext": "AQID"})
        assert (reply["Status"], reply["Code"], calls) == ("Error", "InvalidRequest", 0)
        assert reply["Message"].startswith("Could not decrypt ciphertext: this enclave returns only the digest")

    def test_failure_of_the_program_has_its_own_error_code(self) -> None:
        def fail(_secret: bytes) -> bytes:
            raise DeliveryError("program sign: exited with code 3", hint="look")

        reply, _ = ask(Deliverer(Delivery.EXEC, fail), {"Operation": "GenerateRandom", "NumberOfBytes": 8})
        assert reply == {
            "Status": "Error",
            "Message": "Could not generate random bytes: program sign: exited with code 3",
            "Code": "DeliveryFailed",
            "Service": "enclave",
            "Hint": "look",
            "Tries": 1,
        }
