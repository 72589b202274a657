"""The check of words and phrases: it finds planted phrases, and accepts plain English."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.support.project.packages import ROOT
from tools.wording import RULES, find_faults, texts

PHRASES = {"beside its partner": "beside", "a time-out of 3 s": "time-out", "from crates.io": "registry host"}
"""What the test plants, and the rule that finds it."""
NOT_CHECKED = {
    *("LICENSE", "tests/docs/test_proofread.py", "tests/docs/test_wording.py", "tools/wording.py"),
    *("deploy/amazon-roots.pem",),
}
"""The license, the files that have to quote forbidden phrases, and certificates."""


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
        "expected JSON, got other text",
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


def test_no_text_of_the_tree_has_a_forbidden_phrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert [str(fault) for path, text in texts() for fault in find_faults(path, text)] == []


def test_phrase_planted_in_any_file_of_the_tree_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    planted = dict(texts())
    for path, text in planted.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text + "".join(f"\n# {phrase}" for phrase in PHRASES), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for command in (["init", "--quiet"], ["add", "--all", "--force"]):
        subprocess.run(["git", *command], check=True)
    found = Counter((fault.path, fault.rule.name) for path, text in texts() for fault in find_faults(path, text))
    assert found == {(path, rule): 1 for path in planted for rule in PHRASES.values()}


def test_only_data_and_text_of_others_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    listed = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True).stdout.splitlines()
    left_out = set(listed) - {path for path, _ in texts()}
    assert {path for path in left_out if not path.startswith(("requirements/", "tests/fuzz/corpus/"))} == NOT_CHECKED
