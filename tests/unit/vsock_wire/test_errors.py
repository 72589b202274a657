from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsock_wire.errors import (
    PEER_TEXT_CHARS,
    CredentialsError,
    ExitCode,
    InputError,
    ToolError,
    TransportError,
    WireError,
    printable,
    quoted,
)

any_text = st.text(st.characters(), max_size=100)


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (ToolError("x"), 1),
        (InputError("x"), 2),
        (WireError("x"), 1),
        (TransportError("connect to", "unix:/x", "refused"), 3),
        (CredentialsError("x"), 4),
    ],
)
def test_each_error_has_its_exit_code(error: ToolError, exit_code: int) -> None:
    assert error.exit_code == exit_code


def test_exit_codes_are_those_of_the_manual() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "DONE": 0,
        "FAILED": 1,
        "USAGE": 2,
        "UNREACHABLE": 3,
        "NO_CREDENTIALS": 4,
        "REFUSED": 5,
        "INTERRUPTED": 130,
        "CLOSED_PIPE": 141,
    }


def test_transport_error_names_operation_and_address() -> None:
    error = TransportError("connect to", "vsock://16:3000", "no answer", hint="look")
    assert (str(error), error.operation, error.address, error.hint) == (
        "connect to vsock://16:3000: no answer",
        "connect to",
        "vsock://16:3000",
        "look",
    )
    assert error.reason == "no answer"


def test_credentials_error_names_provider_and_variable_where_there_is_one() -> None:
    error = CredentialsError("environment: half", provider="environment", variable="AWS_SECRET_ACCESS_KEY", hint="set")
    assert (str(error), error.provider, error.variable, error.hint) == (
        "environment: half",
        "environment",
        "AWS_SECRET_ACCESS_KEY",
        "set",
    )
    assert (CredentialsError("none").provider, CredentialsError("none").variable) == (None, None)


class TestPrintable:
    @given(any_text)
    def test_result_can_neither_control_a_terminal_nor_break_a_line(self, text: str) -> None:
        assert printable(text).isprintable()

    @given(any_text)
    def test_leaves_printable_text_as_it_is(self, text: str) -> None:
        assert printable(printable(text)) == printable(text)

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("plain text, \u00e9\u4e2d", "plain text, \u00e9\u4e2d"),
            ("a\nb\r\t", "a\\nb\\r\\t"),
            ("\x1b[2J\x07\x00", "\\x1b[2J\\x07\\x00"),
            ("\x9b31m\x7f", "\\x9b31m\\x7f"),
            ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),
            ("\u2028\u2029", "\\u2028\\u2029"),
            ("\ud800", "\\ud800"),
            ("\U000e0041", "\\U000e0041"),
        ],
    )
    def test_escapes_what_is_not_printable(self, text: str, shown: str) -> None:
        assert printable(text) == shown


class TestQuoted:
    def test_does_not_truncate_text_at_the_limit(self) -> None:
        assert quoted("x" * PEER_TEXT_CHARS) == '"' + "x" * PEER_TEXT_CHARS + '"'

    def test_truncates_longer_text_visibly(self) -> None:
        assert quoted("x" * (PEER_TEXT_CHARS + 1)) == '"' + "x" * PEER_TEXT_CHARS + '..."'

    @given(any_text)
    def test_is_printable(self, text: str) -> None:
        assert quoted(text).isprintable()
