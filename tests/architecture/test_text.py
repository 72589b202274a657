"""Rules for text that people read: errors, hints, comments and docstrings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.project.literal_texts import UNKNOWN, texts
from tests.support.project.packages import ROOT, source_files
from vsock_wire.protocol.vocabulary import KmstoolText

FORBIDDEN_NAMES = frozenset({"utils.py", "util.py", "common.py", "helpers.py", "helper.py", "misc.py"})
MARKS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
PROPER_NAMES = re.compile(
    r"AES|ARN|AWS|CA bundle|CBOR|CID|CMS|COSE|DNS|EC2|ES384|HTTP|IAM|ID|IMDS|IP|IV|JSON|KMS|MGF1|NSM|Nitro|OAEP|PCR|"
    r"PEM|RSA|SHA|STS|TCP|TLS|UTC|UTF|URL|YAML|X-|[A-Z]+_[A-Z_]+|[A-Z]+:|[A-Z][a-z]+[A-Z]\w*|Id\b|Too many connections"
)
"""What a lower-case text may begin with nevertheless: names, units, fields, arguments."""

SUBJECT = re.compile(r"[A-Z]\w*(?: and [\w-]+)?: |Could not ")
"""The name of a field or argument, or a Message of kmstool's."""

TOOLS = ("vsock_wire", "enclave_tool", "instance_tool", "vsock_proxy")
"""Packages with texts of our own. Many of the simulator's texts are AWS's."""


@pytest.mark.parametrize("path", source_files(*TOOLS), ids=lambda path: str(path.relative_to(ROOT)))
def test_texts_of_errors_are_lower_case_without_a_full_stop(path: Path) -> None:
    kmstools = {str(text) for text in KmstoolText}
    for line, kind, text in texts(path.read_text()):
        if text in kmstools:
            continue
        where = f"line {line}: {kind}: {text}"
        assert not text.rstrip(UNKNOWN).endswith((".", "!", "\n")), where
        assert not text[:1].isupper() or PROPER_NAMES.match(text) or SUBJECT.match(text), where
        assert "\n" not in text, where


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_source_has_no_leftover_marks_and_a_specific_name(path: Path) -> None:
    assert MARKS.findall(path.read_text()) == []
    assert path.name not in FORBIDDEN_NAMES


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_source_mentions_nothing_of_a_developers_machine(path: Path) -> None:
    assert re.findall(r"/home/\w+|/Users/\w+|/root/|/work/", path.read_text()) == []


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_silenced_rule_has_its_reason_next_to_or_above_it(path: Path) -> None:
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        if match := re.search(r"#\s*(?:noqa: [A-Z0-9, ]+|type: ignore\[[\w, -]+\])(.*)$", line):
            above = any(re.search(r"# .*\w+ \w+ \w+", earlier) for earlier in lines[max(0, number - 3) : number])
            assert len(match[1].strip(" -#")) > 5 or above, line


def test_kmstools_texts_are_unchanged() -> None:
    assert {str(text) for text in KmstoolText} == {
        "Could not read credentials",
        "Could not set region correctly, check configuration.",
        "Could not create new client",
        "Client not initialized",
        "Message does not contain a Ciphertext",
        "Ciphertext not a base64 string",
        "Could not decrypt ciphertext",
        "Operation not recognized",
        "Error reading JSON object",
        "JSON is wrong type",
        "JSON structure incomplete",
        "Operation is wrong type",
    }


def test_reader_of_texts_sees_text_and_hint() -> None:
    source = "raise InputError('Bad.', hint=f'Look {here}.')"
    assert list(texts(source)) == [(1, "text", "Bad."), (1, "hint", f"Look {UNKNOWN}.")]
