"""``verify`` as a process, with documents of the simulator, and of real enclaves if their folder exists."""

from __future__ import annotations

import json
import subprocess
import textwrap
from pathlib import Path

import pytest

from nitro_simulator.deployment import processes
from tests.support.attestation import odd_certificates
from tests.support.attestation.documents import PCRS, make_document, measurements, root_pem
from tests.support.vectors import real_vectors
from vsock_wire.protocol.json_codec import encode_base64


def _verify(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return processes.run_instance(["verify", *arguments], environment={}, stdin=stdin)


@pytest.fixture
def simulated(tmp_path: Path) -> list[str]:
    (tmp_path / "root.pem").write_bytes(root_pem())
    (tmp_path / "measurements.json").write_text(json.dumps(measurements()))
    return ["--root", str(tmp_path / "root.pem"), "--expect", str(tmp_path / "measurements.json")]


def test_document_of_the_simulator_is_verified_from_standard_input(simulated: list[str]) -> None:
    document = make_document(nonce=b"\x0a\x0b", user_data=b"deliver=reply")
    for stdin in (document, encode_base64(document).encode()):
        done = _verify("-", "--nonce", "0a0b", *simulated, stdin=stdin)
        assert (done.returncode, done.stderr) == (0, b"")
        assert f"PCR0        {PCRS[0].hex()}\n".encode() in done.stdout
        assert b'"deliver=reply"' in done.stdout


def test_document_of_another_image_names_the_pcr_and_both_values(simulated: list[str]) -> None:
    done = _verify("-", *simulated, stdin=make_document(pcrs=PCRS | {0: b"\x01" * 48}))
    assert (done.returncode, done.stdout) == (1, b"")
    assert f"PCR0: expected {PCRS[0].hex()}, got {'01' * 48}".encode() in done.stderr


def test_document_in_debug_mode_gets_a_loud_warning(simulated: list[str]) -> None:
    root_only = simulated[:2]
    done = _verify("-", *root_only, stdin=make_document(debug=True))
    assert done.returncode == 0
    assert b"kmstool-instance: warning: THE ENCLAVE RUNS IN DEBUG MODE" in done.stderr
    done = _verify("-", *simulated, stdin=make_document(debug=True))
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"THE ENCLAVE RUNS IN DEBUG MODE" in done.stderr


def test_simulated_document_does_not_verify_as_a_real_one(simulated: list[str]) -> None:
    done = _verify("-", *simulated[2:], stdin=make_document())
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"cabundle[0]" in done.stderr


def test_real_document_verifies_at_its_own_time_but_not_today() -> None:
    for name, module_id in (
        ("veracruz_aws_nitro_document.cbor", "i-04fd167167daacf3b-enc01845e97d0b3eb4e"),
        ("evervault_debug_document.cbor", "i-03ad7cdb817437eeb-enc0183cc7569b3f6e1"),
    ):
        for (document,) in real_vectors(name):
            done = _verify("-", "--at", "document", "--output", "json", stdin=document)
            assert done.returncode == 0
            assert json.loads(done.stdout)["ModuleId"] == module_id
            assert (b"DEBUG MODE" in done.stderr) is name.startswith("evervault")
            late = _verify("-", stdin=document)
            assert (late.returncode, late.stdout) == (1, b"")
            assert b"expected a certificate valid at" in late.stderr
            assert b"--at document" in late.stderr


def test_real_document_with_a_broken_signature_is_refused() -> None:
    for (document,) in real_vectors("veracruz_aws_nitro_document_bad_sig.cbor"):
        done = _verify("-", "--at", "document", stdin=document)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"attestation document: signature: " in done.stderr


def test_missing_file_is_an_error_and_no_traceback() -> None:
    done = _verify("/nonexistent/document.cbor")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"kmstool-instance: error: document: /nonexistent/document.cbor: no such file or directory\n"


def test_hexadecimal_document_is_verified_from_a_file_and_from_standard_input(
    simulated: list[str], tmp_path: Path
) -> None:
    document = make_document(user_data=b"", nonce=bytes(1_024), public_key=b"")
    for text in (document.hex(), "0x" + document.hex().upper(), "\n".join(textwrap.wrap(document.hex(), 64))):
        (tmp_path / "document").write_text(text)
        for done in (_verify(str(tmp_path / "document"), *simulated), _verify("-", *simulated, stdin=text.encode())):
            assert (done.returncode, done.stderr) == (0, b"")
            assert b"public key  empty\nuser data   empty\n" in done.stdout


def test_file_without_a_document_in_any_form_is_refused(simulated: list[str]) -> None:
    unknown_form, other_content = b"not CBOR, hexadecimal or base64 text", b"the text is not an attestation document"
    for stdin, what in ((b"{}", unknown_form), (b"\x89PNG", unknown_form), (b"QUJD", other_content)):
        done = _verify("-", *simulated, stdin=stdin)
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"document: " + what in done.stderr


@pytest.mark.parametrize("filters", ["always", "default", "error"])
def test_no_warning_of_python_reaches_standard_error(tmp_path: Path, filters: str) -> None:
    (tmp_path / "root.pem").write_bytes(odd_certificates.root_pem())
    for name, document in odd_certificates.odd_documents().items():
        if name not in ("serial 0", "country of many letters", "generalized times"):
            continue
        arguments = ["verify", "-", "--root", str(tmp_path / "root.pem")]
        done = processes.run_instance(arguments, environment={"PYTHONWARNINGS": filters}, stdin=document)
        lines = done.stderr.decode().splitlines()
        assert [line for line in lines if not line.startswith(("kmstool-instance: error: ", "hint: "))] == [], name
