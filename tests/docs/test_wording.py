"""The check of words and phrases: that it finds what is planted, and leaves plain English alone."""

from __future__ import annotations

import pytest

from tests.support.project.packages import ROOT
from tools.wording import RULES, find_faults, texts


@pytest.mark.parametrize(
    "text",
    [
        "expected AWS_SECRET_ACCESS_KEY beside its partner",
        "a time-out of 3 s",
        "Behind the first failure, the other lines go on",
        "made anew",
        "whoever asks first",
        "Wait so long for the enclave.",
        "at most so many clients",
        "the root of this room's errors",
        "Verified are the signature and the chain",
        "tells of its steps",
        "expected it to be open, got it closed",
        "it is no base64",
        "used in place of AWS's",
        "fetched from crates.io",
        "an old peer",
    ],
)
def test_phrase_that_reads_as_translated_is_found(text: str) -> None:
    assert list(find_faults("README.md", text))


@pytest.mark.parametrize(
    "text",
    [
        "KMS behind the proxy",
        "the host behind the vsock-proxy",
        "the clock is 600 s behind KMS's",
        "as long as it takes, and as many as fit",
        "the timeout is no longer needed",
        "there is no second copy",
        "besides the five operations",
        "after the first failure",
    ],
)
def test_plain_english_is_left_alone(text: str) -> None:
    assert [str(fault) for fault in find_faults("README.md", text)] == []


def test_names_in_code_count_as_words() -> None:
    (fault,) = find_faults("tests/unit/test_x.py", "def test_request_is_made_anew() -> None:")
    assert fault.rule.name == "anew"
    assert list(find_faults("README.md", "test_request_is_made_anew")) == []


def test_every_rule_says_what_to_write_instead() -> None:
    assert all(rule.name and rule.instead for rule in RULES)
    assert len({rule.name for rule in RULES}) == len(RULES)


DONE = (
    "vsock_proxy/",
    "nitro_simulator/",
    "bench/",
    "tools/",
    "deploy/",
    "examples/",
    ".ci/",
    "Makefile",
    "CHANGELOG.md",
)
"""Folders and files whose text has been rewritten."""


def test_rewritten_text_stays_free_of_forbidden_phrases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = [str(fault) for path, text in texts() if path.startswith(DONE) for fault in find_faults(path, text)]
    assert found == []
