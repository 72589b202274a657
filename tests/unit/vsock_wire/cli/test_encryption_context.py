from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsock_wire.cli.encryption_context import (
    Entries,
    gather_entries,
    one_pair_hint,
    parse_context_option,
    parse_encryption_context,
)
from vsock_wire.errors import InputError

NOT_UTF_8 = "a=\udcff"


class TestParseContextOption:
    @pytest.mark.parametrize(
        ("text", "entry"),
        [
            ("a=1", ("a", "1")),
            ("a=", ("a", "")),
            ("a=x=y", ("a", "x=y")),
            (" =\u00e9", (" ", "\u00e9")),
            ("A=1,B=2", ("A", "1,B=2")),
            ("{a=1}", ("{a", "1}")),
        ],
    )
    def test_name_ends_at_the_first_equals_sign(self, text: str, entry: tuple[str, str]) -> None:
        assert parse_context_option(text) == (entry,)

    @given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text("a=,\u00e9")))
    def test_json_object_gives_all_its_members(self, context: dict[str, str]) -> None:
        for text in (json.dumps(context), f" {json.dumps(context, ensure_ascii=False, indent=1)} "):
            assert parse_context_option(text) == tuple(context.items())

    @pytest.mark.parametrize("text", ["", "a", "=", "=1", "[]"])
    def test_entry_without_a_name_or_a_value_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"^expected NAME=VALUE, got "):
            parse_context_option(text)

    @pytest.mark.parametrize("text", ["{", "{a:1}", '{"a":"1"', '{"a":"1","a":"2"}'])
    def test_text_that_is_nearly_json_names_both_forms(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"^expected NAME=VALUE or a JSON object of strings, got "):
            parse_context_option(text)

    @pytest.mark.parametrize("text", ['{"a":1}', '{"a":null}', '{"a":{"b":"="}}', '{"":"1"}'])
    def test_json_with_other_values_or_an_empty_name_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"^expected a JSON object of strings, got "):
            parse_context_option(text)

    def test_argument_that_is_not_utf_8_is_refused(self) -> None:
        with pytest.raises(InputError, match=r"^argument: expected UTF-8 text"):
            parse_context_option(NOT_UTF_8)


def test_options_are_gathered_in_their_order() -> None:
    options: list[Entries] = [(("a", "1"),), (), (("b", "2"), ("c", "3"))]
    assert gather_entries(None, None, options) == (("a", "1"), ("b", "2"), ("c", "3"))


class TestParseEncryptionContext:
    def test_entries_become_one_context(self) -> None:
        assert parse_encryption_context((("a", "1"), ("b", ""))) == {"a": "1", "b": ""}
        assert parse_encryption_context(()) == {}

    @pytest.mark.parametrize("second", ["1", "2"])
    def test_name_that_occurs_twice_is_refused(self, second: str) -> None:
        with pytest.raises(InputError, match=r"^--encryption-context: a name is given twice$"):
            parse_encryption_context((("a", "1"), ("a", second)))

    @pytest.mark.parametrize("name", ["kmstool_instance", "/usr/bin/kmstool_enclave_cli"])
    def test_last_value_counts_under_a_c_name(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "argv", [name])
        assert parse_encryption_context((("a", "1"), ("b", "2"), ("a", "3"))) == {"a": "3", "b": "2"}


class TestOnePairHint:
    @pytest.mark.parametrize("code", [None, "InvalidCiphertextException", "AccessDeniedException"])
    def test_pair_that_looks_like_several_shows_both_ways_to_give_several(self, code: str | None) -> None:
        assert one_pair_hint({"x": "y", "A": "1,B=2,C="}, code) == (
            "--encryption-context A=1,B=2,C= was taken as one pair: for several, pass --encryption-context A=1"
            ' --encryption-context B=2 --encryption-context C=, or --encryption-context \'{"A":"1","B":"2","C":""}\''
        )

    @pytest.mark.parametrize("context", [None, {}, {"A": "1"}, {"A": "1,2"}, {"A": "x=y"}, {"A,B": "1"}, {"A": ",=2"}])
    def test_other_contexts_get_none(self, context: object) -> None:
        assert one_pair_hint(context, None) is None

    @pytest.mark.parametrize("code", ["ThrottlingException", "ExpiredTokenException", "NotFoundException"])
    def test_refusal_for_another_reason_gets_none(self, code: str) -> None:
        assert one_pair_hint({"A": "1,B=2"}, code) is None
