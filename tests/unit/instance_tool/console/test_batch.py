from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from instance_tool.client.client import EnclaveClient
from instance_tool.console.batch import decrypt_lines
from instance_tool.console.output import OutputFormat
from instance_tool.errors import EnclaveError
from tests.support.enclave.scripted_enclave import Conversation, Message, Peer, ScriptedEnclave
from tests.support.kms.decrypting import decrypt_request
from vsock_wire.errors import ExitCode, InputError, ToolError, TransportError
from vsock_wire.net.address import UnixAddress
from vsock_wire.protocol.json_codec import decode_base64, encode_base64
from vsock_wire.protocol.kms_operations import KmsRequest
from vsock_wire.protocol.messages import Credentials
from vsock_wire.protocol.vocabulary import MAX_IN_FLIGHT

CREDENTIALS = Credentials("AKIDEXAMPLE", "theSecret")


class Reversing(Conversation):
    """Returns each ciphertext reversed, and an error for those that start with "bad"."""

    def _decrypt(self, peer: Peer, request: Message) -> None:
        ciphertext = decode_base64(request["Ciphertext"])
        if not ciphertext.startswith(b"bad"):
            self.plaintexts[request["Ciphertext"]] = encode_base64(ciphertext[::-1])
        super()._decrypt(peer, request)


class Outcome:
    def __init__(self) -> None:
        self.out = io.BytesIO()
        self.reports: list[tuple[int, ToolError]] = []
        self.failed = 0

    @property
    def lines(self) -> list[bytes]:
        return self.out.getvalue().splitlines()


def run(
    enclave: ScriptedEnclave,
    lines: Iterable[bytes | InputError],
    output_format: OutputFormat = OutputFormat.RAW,
    template: KmsRequest = decrypt_request(b""),  # noqa: B008 - frozen
) -> Outcome:
    outcome = Outcome()
    with EnclaveClient(enclave.address, timeout_s=10) as client:
        client.set_credentials(CREDENTIALS, None)
        outcome.failed = decrypt_lines(
            client,
            lines,
            template,
            output_format=output_format,
            write_to=outcome.out,
            report=lambda number, error: outcome.reports.append((number, error)),
        )
    return outcome


def line(text: str) -> bytes:
    return encode_base64(text.encode()).encode() + b"\n"


@pytest.mark.parametrize("is_c", [False, True])
def test_three_bad_lines_in_two_hundred_leave_the_others_on_their_lines(short_dir: Path, *, is_c: bool) -> None:
    lines: list[bytes | InputError] = [line(f"{number:03}") for number in range(1, 201)]
    lines[16], lines[98], lines[199] = b"no base64!\n", line("bad one"), InputError("CIPHERTEXT: too long")
    conversation = Reversing(is_c=is_c)
    with ScriptedEnclave(short_dir, conversation) as enclave:
        outcome = run(enclave, lines)
    bad = (17, 99, 200)
    assert outcome.lines == [b"" if number in bad else f"{number:03}"[::-1].encode() for number in range(1, 201)]
    assert [number for number, _ in outcome.reports] == [17, 99, 200]
    assert [type(error) for _, error in outcome.reports] == [InputError, EnclaveError, InputError]
    assert outcome.failed == 3
    assert enclave.connections == (198 if is_c else 1)


def test_fields_of_the_template_go_into_every_request(short_dir: Path) -> None:
    conversation = Reversing(is_c=False)
    with ScriptedEnclave(short_dir, conversation) as enclave:
        run(enclave, [line("a"), line("b")], template=decrypt_request(b"", {"n": "v"}, "key"))
    decrypts = [request for _, request in conversation.requests if request["Operation"] == "Decrypt"]
    assert [(request["EncryptionContext"], request["KeyId"]) for request in decrypts] == [({"n": "v"}, "key")] * 2


def test_json_output_names_the_line_and_has_its_result_or_its_error(short_dir: Path) -> None:
    with ScriptedEnclave(short_dir, Reversing(is_c=False)) as enclave:
        outcome = run(enclave, [b"?\n", line("ab"), line("bad one")], OutputFormat.JSON)
    first, second, third = map(json.loads, outcome.lines)
    assert first["Error"].startswith("CIPHERTEXT: ")
    assert (first["Line"], first["Code"]) == (1, "InvalidInput")
    assert second == {"Line": 2, "Plaintext": "YmE=", "KeyId": "key-arn", "EncryptionAlgorithm": "SYMMETRIC"}
    assert third["Error"].startswith("Could not decrypt ciphertext")
    assert (third["Line"], third["Code"]) == (3, outcome.reports[1][1].reply.code)  # type: ignore[attr-defined] # an EnclaveError


def test_ciphertext_as_wide_as_a_wrapped_line_is_decrypted_and_a_part_of_one_is_named(short_dir: Path) -> None:
    whole, part = line("w" * 57), line("bad" * 19)
    assert len(whole) == len(part) == 77
    with ScriptedEnclave(short_dir, Reversing(is_c=False)) as enclave:
        outcome = run(enclave, [whole, part, b"AQ\n", whole])
    assert outcome.lines == [b"w" * 57, b"", b"\1", b"w" * 57]
    (report,) = outcome.reports
    assert (report[0], str(report[1])) == (2, "CIPHERTEXT: a part of base64 that is wrapped into several lines")


@pytest.mark.parametrize("output_format", [OutputFormat.RAW, OutputFormat.BASE64])
def test_failed_line_is_empty_in_the_output(short_dir: Path, output_format: OutputFormat) -> None:
    with ScriptedEnclave(short_dir, Reversing(is_c=False)) as enclave:
        outcome = run(enclave, [b"\n", line("ab"), b"?\n"], output_format)
    assert outcome.out.getvalue() == b"\n%s\n\n" % (b"ba" if output_format is OutputFormat.RAW else b"YmE=")


def test_plaintext_with_a_line_break_is_a_failed_line(short_dir: Path) -> None:
    with ScriptedEnclave(short_dir, Reversing(is_c=False)) as enclave:
        outcome = run(enclave, [line("a\nb"), line("cd")])
    assert (outcome.lines, outcome.failed) == ([b"", b"dc"], 1)


def test_empty_input_succeeds(short_dir: Path) -> None:
    with ScriptedEnclave(short_dir, Reversing(is_c=False)) as enclave:
        outcome = run(enclave, [])
    assert (outcome.failed, outcome.reports, outcome.out.getvalue()) == (0, [], b"")


def test_refused_credentials_fail_the_batch_and_not_a_line(short_dir: Path) -> None:
    def refuse(peer: Peer) -> None:
        while peer.receive() is not None:
            peer.send({"Status": "Error", "Message": "Could not set region correctly, check configuration."})

    with ScriptedEnclave(short_dir, refuse) as enclave, pytest.raises(EnclaveError, match=r"^Could not set region"):
        run(enclave, [line("a"), line("b")])


def test_each_result_is_written_before_the_next_line_is_read(short_dir: Path) -> None:
    outcome = Outcome()

    def lines() -> Iterable[bytes | InputError]:
        yield line("ab")
        assert outcome.out.getvalue() == b"ba\n"
        yield line("cd")

    with ScriptedEnclave(short_dir, Reversing(is_c=False)) as enclave, EnclaveClient(enclave.address) as client:
        client.set_credentials(CREDENTIALS, None)
        decrypt_lines(
            client,
            lines(),
            decrypt_request(b""),
            output_format=OutputFormat.RAW,
            write_to=outcome.out,
            report=lambda *_: pytest.fail("reported"),
        )
    assert outcome.out.getvalue() == b"ba\ndc\n"


def test_broken_connection_costs_one_line_at_most(short_dir: Path) -> None:
    conversation = Reversing(is_c=False)

    def break_on_second(peer: Peer) -> None:
        if peer.number > 1:
            conversation(peer)
            return
        peer.receive()
        peer.send({"Status": "Ok", "Protocol": 2, "Delivery": "reply"})
        peer.receive()
        peer.send({"Status": "Ok", "Message": "Zmlyc3Q="})
        peer.receive()

    with ScriptedEnclave(short_dir, break_on_second) as enclave:
        outcome = run(enclave, [line("a"), line("b1"), line("c1")])
    assert outcome.lines[0] == b"first"
    assert outcome.lines[-1] == b"1c"
    assert outcome.failed <= 1
    assert all(isinstance(error, TransportError) for _, error in outcome.reports)


def test_missing_enclave_fails_the_batch_and_not_a_line(short_dir: Path) -> None:
    client = EnclaveClient(UnixAddress(str(short_dir / "nobody")))
    client.set_credentials(CREDENTIALS, None)
    with pytest.raises(TransportError, match=r"^connect to unix:.*nobody: no such file or directory$"):
        decrypt_lines(
            client,
            [line("a")],
            decrypt_request(b""),
            output_format=OutputFormat.RAW,
            write_to=io.BytesIO(),
            report=lambda *_: pytest.fail("reported"),
        )


def test_lost_enclave_ends_the_batch_and_names_the_line(short_dir: Path) -> None:
    outcome = Outcome()
    with ScriptedEnclave(short_dir, Reversing(is_c=False)) as enclave:
        client = EnclaveClient(enclave.address)
        client.set_credentials(CREDENTIALS, None)

        def lines() -> Iterable[bytes | InputError]:
            yield line("a")
            yield b"?\n"
            enclave.stop()
            yield line("b")
            yield line("c")

        with client, pytest.raises(TransportError) as caught:
            decrypt_lines(
                client,
                lines(),
                decrypt_request(b""),
                output_format=OutputFormat.RAW,
                write_to=outcome.out,
                report=lambda number, error: outcome.reports.append((number, error)),
            )
    assert str(caught.value).startswith("line 3 and all later lines have no result: connect to unix:")
    assert str(caught.value).endswith(": connection refused")
    assert caught.value.exit_code is ExitCode.UNREACHABLE
    assert caught.value.hint is not None
    assert [number for number, _ in outcome.reports] == [2]
    assert outcome.lines == [b"a", b""]


class Swapping(Conversation):
    """Waits for ``count`` Decrypts, and answers the last one first."""

    def __init__(self, count: int) -> None:
        super().__init__(is_c=False)
        self._count = count
        self._held: list[Message] = []
        self.most_under_way = 0

    def _decrypt(self, peer: Peer, request: Message) -> None:
        self._held.append(request)
        self.most_under_way = max(self.most_under_way, len(self._held))
        if len(self._held) == self._count:
            while self._held:
                held = self._held.pop()
                self.plaintexts[held["Ciphertext"]] = encode_base64(decode_base64(held["Ciphertext"])[::-1])
                super()._decrypt(peer, held)


def run_ahead(enclave: ScriptedEnclave, lines: list[bytes | InputError]) -> Outcome:
    """Run a batch whose lines are all available from the start."""
    outcome = Outcome()
    with EnclaveClient(enclave.address, timeout_s=10) as client:
        client.set_credentials(CREDENTIALS, None)
        outcome.failed = decrypt_lines(
            client,
            lines,
            decrypt_request(b""),
            output_format=OutputFormat.RAW,
            write_to=outcome.out,
            report=lambda number, error: outcome.reports.append((number, error)),
            is_ready=lambda: True,
        )
    return outcome


class TestAhead:
    def test_results_are_in_the_order_of_the_lines_whatever_the_order_of_the_replies(self, short_dir: Path) -> None:
        conversation = Swapping(8)
        with ScriptedEnclave(short_dir, conversation) as enclave:
            # the first line is sent alone: nothing is sent ahead before the credentials
            outcome = run_ahead(enclave, [line(f"{number:03}") for number in range(160)])
        assert outcome.lines == [f"{number:03}"[::-1].encode() for number in range(160)]
        assert conversation.most_under_way == 8

    def test_no_more_than_the_limit_are_pending(self, short_dir: Path) -> None:
        conversation = Swapping(MAX_IN_FLIGHT)
        with ScriptedEnclave(short_dir, conversation) as enclave:
            outcome = run_ahead(enclave, [line(f"{number:03}") for number in range(4 * MAX_IN_FLIGHT)])
        assert len(outcome.lines) == 4 * MAX_IN_FLIGHT
        assert conversation.most_under_way == MAX_IN_FLIGHT

    def test_errors_and_unreadable_lines_stay_with_their_numbers(self, short_dir: Path) -> None:
        lines: list[bytes | InputError] = [line(f"{number:03}") for number in range(1, 101)]
        lines[16], lines[98], lines[99] = b"no base64!\n", line("bad one"), InputError("CIPHERTEXT: too long")
        with ScriptedEnclave(short_dir, Reversing(is_c=False)) as enclave:
            outcome = run_ahead(enclave, lines)
        assert [number for number, _ in outcome.reports] == [17, 99, 100]
        bad = (17, 99, 100)
        assert outcome.lines == [b"" if number in bad else f"{number:03}"[::-1].encode() for number in range(1, 101)]

    def test_a_broken_connection_costs_none_of_many_pending_requests(self, short_dir: Path) -> None:
        class Breaking(Reversing):
            def _decrypt(self, peer: Peer, request: Message) -> None:
                if len(self.requests) == 10:
                    raise ConnectionResetError
                super()._decrypt(peer, request)

        with ScriptedEnclave(short_dir, Breaking(is_c=False)) as enclave:
            outcome = run_ahead(enclave, [line(f"{number:03}") for number in range(100)])
            assert enclave.connections == 2
        assert outcome.lines == [f"{number:03}"[::-1].encode() for number in range(100)]
        assert outcome.reports == []

    def test_a_reply_with_an_unknown_id_is_refused_and_yields_no_plaintext(self, short_dir: Path) -> None:
        class Confused(Reversing):
            def _decrypt(self, peer: Peer, request: Message) -> None:
                is_fifth = request["Ciphertext"] == encode_base64(b"005")
                super()._decrypt(peer, {**request, "Id": "another"} if is_fifth else request)

        with ScriptedEnclave(short_dir, Confused(is_c=False)) as enclave:
            outcome = run_ahead(enclave, [line(f"{number:03}") for number in range(1, 9)])
        assert [number for number, _ in outcome.reports] == [5]
        assert "the Id does not belong to any pending request" in str(outcome.reports[0][1])
        assert outcome.lines == [b"" if number == 5 else f"{number:03}"[::-1].encode() for number in range(1, 9)]

    def test_legacy_enclaves_get_one_request_at_a_time(self, short_dir: Path) -> None:
        conversation = Reversing(is_c=True)
        with ScriptedEnclave(short_dir, conversation) as enclave:
            outcome = run_ahead(enclave, [line(f"{number:03}") for number in range(20)])
        assert len(outcome.lines) == 20
        assert conversation.operations == [(n, name) for n in range(1, 21) for name in ("SetClient", "Decrypt")]
