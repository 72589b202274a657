"""Options, files and verdicts of the verify command, in this process; tests/system runs it as a process."""

from __future__ import annotations

import io
import json
import sys
import textwrap
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from instance_tool.commands.verify import parse_time
from instance_tool.main import command
from nitro_attestation.document.certificates import AWS_NITRO_ROOT_SHA256
from nitro_attestation.errors import AttestationError
from tests.support.attestation.documents import PCRS, SIGNED_PCRS, make_document, measurements, root_pem
from tests.support.instance.verifying import root_file, verify
from tests.support.vectors import real_vectors
from vsock_wire.errors import InputError, ToolError
from vsock_wire.protocol.json_codec import encode_base64

OLD = datetime.now(UTC) - timedelta(hours=4)


@pytest.fixture
def root(tmp_path: Path) -> str:
    return root_file(tmp_path)


def _expect(tmp_path: Path, pcrs: dict[int, bytes]) -> list[str]:
    (tmp_path / "measurements.json").write_text(json.dumps(measurements(pcrs)))
    return ["--expect", str(tmp_path / "measurements.json")]


def test_document_of_a_known_image_is_verified(tmp_path: Path, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = make_document(pcrs=SIGNED_PCRS, nonce=b"\xab\xcd")
    verify(tmp_path, document, "--root", root, "--nonce", "ABCD", *_expect(tmp_path, SIGNED_PCRS))
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
        verify(tmp_path, make_document())
    assert isinstance(error.value.__cause__, AttestationError)
    assert error.value.__cause__.field == "cabundle[0]"
    assert AWS_NITRO_ROOT_SHA256.hex() in str(error.value)


def test_document_of_another_image_is_refused_and_nothing_is_printed(
    tmp_path: Path, root: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ToolError, match=f"PCR0: expected {PCRS[0].hex()}, got {'01' * 48}"):
        verify(tmp_path, make_document(pcrs={0: b"\x01" * 48}), "--root", root, *_expect(tmp_path, PCRS))
    assert capsys.readouterr().out == ""


def test_debug_mode_gets_a_loud_warning(tmp_path: Path, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    verify(tmp_path, make_document(debug=True), "--root", root)
    out, err = capsys.readouterr()
    assert "DEBUG" in out
    assert err.startswith("kmstool-instance: warning: THE ENCLAVE RUNS IN DEBUG MODE")
    with pytest.raises(ToolError, match="PCR0"):
        verify(tmp_path, make_document(debug=True), "--root", root, *_expect(tmp_path, PCRS))


@pytest.mark.parametrize("form", ["hex", "0x", "upper", "wrapped", "base64", "url"])
def test_document_as_text_is_verified(tmp_path: Path, root: str, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = make_document()
    text = {
        "hex": document.hex(),
        "0x": "0x" + document.hex(),
        "upper": document.hex().upper() + "\n",
        "wrapped": "\n".join(textwrap.wrap(document.hex(), 60)),
        "base64": encode_base64(document),
        "url": urlsafe_b64encode(document).decode().rstrip("="),
    }[form]
    verify(tmp_path, text.encode(), "--root", root, "--output", "json")
    out, err = capsys.readouterr()
    assert (json.loads(out)["Verified"], err) == (True, "")


def test_file_of_something_else_is_said_to_be_neither(tmp_path: Path, root: str) -> None:
    with pytest.raises(InputError, match="document: not CBOR, hexadecimal or base64 text"):
        verify(tmp_path, b"{}", "--root", root)


class TestComparison:
    """Of what the options expect with what the document holds."""

    FIELDS: ClassVar[dict[str, Any]] = {
        "nonce": b"\xab",
        "user_data": b"deliver=exec\n\xc0\xde",
        "public_key": b"a key",
    }

    @pytest.fixture
    def document(self) -> bytes:
        return make_document(pcrs=SIGNED_PCRS, **self.FIELDS)

    @pytest.fixture
    def key_file(self, tmp_path: Path) -> Path:
        (tmp_path / "key").write_bytes(b"a key")
        return tmp_path / "key"

    def test_everything_at_once_passes_and_is_said(
        self, tmp_path: Path, root: str, document: bytes, key_file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        options = ["--nonce", "ab", "--user-data", "C0DE", "--public-key", str(key_file), "--max-age", "60"]
        options += ["--pcr", f"3={PCRS[3].hex()}", *_expect(tmp_path, SIGNED_PCRS), "--leeway", "0", "--root", root]
        verify(tmp_path, document, *options)
        out, err = capsys.readouterr()
        assert err == ""
        assert "PCR0, PCR1, PCR2, PCR3, PCR8" in out
        assert out.count("(the one expected)") == 3
        assert '"deliver=exec' not in out  # not readable as a whole
        assert "(at most 1 min before)" in out
        verify(tmp_path, document, *options, "--output", "json")
        shown = json.loads(capsys.readouterr().out)
        assert [shown[name] for name in ("NonceChecked", "UserDataChecked", "PublicKeyChecked")] == [True] * 3
        assert shown["MaxAgeS"] == 60
        assert shown["ComparedPcrs"] == ["PCR0", "PCR1", "PCR2", "PCR3", "PCR8"]

    def test_user_data_with_the_enclaves_line_pass_too(self, tmp_path: Path, root: str, document: bytes) -> None:
        verify(tmp_path, document, "--root", root, "--user-data", (b"deliver=exec\n\xc0\xde").hex())

    @pytest.mark.parametrize(
        ("options", "field"),
        [
            (["--nonce", ""], "nonce"),
            (["--nonce", "ac"], "nonce"),
            (["--user-data", ""], "user_data"),
            (["--user-data", "c0"], "user_data"),
            (["--user-data", "de"], "user_data"),
            (["--user-data", (b"deliver=reply\n\xc0\xde").hex()], "user_data"),
            (["--public-key", "/dev/null"], "public_key"),
            (["--pcr", f"4={'01' * 48}"], "PCR4"),
            (["--pcr", f"31={'01' * 48}"], "PCR31"),
        ],
    )
    def test_anything_else_is_refused_by_its_field(
        self, tmp_path: Path, root: str, *, document: bytes, options: list[str], field: str
    ) -> None:
        with pytest.raises(ToolError, match=f"attestation document: {field}: (not the )?expected ") as error:
            verify(tmp_path, document, "--root", root, *options)
        assert not isinstance(error.value, InputError)
        assert error.value.hint

    @pytest.mark.parametrize("field", ["nonce", "user_data", "public_key"])
    @pytest.mark.parametrize("is_there", [True, False])
    def test_no_bytes_are_told_from_none(
        self, tmp_path: Path, root: str, *, field: str, is_there: bool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        name = {"nonce": "Nonce", "user_data": "UserData", "public_key": "PublicKey"}[field]
        fields: dict[str, Any] = {field: b"" if is_there else None}
        document = make_document(**fields)
        option = [f"--{field.replace('_', '-')}", "/dev/null" if field == "public_key" else ""]
        verify(tmp_path, document, "--root", root, "--output", "json")
        assert json.loads(capsys.readouterr().out)[name] == ("" if is_there else None)
        verify(tmp_path, document, "--root", root)
        assert capsys.readouterr().out.count("empty") == int(is_there)
        if is_there:
            verify(tmp_path, document, "--root", root, *option)
        else:
            with pytest.raises(ToolError, match=f"{field}: the document has no {field.replace('_', ' ')}"):
                verify(tmp_path, document, "--root", root, *option)

    @pytest.mark.parametrize("form", [Encoding.PEM, Encoding.DER])
    def test_key_in_either_form_matches_a_document_with_either(self, tmp_path: Path, root: str, form: Encoding) -> None:
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        for held in (Encoding.PEM, Encoding.DER):
            document = make_document(public_key=key.public_bytes(held, PublicFormat.SubjectPublicKeyInfo))
            (tmp_path / "key").write_bytes(key.public_bytes(form, PublicFormat.SubjectPublicKeyInfo))
            verify(tmp_path, document, "--root", root, "--public-key", str(tmp_path / "key"))
            (tmp_path / "key").write_bytes(b"another key")
            with pytest.raises(ToolError, match="public_key: not the expected public key"):
                verify(tmp_path, document, "--root", root, "--public-key", str(tmp_path / "key"))

    def test_pcr_that_contradicts_the_measurements_is_a_mistake_of_usage(
        self, tmp_path: Path, root: str, document: bytes
    ) -> None:
        with pytest.raises(InputError, match=r"^--pcr 0: differs from the value in --expect$"):
            verify(tmp_path, document, "--root", root, "--pcr", f"0={'01' * 48}", *_expect(tmp_path, SIGNED_PCRS))

    def test_key_that_a_caller_gave_is_warned_of(
        self, tmp_path: Path, root: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        verify(tmp_path, make_document(user_data=b"deliver=reply key=caller\n"), "--root", root)
        assert "warning: the public key is not the enclave's own: a caller gave it" in capsys.readouterr().err


class TestTime:
    """Of the clock here against the enclave's, whose certificate begins 3 s before the first document."""

    @staticmethod
    def _document(ahead: timedelta) -> bytes:
        return make_document(module_id=f"ahead by {ahead}", clock=lambda: datetime.now(UTC) + ahead)

    def test_certificate_that_becomes_valid_within_the_leeway_is_accepted(self, tmp_path: Path, root: str) -> None:
        document = self._document(timedelta(minutes=4))
        verify(tmp_path, document, "--root", root)
        with pytest.raises(ToolError, match="expected a certificate valid at"):
            verify(tmp_path, document, "--root", root, "--leeway", "60")
        with pytest.raises(ToolError, match="expected a certificate valid at"):
            verify(tmp_path, document, "--root", root, "--at", datetime.now(UTC).isoformat())
        verify(tmp_path, document, "--root", root, "--at", datetime.now(UTC).isoformat(), "--leeway", "300")

    def test_slow_clock_is_reported_with_its_difference(self, tmp_path: Path, root: str) -> None:
        document = self._document(timedelta(hours=2, minutes=30))
        with pytest.raises(ToolError, match="expected a certificate valid at") as error:
            verify(tmp_path, document, "--root", root)
        assert error.value.hint is not None
        assert error.value.hint.startswith(
            "this clock seems to be slow by 2 h 30 min: set it, or allow for that with --l"
        )
        broken = document[:-1] + bytes([document[-1] ^ 1])
        with pytest.raises(ToolError, match="certificate") as error:
            verify(tmp_path, broken, "--root", root)
        assert (error.value.hint or "").startswith("if that is the current time, this clock seems to be slow by 2 h ")

    def test_document_that_is_older_than_allowed_is_refused(self, tmp_path: Path, root: str) -> None:
        document = self._document(timedelta(minutes=-3))
        verify(tmp_path, document, "--root", root, "--max-age", "200")
        with pytest.raises(
            ToolError, match=r"timestamp: expected a document made at most 2 min before .*, got one made 3 m"
        ):
            verify(tmp_path, document, "--root", root, "--max-age", "120")

    @pytest.mark.parametrize("options", [[], ["--max-age", "60"]])
    def test_document_of_the_future_is_refused_beyond_the_leeway(
        self, tmp_path: Path, root: str, options: list[str]
    ) -> None:
        module_id = "whose certificate is valid"
        make_document(module_id=module_id)
        document = make_document(module_id=module_id, clock=lambda: datetime.now(UTC) + timedelta(minutes=20))
        verify(tmp_path, document, "--root", root, *options, "--leeway", "1201")
        with pytest.raises(
            ToolError, match=r"timestamp: expected a document made before .*, got one made 20 min later"
        ) as error:
            verify(tmp_path, document, "--root", root, *options)
        assert (error.value.hint or "").startswith("this clock seems to be slow by 20 min")


@pytest.mark.parametrize("nonce", [None, b"\xab\xce"])
def test_another_nonce_is_refused(tmp_path: Path, root: str, nonce: bytes | None) -> None:
    with pytest.raises(ToolError, match="nonce"):
        verify(tmp_path, make_document(nonce=nonce), "--root", root, "--nonce", "abcd")


@pytest.mark.parametrize("encoded", [True, False])
def test_real_documents_get_their_verdicts(tmp_path: Path, encoded: bool, capsys: pytest.CaptureFixture[str]) -> None:
    for name, is_debug in (("veracruz_aws_nitro_document", False), ("evervault_debug_document", True)):
        for (document,) in real_vectors(f"{name}.cbor"):
            form = encode_base64(document).encode() if encoded else document
            verify(tmp_path, form, "--at", "document", "--output", "json")
            out, err = capsys.readouterr()
            assert json.loads(out)["DebugMode"] is is_debug
            assert ("warning" in err) is is_debug
            with pytest.raises(ToolError) as error:
                verify(tmp_path, form)
            assert "--at document" in (error.value.hint or "")
    for document, root in real_vectors("veracruz_aws_nitro_document.cbor", "veracruz_aws_nitro_root_cert.pem"):
        (tmp_path / "aws.pem").write_bytes(root)
        verify(tmp_path, document, "--at", "2022-11-09T23:00:00Z", "--root", str(tmp_path / "aws.pem"))
        with pytest.raises(ToolError, match="expected a certificate valid at"):
            verify(tmp_path, document, "--at", "2022-11-10T23:00:00Z")
    for (document,) in real_vectors("veracruz_aws_nitro_document_bad_sig.cbor"):
        with pytest.raises(ToolError, match="signature") as error:
            verify(tmp_path, document, "--at", "document")
        assert error.value.hint is None


def test_hint_of_time_comes_only_where_time_is_what_fails(tmp_path: Path, root: str) -> None:
    document = make_document(clock=lambda: datetime.now(UTC))
    with pytest.raises(ToolError, match="certificate") as error:
        verify(tmp_path, document, "--root", root, "--at", OLD.isoformat())
    assert "--at document" in (error.value.hint or "")
    broken = document[:-1] + bytes([document[-1] ^ 1])
    with pytest.raises(ToolError, match="certificate") as error:
        verify(tmp_path, broken, "--root", root, "--at", OLD.isoformat())
    assert error.value.hint is None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--nonce", "xy"], "--nonce"),
        (["--nonce", "ab" * 1_025], "--nonce"),
        (["--user-data", "a"], "--user-data"),
        (["--user-data", "ab" * 1_025], "--user-data"),
        (["--public-key", "no-such-file"], "--public-key"),
        (["--public-key", __file__], "--public-key"),
        (["--max-age", "-1"], "seconds"),
        (["--leeway", "soon"], "seconds"),
        (["--max-age", "60", "--at", "document"], "--max-age"),
        (["--leeway", "60", "--at", "document"], "--leeway"),
        (["--at", "soon"], "--at"),
    ],
)
def test_option_of_another_form_is_refused(tmp_path: Path, options: list[str], named: str) -> None:
    with pytest.raises(InputError, match=named):
        verify(tmp_path, make_document(), *options)


@pytest.mark.parametrize("pem", [b"", b"not a certificate", root_pem() + root_pem(), b"x" * 70_000])
def test_root_must_be_one_certificate(tmp_path: Path, pem: bytes) -> None:
    (tmp_path / "root.pem").write_bytes(pem)
    with pytest.raises(InputError, match="--root"):
        verify(tmp_path, make_document(), "--root", str(tmp_path / "root.pem"))


def test_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="document: larger than"):
        verify(tmp_path, b"\x84" * 800_000)


def test_standard_input_cannot_be_both_files() -> None:
    with pytest.raises(InputError, match=r"^FILE and --expect: only one of them can be standard input$"):
        command(args=["verify", "-", "--expect", "-"], prog_name="kmstool-instance", standalone_mode=False)


@pytest.mark.parametrize("text", ["2025-06-01T12:00:00Z", "2025-06-01T14:00:00+02:00", "2025-06-01 12:00:00+00:00"])
def test_time_with_its_zone_is_read(text: str) -> None:
    assert parse_time(text) == datetime(2025, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "yesterday", "2025-06-01T12:00:00", "2025-06-01", "1748779200"])
def test_time_without_zone_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--at"):
        parse_time(text)
