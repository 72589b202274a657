from __future__ import annotations

import json
import time

import pytest

from nitro_attestation.strict_json import MAX_DEPTH, decode_strict_json


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting_is_taken_up_to_the_limit_and_refused_beyond(opening: str, closing: str) -> None:
    assert decode_strict_json(opening * MAX_DEPTH + "1" + closing * MAX_DEPTH)
    with pytest.raises(ValueError, match=r"^nested deeper than 64$"):
        decode_strict_json(opening * (MAX_DEPTH + 1) + "1" + closing * (MAX_DEPTH + 1))


@pytest.mark.parametrize("text", ["[" * 1_000, "]" * 1_000, '"' + "{" * 1_000, '\\"' + "[" * 1_000, "\\" * 9 + "["])
def test_brackets_in_strings_do_not_count(text: str) -> None:
    deepest = "[" * (MAX_DEPTH - 2) + json.dumps([text, {text: text}]) + "]" * (MAX_DEPTH - 2)
    assert decode_strict_json(deepest)
    with pytest.raises(ValueError, match=r"^nested deeper than 64$"):
        decode_strict_json(f"[{deepest}]")


@pytest.mark.parametrize("text", ['"' + '\\"' * 100_000, '"' * 200_000, '{"a":"' + "[" * 200_000])
def test_string_without_an_end_does_not_cost_quadratic_time(text: str) -> None:
    started = time.thread_time()
    with pytest.raises(ValueError, match=r"^[A-Z]"):
        decode_strict_json(text)
    assert time.thread_time() - started < 2.0  # some milliseconds; quadratic time would be minutes


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '[{"x": {"a": 1, "b": 2, "a": 3}}]'])
def test_member_that_occurs_twice_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^duplicate member in an object$"):
        decode_strict_json(text)
