from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nitro_attestation import quoting
from vsock_wire import errors


@given(st.text(st.characters()))
def test_untrusted_text_is_quoted_as_the_tools_quote_it(text: str) -> None:
    assert quoting.printable(text) == errors.printable(text)
    assert quoting.quoted(text) == errors.quoted(text)
    assert quoting.printable(text).isprintable()


@pytest.mark.parametrize(
    ("text", "shown"), [("a\n\x1b[2J", r'"a\n\x1b[2J"'), ("x" * 65, f'"{"x" * 64}..."'), ("\u202e", r'"\u202e"')]
)
def test_control_characters_are_escaped_and_long_text_is_truncated(text: str, shown: str) -> None:
    assert quoting.quoted(text) == shown
