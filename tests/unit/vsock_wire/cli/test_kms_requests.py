from __future__ import annotations

import io

import pytest

from vsock_wire.cli.kms_requests import dry_run_ignored, read_plaintext, report_dry_run, request_from_options
from vsock_wire.errors import ExitCode, InputError
from vsock_wire.protocol.kms_operations import MAX_PLAINTEXT_BYTES
from vsock_wire.protocol.vocabulary import Operation

RSA = "RSAES_OAEP_SHA_256"


def give(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_request_has_what_was_given_and_nothing_else() -> None:
    assert request_from_options(Operation.ENCRYPT, {"KeyId": "k", "EncryptionAlgorithm": None}).parameters == {
        "KeyId": "k"
    }
    whole = request_from_options(
        Operation.ENCRYPT, {"KeyId": "k"}, encryption_context=[("a", "1")], grant_tokens=("t", "u"), dry_run=True
    )
    assert whole.parameters == {
        "KeyId": "k",
        "EncryptionContext": {"a": "1"},
        "GrantTokens": ("t", "u"),
        "DryRun": True,
    }


@pytest.mark.parametrize(
    ("tokens", "text"),
    [(("t",) * 11, "--grant-token: expected at most 10, got 11"), (("t", ""), "--grant-token: empty")],
)
def test_grant_tokens_that_kms_does_not_take_are_refused(tokens: tuple[str, ...], text: str) -> None:
    with pytest.raises(InputError) as caught:
        request_from_options(Operation.ENCRYPT, {}, grant_tokens=tokens)
    assert str(caught.value) == text


@pytest.mark.parametrize("key_id", [None, ""])
def test_decrypt_with_an_asymmetric_algorithm_but_no_key_is_refused(key_id: str | None) -> None:
    with pytest.raises(InputError, match="an asymmetric algorithm needs --key-id") as caught:
        request_from_options(Operation.DECRYPT, {"KeyId": key_id, "EncryptionAlgorithm": RSA})
    assert "--key-id" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"KeyId": "k"},
        {"EncryptionAlgorithm": "SYMMETRIC_DEFAULT"},
        {"KeyId": "k", "EncryptionAlgorithm": RSA},
    ],
    ids=str,
)
def test_every_other_decrypt_is_for_kms_to_judge(parameters: dict[str, object]) -> None:
    assert request_from_options(Operation.DECRYPT, parameters).parameters == parameters


def test_longest_plaintext_is_read_and_a_longer_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, bytes(MAX_PLAINTEXT_BYTES))
    assert read_plaintext() == bytes(MAX_PLAINTEXT_BYTES)
    give(monkeypatch, bytes(MAX_PLAINTEXT_BYTES + 1))
    with pytest.raises(InputError, match="longer than 4096 bytes, the most that KMS encrypts") as caught:
        read_plaintext()
    assert "genkey" in (caught.value.hint or "")
    give(monkeypatch, b"")
    with pytest.raises(InputError, match="standard input: empty"):
        read_plaintext()


def test_dry_run_is_reported_where_standard_error_is_open(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report_dry_run("tool", Operation.ENCRYPT)
    assert capsys.readouterr() == ("", "tool: dry run: KMS would perform Encrypt\n")
    monkeypatch.setattr("sys.stderr", None)
    report_dry_run("tool", Operation.ENCRYPT)
    assert capsys.readouterr().out == ""


def test_dry_run_that_was_performed_is_a_failure() -> None:
    assert dry_run_ignored(Operation.DECRYPT).exit_code is ExitCode.FAILED
