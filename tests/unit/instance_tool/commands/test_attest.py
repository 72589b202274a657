"""The attest command in this process, with an enclave whose clock may be wrong, and a relay in between."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enclave_tool.delivery.policy import Deliverer
from nitro_attestation.document.cose import parse_unverified_document
from tests.support.attestation.documents import MODULE_ID, PCRS, make_document, root_pem
from tests.support.enclave.scripted_enclave import Message, Peer, ScriptedEnclave
from tests.support.instance.command_line import Tool
from vsock_wire.protocol.attestation import parse_attestation_request
from vsock_wire.protocol.json_codec import decode_base64, encode_base64


class Enclave:
    """Answers with an attestation document as kmstool-enclave does, and remembers requests.

    A relay between it and the instance may change the request, and its clock may be ahead.
    """

    def __init__(self) -> None:
        self.asked: list[Message] = []
        self.relay: Callable[[Message], Message] = lambda request: request
        self.ahead = timedelta(0)
        self.key = b"the enclave's own key"

    def __call__(self, peer: Peer) -> None:
        while (message := peer.receive()) is not None:
            self.asked.append(message)
            request = parse_attestation_request(self.relay(dict(message)))
            document = make_document(
                nonce=request.nonce,
                user_data=Deliverer().user_data(request),
                public_key=self.key if request.public_key is None else request.public_key,
                module_id=f"{MODULE_ID}, ahead by {self.ahead}",  # its certificate is as old as its first document
                clock=lambda: datetime.now(UTC) + self.ahead,
            )
            peer.send({"Status": "Ok", "Document": encode_base64(document)})


@pytest.fixture
def attesting() -> Enclave:
    return Enclave()


@pytest.fixture
def options(short_dir: Path, attesting: Enclave) -> Iterator[list[str]]:
    """Return options with the enclave's address and its root."""
    (short_dir / "root.pem").write_bytes(root_pem())
    with ScriptedEnclave(short_dir, attesting) as enclave:
        yield ["--enclave", str(enclave.address), "--root", str(short_dir / "root.pem")]


def test_document_with_a_fresh_nonce_is_verified_without_credentials(
    tool: Tool, options: list[str], attesting: Enclave, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    for _ in range(2):
        assert tool.run("attest", *options) == 0, tool.err
        assert MODULE_ID.encode() in tool.out
    nonces = [decode_base64(request["Nonce"]) for request in attesting.asked]
    assert [len(nonce) for nonce in nonces] == [32, 32]
    assert nonces[0] != nonces[1]


def test_document_is_written_in_the_output_format_and_saved(
    tool: Tool, options: list[str], attesting: Enclave, tmp_path: Path
) -> None:
    saved = tmp_path / "document.cbor"
    more = ("--nonce", "abcd", "--user-data", "c0de", "--save", str(saved))
    assert tool.run("attest", *options, *more, "--output", "base64") == 0, tool.err
    assert decode_base64(tool.out.decode().strip()) == saved.read_bytes()
    assert attesting.asked == [
        {
            "Operation": "GetAttestationDocument",
            "Nonce": encode_base64(b"\xab\xcd"),
            "UserData": encode_base64(b"\xc0\xde"),
        }
    ]
    assert tool.run("attest", *options, "--output", "json") == 0
    assert json.loads(tool.out)["Verified"] is True
    assert tool.run("attest", *options, "--save", str(saved), "--output", "raw") == 0
    assert tool.out == saved.read_bytes()
    reports = []
    for arguments in ((), ("--output", "text")):
        assert tool.run("attest", *options, *arguments, "--nonce", "00") == 0
        reports.append(tool.out)
    assert all(b"nonce" in report.lower() for report in reports)


@pytest.mark.parametrize("option", ["--nonce", "--user-data"])
def test_invalid_hexadecimal_is_refused(tool: Tool, options: list[str], attesting: Enclave, option: str) -> None:
    assert tool.run("attest", *options, option, "xy") == 2
    assert f"{option}: expected two hexadecimal digits per byte" in tool.err
    assert attesting.asked == []


def without(*names: str) -> Callable[[Message], Message]:
    return lambda request: {name: value for name, value in request.items() if name not in names}


def with_fields(**fields: object) -> Callable[[Message], Message]:
    return lambda request: request | fields


class TestComparison:
    """Of what was asked for with what came: a relay may have changed the request on its way to the enclave."""

    @pytest.mark.parametrize("more", [(), ("--bare-user-data",)])
    @pytest.mark.parametrize("data", ["", "c0de", "00" * 1_010])
    def test_user_data_that_arrives_is_accepted(
        self, tool: Tool, options: list[str], data: str, more: tuple[str, ...]
    ) -> None:
        assert tool.run("attest", *options, "--user-data", data, *more, "--output", "json") == 0, tool.err
        shown = json.loads(tool.out)
        line = b"" if more else b"deliver=reply\n"
        assert (shown["UserDataChecked"], shown["UserData"]) == (True, line.hex() + data)

    @pytest.mark.parametrize(
        "relay",
        [
            without("UserData"),
            with_fields(UserData=""),
            with_fields(UserData="AAAA"),
            with_fields(UserData=encode_base64(b"\xc0\xde\0")),
            with_fields(UserData=encode_base64(b"deliver=reply\n\xc0\xde")),
        ],
    )
    def test_user_data_stripped_or_changed_on_the_way_are_refused(
        self, tool: Tool, options: list[str], attesting: Enclave, relay: Callable[[Message], Message]
    ) -> None:
        attesting.relay = relay
        assert tool.run("attest", *options, "--user-data", "c0de") == 1
        assert tool.out == b""
        assert "attestation document: user_data: not the expected user data" in tool.err

    @pytest.mark.parametrize("data", ["", "AAAA"])
    def test_user_data_put_in_on_the_way_are_refused_where_none_were_asked_for(
        self, tool: Tool, options: list[str], attesting: Enclave, data: str
    ) -> None:
        assert tool.run("attest", *options, "--bare-user-data") == 0, tool.err
        attesting.relay = with_fields(UserData=data)
        assert tool.run("attest", *options, "--bare-user-data") == 1
        assert tool.out == b""
        assert f"user_data: {len(decode_base64(data))} bytes, although none were requested" in tool.err
        assert "hint: something on the way to the enclave changed the request" in tool.err
        assert tool.run("attest", *options) == (1 if data else 0)

    def test_user_data_put_in_after_the_enclaves_line_are_refused(
        self, tool: Tool, options: list[str], attesting: Enclave
    ) -> None:
        attesting.relay = with_fields(UserData="AAAA")
        assert tool.run("attest", *options) == 1
        assert "user_data: 17 bytes, although only the enclave's own line was requested" in tool.err

    def test_line_that_was_not_asked_for_is_refused_without_user_data_too(
        self, tool: Tool, options: list[str], attesting: Enclave
    ) -> None:
        attesting.relay = without("BareUserData")
        assert tool.run("attest", *options, "--bare-user-data") == 1
        assert "user_data: 14 bytes, although none were requested" in tool.err

    def test_line_of_the_enclave_that_was_not_asked_for_is_refused(
        self, tool: Tool, options: list[str], attesting: Enclave
    ) -> None:
        attesting.relay = without("BareUserData")
        assert tool.run("attest", *options, "--user-data", "c0de", "--bare-user-data") == 1
        assert "its first 14 bytes are part of the value too" in tool.err

    def test_user_data_too_long_after_the_line_are_never_cut_to_fit(
        self, tool: Tool, options: list[str], attesting: Enclave
    ) -> None:
        attesting.relay = with_fields(UserData=encode_base64(bytes(1_010)))
        assert tool.run("attest", *options, "--user-data", "00" * 1_024) == 1
        assert "user_data" in tool.err

    @pytest.mark.parametrize("form", ["DER", "PEM", "raw", "empty"])
    def test_key_of_the_caller_is_sent_and_compared(
        self, tool: Tool, options: list[str], attesting: Enclave, tmp_path: Path, form: str
    ) -> None:
        public_key = ec.generate_private_key(ec.SECP256R1()).public_key()
        der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        content, key = {
            "DER": (der, der),
            "PEM": (public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), der),
            "raw": (bytes(range(32)), bytes(range(32))),
            "empty": (b"", b""),
        }[form]
        (tmp_path / "key").write_bytes(content)
        arguments = ("attest", *options, "--public-key", str(tmp_path / "key"))
        assert tool.run(*arguments, "--user-data", "c0de", "--output", "json") == 0, tool.err
        assert decode_base64(attesting.asked[-1]["PublicKey"]) == key
        shown = json.loads(tool.out)
        assert (shown["PublicKey"], shown["PublicKeyChecked"]) == (key.hex(), True)
        assert bytes.fromhex(shown["UserData"]) == b"deliver=reply key=caller\n\xc0\xde"
        attesting.relay = without("PublicKey")
        assert tool.run(*arguments) == 1
        assert "public_key: not the expected public key" in tool.err

    def test_key_that_somebody_put_in_on_the_way_is_refused(
        self, tool: Tool, options: list[str], attesting: Enclave
    ) -> None:
        attesting.relay = with_fields(PublicKey=encode_base64(b"the relay's key"))
        assert tool.run("attest", *options) == 1
        assert "public_key: not the enclave's own key, but one from a caller" in tool.err

    @pytest.mark.parametrize("nonce", ["", "00", "ab" * 1_024])
    def test_nonce_of_0_to_1024_bytes_is_asked_for_and_compared(
        self, tool: Tool, options: list[str], attesting: Enclave, nonce: str
    ) -> None:
        assert tool.run("attest", *options, "--nonce", nonce, "--output", "json") == 0, tool.err
        assert json.loads(tool.out)["Nonce"] == nonce
        attesting.relay = without("Nonce")
        assert tool.run("attest", *options, "--nonce", nonce) == 1
        assert "nonce: the document has no nonce" in tool.err

    @pytest.mark.parametrize("option", ["--nonce", "--user-data"])
    def test_one_byte_more_than_a_document_holds_is_a_mistake_of_usage(
        self, tool: Tool, options: list[str], attesting: Enclave, option: str
    ) -> None:
        assert tool.run("attest", *options, option, "00" * 1_025) == 2
        assert f"{option}: expected at most 1024 bytes, got 1025" in tool.err
        assert attesting.asked == []

    def test_measurement_by_option_is_compared(self, tool: Tool, options: list[str]) -> None:
        assert tool.run("attest", *options, "--pcr", f"0={PCRS[0].hex()}", "--pcr", f"4={PCRS[4].hex().upper()}") == 0
        assert b"PCR0, PCR4" in tool.out
        assert tool.run("attest", *options, "--pcr", f"4={PCRS[0].hex()}") == 1
        assert "attestation document: PCR4: expected" in tool.err

    def test_empty_fields_are_shown_as_empty(self, tool: Tool, options: list[str], attesting: Enclave) -> None:
        attesting.key = b""
        assert tool.run("attest", *options, "--nonce", "", "--user-data", "", "--bare-user-data") == 0
        assert [line for line in tool.out.decode().splitlines() if "empty" in line] == [
            "public key  empty",
            "user data   empty (the one expected)",
            "nonce       empty (the one expected)",
        ]


class TestClock:
    """A certificate is valid from the moment it is issued, 3 s before the document here."""

    @pytest.mark.parametrize(("ahead_s", "more"), [(5, ()), (290, ()), (900, ("--leeway", "1000")), (-600, ())])
    def test_document_within_the_leeway_is_accepted(
        self, tool: Tool, options: list[str], attesting: Enclave, ahead_s: int, more: tuple[str, ...]
    ) -> None:
        attesting.ahead = timedelta(seconds=ahead_s)
        assert tool.run("attest", *options, *more) == 0, tool.err

    @pytest.mark.parametrize(
        ("ahead_s", "leeway", "slow_by"),
        [(600, "300", "10 min"), (11_220, "300", "3 h 7 min"), (60, "30", "1 min"), (61, "0", "1 min 1 s")],
    )
    def test_document_beyond_it_is_refused_with_what_the_clock_seems_to_be_slow_by(
        self, tool: Tool, attesting: Enclave, *, options: list[str], ahead_s: int, leeway: str, slow_by: str
    ) -> None:
        attesting.ahead = timedelta(seconds=ahead_s)
        assert tool.run("attest", *options, "--leeway", leeway) == 1
        assert "certificate: expected a certificate valid at " in tool.err
        assert f"hint: this clock seems to be slow by {slow_by}: set it, or allow for that with --leeway" in tool.err

    def test_document_of_long_ago_is_refused_without_an_option_that_attest_lacks(
        self, tool: Tool, options: list[str], attesting: Enclave
    ) -> None:
        attesting.ahead = timedelta(hours=-5)
        assert tool.run("attest", *options) == 1
        assert "hint: it was made 5 h ago by this clock: the clock is fast, or the enclave sent an" in tool.err
        assert "--at" not in tool.err

    def test_document_older_than_the_maximum_age_is_refused(
        self, tool: Tool, options: list[str], attesting: Enclave
    ) -> None:
        assert tool.run("attest", *options, "--max-age", "60", "--output", "json") == 0
        assert json.loads(tool.out)["MaxAgeS"] == 60
        attesting.ahead = timedelta(minutes=-2)
        assert tool.run("attest", *options, "--max-age", "60") == 1
        assert "timestamp: expected a document made at most 1 min before" in tool.err


def test_document_is_saved_even_when_it_fails(
    tool: Tool, options: list[str], attesting: Enclave, tmp_path: Path
) -> None:
    attesting.relay = without("UserData")
    saved = tmp_path / "document"
    assert tool.run("attest", *options, "--user-data", "c0de", "--save", str(saved)) == 1
    assert parse_unverified_document(saved.read_bytes()).user_data == b"deliver=reply\n"
    attesting.relay = dict
    assert tool.run("attest", *options, "--user-data", "c0de", "--save", str(saved)) == 0
    assert parse_unverified_document(saved.read_bytes()).user_data == b"deliver=reply\n\xc0\xde"
