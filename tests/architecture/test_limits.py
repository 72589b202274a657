"""The limits in docs/reference/limits.md: each value is the one in the code, and each named test exists."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import cbor2
import pytest

from enclave_tool.nsm.codec import decode_attestation_response, encode_attestation_request
from nitro_attestation.document import payload
from nitro_attestation.document.cose import parse_unverified_document
from nitro_simulator.nsm.authority import AttestationAuthority
from nitro_simulator.nsm.service import SimulatedNsm
from tests.support.project.packages import source_files
from vsock_wire.protocol import attestation

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/reference/limits.md").read_text("utf-8")
VALUES = re.findall(r"^\| ([\d,.]+) .* `([\w.]+:[\w.]+)` \|$", TEXT, re.MULTILINE)
TESTS = dict(re.findall(r"^\| `([\w.]+:[\w.]+)` \| `(tests/[^`]+)` \|$", TEXT, re.MULTILINE))


def test_table_is_read() -> None:
    assert len(VALUES) > 25
    assert [name for _, name in VALUES] == list(TESTS)


@pytest.mark.parametrize(("value", "limit"), VALUES, ids=lambda text: text)
def test_row_matches_the_code_and_names_a_test(value: str, limit: str) -> None:
    module, _, name = limit.partition(":")
    number: Any = importlib.import_module(module)
    for part in name.split("."):
        number = getattr(number, part)
    assert float(value.replace(",", "")) == number
    path, *parts = TESTS[limit].split("::")
    scope: list[ast.stmt] = ast.parse((ROOT / path).read_text("utf-8")).body
    for part in parts:
        found = [node for node in scope if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == part]
        assert found, f"no {part}"
        scope = found[0].body


class TestBytesOfAttestedFields:
    """user_data, nonce and public_key of a document have one constant on each side of an import boundary, all equal."""

    FACTS = ROOT.parent / "shared" / "FACTS.md"
    DEFINITION = re.compile(r"^(MAX_\w*(?:ATTESTED|NONCE|USER_DATA)\w*) = ", re.MULTILINE)

    def test_is_defined_once_for_the_tools_and_once_for_the_library(self) -> None:
        found = {
            f"{path.relative_to(ROOT)}:{name}"
            for path in source_files()
            for name in self.DEFINITION.findall(path.read_text("utf-8"))
        }
        assert found == {
            "nitro_attestation/document/payload.py:MAX_ATTESTED_BYTES",
            "vsock_wire/protocol/attestation.py:MAX_ATTESTED_BYTES",
        }

    def test_is_the_same_for_both(self) -> None:
        assert payload.MAX_ATTESTED_BYTES == attestation.MAX_ATTESTED_BYTES == 1_024

    @pytest.mark.parametrize("page", ["operate", "verify-attestation", "verify-from-python"])
    def test_matches_the_documentation(self, page: str) -> None:
        text = (ROOT / f"docs/how-to/{page}.md").read_text("utf-8")
        assert "1,024 bytes each" in text
        assert "512 bytes each" not in text

    def test_is_what_the_simulated_module_and_the_codec_accept(self) -> None:
        nsm = SimulatedNsm(AttestationAuthority.create(), module_id="i-0-enc0")
        for name, field in (("nonce", "nonce"), ("user_data", "user_data"), ("public_key_der", "public_key")):
            largest = bytes(attestation.MAX_ATTESTED_BYTES)
            answer = nsm.answer(encode_attestation_request(**{name: largest}))
            document = parse_unverified_document(decode_attestation_response(answer))
            assert getattr(document, name) == largest
            with pytest.raises(ValueError, match="at most 1024 bytes, got 1025"):
                encode_attestation_request(**{name: largest + b"\0"})
            refused = nsm.answer(cbor2.dumps({"Attestation": {field: largest + b"\0"}}))
            assert cbor2.loads(refused) == {"Error": "InputTooLarge"}

    def test_matches_the_recorded_fact(self) -> None:
        if self.FACTS.exists():
            assert "user_data, nonce and public_key <= 1,024 bytes each" in self.FACTS.read_text("utf-8")
