from __future__ import annotations

import io
import signal
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cbor2
import pytest

from enclave_tool.commands import single_call
from enclave_tool.commands.kmstool_enclave_cli import main
from enclave_tool.errors import KmsError, KmsUnreachableError, ProxyUnreachableError, TlsError
from enclave_tool.kms.caller import KmsCaller
from enclave_tool.kms.options import KmsOptions
from enclave_tool.kms.regional import Attempts
from enclave_tool.kms.regions import KmsRegions
from enclave_tool.recipient.attested_key import Recipient
from tests.support.enclave.scripted_nsm import ScriptedNsm
from vsock_wire.errors import ToolError
from vsock_wire.net.address import UnixAddress, VsockAddress
from vsock_wire.protocol.kms_operations import KmsRequest
from vsock_wire.protocol.messages import Credentials
from vsock_wire.protocol.vocabulary import Operation

FLAGS = ("--aws-access-key-id", "AKIDFLAG", "--aws-secret-access-key", "flagSecret", "--aws-session-token", "flagToken")
FROM_FLAGS = Credentials("AKIDFLAG", "flagSecret", "flagToken")
ANSWER = {
    "Plaintext": b"hunter2",
    "PrivateKeyPlaintext": b"hunter3",
    "SharedSecret": b"hunter4",
    "CiphertextBlob": b"sealed",
    "PrivateKeyCiphertextBlob": b"sealed key",
    "PublicKey": b"public",
    "KeyId": "key-arn",
}


@dataclass
class World:
    """What the program was given, and the responses that it gets."""

    nsm: ScriptedNsm = field(default_factory=ScriptedNsm)
    seeded: list[object] = field(default_factory=list)
    options: list[KmsOptions] = field(default_factory=list)
    callers: list[tuple[Credentials, str]] = field(default_factory=list)
    requests: list[KmsRequest] = field(default_factory=list)
    answer: dict[str, Any] | Exception = field(default_factory=lambda: dict(ANSWER))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World()

    class Regions(KmsRegions):
        def __init__(self, _recipient: Recipient, options: KmsOptions) -> None:
            assert world.seeded, "the key was made before the kernel was seeded"
            world.options.append(options)

        def caller(self, credentials: Credentials, region: str) -> KmsCaller:
            world.callers.append((credentials, region))
            return Caller()

    class Caller(KmsCaller):
        def __init__(self) -> None:
            pass

        def call_kms(self, request: KmsRequest, attempts: Attempts) -> dict[str, Any]:
            world.requests.append(request)
            attempts.count += 1
            if isinstance(world.answer, Exception):
                raise world.answer
            return world.answer

    monkeypatch.setattr(single_call, "KmsRegions", Regions)
    monkeypatch.setattr(single_call, "open_nsm", lambda _location: world.nsm)
    monkeypatch.setattr(single_call, "seed_kernel_entropy", world.seeded.append)
    monkeypatch.setattr(single_call, "set_up_logging", lambda *_, **__: None)
    for name in ("REGION", "ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    handler = signal.getsignal(signal.SIGINT)
    yield world
    signal.signal(signal.SIGINT, handler)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str, stdin: bytes = b"") -> int:
    monkeypatch.setattr("sys.argv", ["kmstool-enclave-cli", *arguments])
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
    with pytest.raises(SystemExit) as caught:
        main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


LINES = [
    (
        ("decrypt", "--ciphertext", "AQID"),
        KmsRequest(Operation.DECRYPT, {"CiphertextBlob": b"\1\2\3"}),
        "PLAINTEXT: aHVudGVyMg==\n",
    ),
    (
        ("genkey", "--key-id", "k", "--key-spec", "AES-256"),
        KmsRequest(Operation.GENERATE_DATA_KEY, {"KeyId": "k", "KeySpec": "AES_256"}),
        "CIPHERTEXT: c2VhbGVk\nPLAINTEXT: aHVudGVyMg==\n",
    ),
    (
        ("genrandom", "--length", "7"),
        KmsRequest(Operation.GENERATE_RANDOM, {"NumberOfBytes": 7}),
        "PLAINTEXT: aHVudGVyMg==\n",
    ),
    (
        ("genkeypair", "--key-id", "k", "--key-pair-spec", "ECC_NIST_P256"),
        KmsRequest(Operation.GENERATE_DATA_KEY_PAIR, {"KeyId": "k", "KeyPairSpec": "ECC_NIST_P256"}),
        "CIPHERTEXT: c2VhbGVkIGtleQ==\nPUBLIC_KEY: cHVibGlj\nPLAINTEXT: aHVudGVyMw==\n",
    ),
    (
        ("derive", "--key-id", "k", "--public-key", "AQID"),
        KmsRequest(
            Operation.DERIVE_SHARED_SECRET,
            {"KeyId": "k", "PublicKey": b"\1\2\3", "KeyAgreementAlgorithm": "ECDH"},
        ),
        "PLAINTEXT: aHVudGVyNA==\n",
    ),
    (
        ("encrypt", "--key-id", "k"),
        KmsRequest(Operation.ENCRYPT, {"KeyId": "k", "Plaintext": b"from stdin\n"}),
        "CIPHERTEXT: c2VhbGVk\n",
    ),
]


class TestOperations:
    @pytest.mark.parametrize("case", LINES, ids=[case[0][0] for case in LINES])
    def test_calls_kms_and_prints_exactly_its_lines(
        self,
        world: World,
        monkeypatch: pytest.MonkeyPatch,
        capfdbinary: pytest.CaptureFixture[bytes],
        case: tuple[tuple[str, ...], KmsRequest, str],
    ) -> None:
        arguments, request, stdout = case
        assert run(monkeypatch, *arguments, *FLAGS, stdin=b"from stdin\n") == 0
        assert capfdbinary.readouterr() == (stdout.encode(), b"")
        assert world.requests == [request]
        assert world.callers == [(FROM_FLAGS, "us-east-1")]

    @pytest.mark.parametrize("command", [case[0] for case in LINES if case[0][0] not in ("genrandom", "derive")])
    def test_encryption_context_is_sent(
        self, world: World, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
    ) -> None:
        context = ("--encryption-context", "a=1", "--encryption-context", "b=x=y", "--encryption-context", "c=")
        assert run(monkeypatch, *command, *context, *FLAGS, stdin=b"x") == 0
        assert world.requests[0].parameters["EncryptionContext"] == {"a": "1", "b": "x=y", "c": ""}

    @pytest.mark.parametrize("command", [case[0] for case in LINES if case[0][0] != "genrandom"])
    def test_grant_tokens_are_sent(
        self, world: World, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
    ) -> None:
        assert run(monkeypatch, *command, "--grant-token", "one", "--grant-token", "two", *FLAGS, stdin=b"x") == 0
        assert world.requests[0].parameters["GrantTokens"] == ("one", "two")

    @pytest.mark.parametrize("command", [case[0] for case in LINES if case[0][0] != "genrandom"])
    def test_dry_run_that_kms_would_perform_succeeds_without_a_result(
        self,
        world: World,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        command: tuple[str, ...],
    ) -> None:
        world.answer = KmsError("DryRunOperationException", "", http_status=400, request_id=None)
        assert run(monkeypatch, *command, "--dry-run", *FLAGS, stdin=b"x") == 0
        (request,) = world.requests
        assert request.parameters["DryRun"] is True
        assert capsys.readouterr() == ("", f"kmstool-enclave-cli: dry run: KMS would perform {request.operation}\n")

    def test_result_of_a_dry_run_that_was_performed_is_dropped(
        self, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(monkeypatch, "decrypt", "--ciphertext", "AQID", "--dry-run", *FLAGS) == 1
        assert [request.operation for request in world.requests] == [Operation.DECRYPT]
        out, err = capsys.readouterr()
        assert out == ""
        assert "--dry-run: Decrypt was performed anyway, and its result was discarded" in err

    def test_key_id_of_decrypt_needs_no_algorithm(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        assert run(monkeypatch, "decrypt", "--ciphertext", "AQID", "--key-id", "k", *FLAGS) == 0
        assert world.requests[0].parameters == {"CiphertextBlob": b"\1\2\3", "KeyId": "k"}

    @pytest.mark.parametrize("algorithm", [("SYMMETRIC_DEFAULT",), ("RSAES_OAEP_SHA_256", "--key-id", "k")])
    def test_algorithm_goes_to_kms(
        self, world: World, monkeypatch: pytest.MonkeyPatch, algorithm: tuple[str, ...]
    ) -> None:
        arguments = ("decrypt", "--ciphertext", "AQID", "--encryption-algorithm", *algorithm)
        assert run(monkeypatch, *arguments, *FLAGS) == 0
        assert world.requests[0].parameters["EncryptionAlgorithm"] == algorithm[0]

    @pytest.mark.parametrize("stdin", [b"AQID", b"AQID\n", b"AQ\r\nID"])
    def test_dash_reads_the_ciphertext_from_standard_input(
        self, world: World, monkeypatch: pytest.MonkeyPatch, stdin: bytes
    ) -> None:
        assert run(monkeypatch, "decrypt", "--ciphertext", "-", *FLAGS, stdin=stdin) == 0
        assert world.requests[0].parameters["CiphertextBlob"] == b"\1\2\3"

    def test_response_without_an_expected_field_is_an_error_and_prints_nothing(
        self, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world.answer = {"Plaintext": b"hunter2"}
        assert run(monkeypatch, "genkey", "--key-id", "k", "--key-spec", "AES-128", *FLAGS) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(
            "kmstool-enclave-cli: error: Could not generate data key: KMS GenerateDataKey: the response has no "
            "CiphertextBlob"
        )


class TestAttest:
    def test_needs_no_credentials_and_carries_nonce_and_user_data(
        self, world: World, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        assert run(monkeypatch, "attest", "--nonce", "00ff", "--user-data", "AB") == 0
        assert capfdbinary.readouterr() == (b"DOCUMENT: " + b64encode(b"document 1") + b"\n", b"")
        asked = cbor2.loads(world.nsm.carrier.requests[0])["Attestation"]
        assert asked == {"nonce": b"\x00\xff", "user_data": b"\xab", "public_key": None}
        assert (world.callers, world.seeded) == ([], [world.nsm])

    @pytest.mark.parametrize(
        "option",
        ["--region", "--proxy", "--proxy-port", "--parent-cid", "--endpoint", "--ca-file", "--credentials-fd"],
    )
    def test_takes_no_option_that_it_would_ignore(
        self, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str
    ) -> None:
        assert run(monkeypatch, "attest", option, "1") == 2
        assert capsys.readouterr().err.startswith(f"kmstool-enclave-cli: error: no such option '{option}'")
        assert world.nsm.carrier.requests == []

    def test_public_key_is_carried_and_no_bytes_are_a_value(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert run(monkeypatch, "attest", "--nonce", "", "--user-data", "", "--public-key", "") == 0
        assert run(monkeypatch, "attest", "--public-key", b64encode(bytes(1_024)).decode()) == 0
        asked = [cbor2.loads(request)["Attestation"] for request in world.nsm.carrier.requests]
        assert asked == [
            {"nonce": b"", "user_data": b"", "public_key": b""},
            {"nonce": None, "user_data": None, "public_key": bytes(1_024)},
        ]
        assert run(monkeypatch, "attest", "--public-key", b64encode(bytes(1_025)).decode()) == 2

    @pytest.mark.parametrize("text", ["0", "0g", "00 ff", "00" * 1_025, "00\n"])
    def test_refuses_what_no_document_can_carry(self, world: World, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        assert run(monkeypatch, "attest", "--nonce", text) == 2
        assert world.nsm.carrier.requests == []


class TestUsageErrors:
    @pytest.mark.parametrize(
        "arguments",
        [
            ("no-such-command",),
            ("decrypt",),
            ("decrypt", "--ciphertext", "!"),
            ("decrypt", "--ciphertext", ""),
            ("decrypt", "--ciphertext", "AQI"),
            ("decrypt", "--ciphertext", b64encode(bytes(6_145)).decode()),
            ("decrypt", "--ciphertext", "AQID", "--encryption-algorithm", "RSAES_OAEP_SHA_256"),
            ("decrypt", "--ciphertext", "AQID", "--encryption-context", "no-separator"),
            ("decrypt", "--ciphertext", "AQID", "--encryption-context", "a=1", "--encryption-context", "a=2"),
            ("decrypt", "--ciphertext", "AQID", "--proxy", "unix:/p"),
            ("decrypt", "--ciphertext", "AQID", "--proxy", "tcp://localhost:1"),
            ("decrypt", "--ciphertext", "AQID", "--nsm", "unix:/n"),
            ("decrypt", "--ciphertext", "AQID", "--endpoint", "http://kms.local"),
            ("decrypt", "--ciphertext", "AQID", "--parent-cid", "4294967296"),
            ("decrypt", "--ciphertext", "AQID", "--credentials-fd", "3"),
            ("decrypt", "--ciphertext", "AQID", "--credentials-fd", "-1"),
            ("genkey", "--key-spec", "AES-256"),
            ("genkey", "--key-id", "k"),
            ("genkey", "--key-id", "k", "--key-spec", "AES-192"),
            ("genrandom",),
            ("genrandom", "--length", "0"),
            ("genrandom", "--length", "1025"),
            ("genkeypair", "--key-id", "k"),
            ("derive", "--key-id", "k", "--public-key", "?"),
            ("encrypt", "--key-id", "k"),
        ],
        ids=lambda arguments: " ".join(arguments)[:70],
    )
    def test_is_one_line_and_a_hint_and_exit_2_and_asks_nobody(
        self,
        world: World,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        arguments: tuple[str, ...],
    ) -> None:
        assert run(monkeypatch, *arguments, *(FLAGS if len(arguments) > 1 else ())) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("kmstool-enclave-cli: error: ")
        assert len([line for line in err.splitlines() if not line.startswith("hint: ")]) == 1
        assert (world.requests, world.seeded) == ([], [])

    def test_stray_word_is_not_shown(
        self, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(monkeypatch, "decrypt", "--ciphertext", "AQID", *FLAGS, "halfOfASecret") == 2
        assert "halfOfASecret" not in capsys.readouterr().err
        assert world.requests == []

    @pytest.mark.parametrize(("size", "hint"), [(0, ""), (4_097, "hint: generate a data key with genkey")])
    def test_plaintext_that_kms_does_not_take_is_refused(
        self,
        world: World,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        size: int,
        hint: str,
    ) -> None:
        assert run(monkeypatch, "encrypt", "--key-id", "k", *FLAGS, stdin=bytes(size)) == 2
        assert world.requests == []
        assert hint in capsys.readouterr().err

    @pytest.mark.parametrize("stream", ["sys.stdin", "sys.stdout"])
    def test_closed_stream_is_an_error_before_kms_is_asked(
        self, world: World, monkeypatch: pytest.MonkeyPatch, stream: str
    ) -> None:
        monkeypatch.setattr("sys.argv", ["kmstool-enclave-cli", "encrypt", "--key-id", "k", *FLAGS])
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"x")))
        monkeypatch.setattr(stream, None)
        with pytest.raises(SystemExit) as caught:
            main()
        assert (caught.value.code, world.requests) == (2, [])


class TestWayToKms:
    def test_flags_say_where_kms_is(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        options = ("--region", "eu-west-1", "--proxy-port", "2000", "--parent-cid", "1", "--endpoint", "kms.local")
        assert run(monkeypatch, "genrandom", "--length", "1", *options, *FLAGS) == 0
        assert world.callers[0][1] == "eu-west-1"
        assert (world.options[0].proxy, world.options[0].endpoint_host) == (VsockAddress(1, 2_000), "kms.local")

    def test_region_and_endpoint_come_from_the_environment_too(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REGION", "eu-west-1")
        monkeypatch.setenv("ENDPOINT", "kms.local")
        assert run(monkeypatch, "genrandom", "--length", "1", *FLAGS) == 0
        assert (world.callers[0][1], world.options[0].endpoint_host) == ("eu-west-1", "kms.local")

    def test_empty_region_is_the_default(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REGION", "")
        assert run(monkeypatch, "genrandom", "--length", "1", *FLAGS) == 0
        assert (world.callers[0][1], world.options[0].proxy) == ("us-east-1", VsockAddress(3, 8_000))

    def test_accepts_other_sockets_when_allowed(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        options = ("--proxy", "unix:/p", "--nsm", "unix:/n", "--allow-non-vsock")
        assert run(monkeypatch, "genrandom", "--length", "1", *options, *FLAGS) == 0
        assert world.options[0].proxy == UnixAddress("/p")


class TestExitCodes:
    @pytest.mark.parametrize(
        ("error", "exit_code"),
        [
            (KmsError("AccessDeniedException", "no", http_status=400, request_id="r-1"), 5),
            (KmsError("ExpiredTokenException", "", http_status=400, request_id="r-1"), 5),
            (KmsError("UnrecognizedClientException", "", http_status=400, request_id="r-1"), 5),
            (KmsError("InvalidCiphertextException", "", http_status=400, request_id="r-1"), 1),
            (ProxyUnreachableError("connect to proxy", "vsock://3:8000", "refused", hint="look"), 3),
            (KmsUnreachableError("reach KMS", "vsock://3:8000", "closed"), 3),
            (TlsError("TLS with kms: certificate rejected"), 1),
        ],
    )
    def test_distinguish_kinds_of_failures(
        self,
        world: World,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        error: ToolError,
        exit_code: int,
    ) -> None:
        world.answer = error
        assert run(monkeypatch, "decrypt", "--ciphertext", "AQID", *FLAGS) == exit_code
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"kmstool-enclave-cli: error: Could not decrypt ciphertext: {error}")
        assert ("request id r-1" in err) == isinstance(error, KmsError)
        assert ("hint: look" in err) == (error.hint is not None)

    def test_is_4_without_credentials_and_calls_nobody(
        self, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(monkeypatch, "genrandom", "--length", "1") == 4
        assert "hint: set AWS_ACCESS_KEY_ID" in capsys.readouterr().err
        assert world.seeded == []
