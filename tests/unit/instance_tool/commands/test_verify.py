"""Options, files and verdicts of the verify command, in this process; tests/system runs it as a process."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from instance_tool.commands.verify import parse_time
from instance_tool.main import command
from nitro_attestation.document.cose import AWS_NITRO_ROOT_SHA256
from nitro_attestation.errors import AttestationError
from tests.support.attestation.documents import PCRS, SIGNED_PCRS, make_document, measurements, root_pem
from tests.support.vectors import real_vectors
from vsock_wire.errors import InputError, ToolError
from vsock_wire.protocol.json_codec import encode_base64

OLD = datetime.now(UTC) - timedelta(hours=4)


@pytest.fixture
def root(tmp_path: Path) -> str:
    (tmp_path / "root.pem").write_bytes(root_pem())
    return str(tmp_path / "root.pem")


def _verify(tmp_path: Path, document: bytes, *options: str) -> None:
    (tmp_path / "document").write_bytes(document)
    command(args=["verify", str(tmp_path / "document"), *options], prog_name="kmstool-instance", standalone_mode=False)


def _expect(tmp_path: Path, pcrs: dict[int, bytes]) -> list[str]:
    (tmp_path / "measurements.json").write_text(json.dumps(measurements(pcrs)))
    return ["--expect", str(tmp_path / "measurements.json")]


def test_document_of_a_known_image_is_verified(tmp_path: Path, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = make_document(pcrs=SIGNED_PCRS, nonce=b"\xab\xcd")
    _verify(tmp_path, document, "--root", root, "--nonce", "ABCD", *_expect(tmp_path, SIGNED_PCRS))
    out, err = capsys.readouterr()
    assert "PCR0, PCR1, PCR2, PCR8" in out
    assert "abcd (the one expected)" in out
    assert err == ""


def test_base64_document_from_standard_input_is_verified(
    root: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = encode_base64(make_document()).encode() + b"\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    arguments = ["verify", "-", "--root", root, "--output", "json"]
    command(args=arguments, prog_name="kmstool-instance", standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["Verified"] is True


def test_document_under_another_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolError) as error:
        _verify(tmp_path, make_document())
    assert isinstance(error.value.__cause__, AttestationError)
    assert error.value.__cause__.field == "cabundle[0]"
    assert AWS_NITRO_ROOT_SHA256.hex() in str(error.value)


def test_document_of_another_image_is_refused_and_nothing_is_printed(
    tmp_path: Path, root: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ToolError, match=f"PCR0: expected {PCRS[0].hex()}, got {'01' * 48}"):
        _verify(tmp_path, make_document(pcrs={0: b"\x01" * 48}), "--root", root, *_expect(tmp_path, PCRS))
    assert capsys.readouterr().out == ""


def test_debug_mode_gets_a_loud_warning(tmp_path: Path, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    _verify(tmp_path, make_document(debug=True), "--root", root)
    out, err = capsys.readouterr()
    assert "DEBUG" in out
    assert err.startswith("kmstool-instance: warning: THE ENCLAVE RUNS IN DEBUG MODE")
    with pytest.raises(ToolError, match="PCR0"):
        _verify(tmp_path, make_document(debug=True), "--root", root, *_expect(tmp_path, PCRS))


@pytest.mark.parametrize("nonce", [None, b"\xab\xce"])
def test_another_nonce_is_refused(tmp_path: Path, root: str, nonce: bytes | None) -> None:
    with pytest.raises(ToolError, match="nonce"):
        _verify(tmp_path, make_document(nonce=nonce), "--root", root, "--nonce", "abcd")


@pytest.mark.parametrize("encoded", [True, False])
def test_real_documents_get_their_verdicts(tmp_path: Path, encoded: bool, capsys: pytest.CaptureFixture[str]) -> None:
    for name, is_debug in (("veracruz_aws_nitro_document", False), ("evervault_debug_document", True)):
        for (document,) in real_vectors(f"{name}.cbor"):
            form = encode_base64(document).encode() if encoded else document
            _verify(tmp_path, form, "--at", "document", "--output", "json")
            out, err = capsys.readouterr()
            assert json.loads(out)["DebugMode"] is is_debug
            assert ("warning" in err) is is_debug
            with pytest.raises(ToolError) as error:
                _verify(tmp_path, form)
            assert "--at document" in (error.value.hint or "")
    for document, root in real_vectors("veracruz_aws_nitro_document.cbor", "veracruz_aws_nitro_root_cert.pem"):
        (tmp_path / "aws.pem").write_bytes(root)
        _verify(tmp_path, document, "--at", "2022-11-09T23:00:00Z", "--root", str(tmp_path / "aws.pem"))
        with pytest.raises(ToolError, match="expected a certificate valid at"):
            _verify(tmp_path, document, "--at", "2022-11-10T23:00:00Z")
    for (document,) in real_vectors("veracruz_aws_nitro_document_bad_sig.cbor"):
        with pytest.raises(ToolError, match="signature") as error:
            _verify(tmp_path, document, "--at", "document")
        assert error.value.hint is None


def test_hint_of_time_comes_only_where_time_is_what_fails(tmp_path: Path, root: str) -> None:
    document = make_document(clock=lambda: datetime.now(UTC))
    with pytest.raises(ToolError, match="certificate") as error:
        _verify(tmp_path, document, "--root", root, "--at", OLD.isoformat())
    assert "--at document" in (error.value.hint or "")
    broken = document[:-1] + bytes([document[-1] ^ 1])
    with pytest.raises(ToolError, match="certificate") as error:
        _verify(tmp_path, broken, "--root", root, "--at", OLD.isoformat())
    assert error.value.hint is None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--nonce", "xy"], "--nonce"),
        (["--nonce", ""], "--nonce"),
        (["--nonce", "ab" * 513], "--nonce"),
        (["--at", "soon"], "--at"),
    ],
)
def test_option_of_another_form_is_refused(tmp_path: Path, options: list[str], named: str) -> None:
    with pytest.raises(InputError, match=named):
        _verify(tmp_path, make_document(), *options)


@pytest.mark.parametrize("pem", [b"", b"not a certificate", root_pem() + root_pem(), b"x" * 70_000])
def test_root_must_be_one_certificate(tmp_path: Path, pem: bytes) -> None:
    (tmp_path / "root.pem").write_bytes(pem)
    with pytest.raises(InputError, match="--root"):
        _verify(tmp_path, make_document(), "--root", str(tmp_path / "root.pem"))


def test_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="document: expected at most"):
        _verify(tmp_path, b"\x84" * 600_000)


def test_standard_input_cannot_be_both_files() -> None:
    with pytest.raises(InputError, match="for both"):
        command(args=["verify", "-", "--expect", "-"], prog_name="kmstool-instance", standalone_mode=False)


@pytest.mark.parametrize("text", ["2025-06-01T12:00:00Z", "2025-06-01T14:00:00+02:00", "2025-06-01 12:00:00+00:00"])
def test_time_with_its_zone_is_read(text: str) -> None:
    assert parse_time(text) == datetime(2025, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "yesterday", "2025-06-01T12:00:00", "2025-06-01", "1748779200"])
def test_time_without_zone_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--at"):
        parse_time(text)
