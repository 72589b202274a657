"""Options and files of the two policy commands, in this process; tests/system runs them as processes."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from instance_tool.main import command
from tests.support.attestation.documents import (
    ACCOUNT_ID,
    ADMIN_ARN,
    POLICIES,
    ROLE_ARN,
    ROOT_ARN,
    make_document,
    measurements,
)
from vsock_wire.errors import ExitCode, InputError


def _run(*arguments: str) -> int:
    """Run the command and return its exit code; errors are raised."""
    try:
        command(args=list(arguments), prog_name="kmstool-instance", standalone_mode=False)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    contents = {"measurements": json.dumps(measurements()).encode(), "document": make_document()}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: str(tmp_path / name) for name in contents}


@pytest.fixture
def writing(files: dict[str, str]) -> list[str]:
    return ["policy", "--measurements", files["measurements"], "--role", ROLE_ARN, "--admin", ADMIN_ARN]


def _statements(text: str) -> list[dict[str, Any]]:
    statements = json.loads(text)["Statement"]
    assert isinstance(statements, list)
    return statements


def test_policy_is_all_that_is_on_standard_output(writing: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(*writing) == 0
    out, err = capsys.readouterr()
    sids = [statement["Sid"] for statement in _statements(out)]
    assert sids == ["Administration", "UseInTheEnclave", "DenyUnlessImageSha384"]
    assert err == ""


def test_measurements_come_from_standard_input(
    writing: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _stdin(monkeypatch, json.dumps(measurements()).encode())
    writing[2] = "-"
    assert _run(*writing) == 0
    assert _statements(capsys.readouterr().out)


def test_further_pcrs_and_operations_are_taken(writing: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(*writing, "--pcr", f"3={'ab' * 48}", "--operation", "GenerateDataKey", "--operation", "Encrypt") == 0
    statements = {statement["Sid"]: statement for statement in _statements(capsys.readouterr().out)}
    assert statements["UseInTheEnclave"]["Action"] == ["kms:GenerateDataKey"]
    assert "kms:RecipientAttestation:PCR3" in statements["UseInTheEnclave"]["Condition"]["StringEqualsIgnoreCase"]
    assert "EncryptionAnywhere" in statements


def test_account_is_let_in_only_with_a_warning(writing: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(*writing, "--enable-iam-policies") == 0
    out, err = capsys.readouterr()
    assert ROOT_ARN in out
    assert err.startswith("kmstool-instance: warning:")
    assert ACCOUNT_ID in err


def test_account_of_administrators_must_be_one(writing: list[str]) -> None:
    with pytest.raises(InputError, match="several accounts"):
        _run(*writing, "--admin", ADMIN_ARN.replace("1111", "4444"), "--enable-iam-policies")


def test_measurements_are_needed() -> None:
    with pytest.raises(InputError, match="--measurements"):
        _run("policy", "--role", ROLE_ARN, "--admin", ADMIN_ARN)


def test_options_of_policy_are_not_those_of_explain(writing: list[str], files: dict[str, str]) -> None:
    with pytest.raises(click.NoSuchOption, match=r"^policy explain: no such option '--measurements'"):
        _run(*writing, "explain", "--policy", str(POLICIES / "another_image.json"), "--document", files["document"])


def test_options_that_explain_has_too_may_stand_before_its_name(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(POLICIES / "another_image.json")
    role = ROLE_ARN.replace("role/", "role/Another")
    assert _run("policy", "--role", role, "explain", "--policy", path, "--document", files["document"]) == (
        ExitCode.REFUSED
    )
    assert f"caller     {role}" in capsys.readouterr().out


def _explain(name: str, files: dict[str, str], *options: str) -> int:
    return _run("policy", "explain", "--policy", str(POLICIES / name), "--document", files["document"], *options)


def test_role_is_the_one_that_the_policy_names(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert _explain("another_image.json", files) == ExitCode.REFUSED
    assert f"caller     {ROLE_ARN}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["account_root.json", "another_action.json"])
def test_role_is_needed_where_the_policy_names_none(name: str, files: dict[str, str], tmp_path: Path) -> None:
    policy = json.loads((POLICIES / name).read_text())
    policy["Statement"] = [statement for statement in policy["Statement"] if statement["Sid"] != "UseInTheEnclave"]
    (tmp_path / name).write_text(json.dumps(policy))
    with pytest.raises(InputError, match="--role"):
        _run("policy", "explain", "--policy", str(tmp_path / name), "--document", files["document"])


@pytest.mark.parametrize("options", [["--output", "json"], []])
def test_json_output_may_be_asked_for_anywhere_before(
    options: list[str], files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = [] if options else ["--output", "json"]
    path = str(POLICIES / "another_image.json")
    arguments = [*before, "policy", "explain", "--policy", path, "--document", files["document"], *options]
    assert _run(*arguments) == ExitCode.REFUSED
    assert json.loads(capsys.readouterr().out)["Allowed"] is False


def test_standard_input_cannot_be_both_files() -> None:
    with pytest.raises(InputError, match=r"^--policy and --document: only one of them can be standard input$"):
        _run("policy", "explain", "--policy", "-", "--document", "-")


@pytest.mark.parametrize("option", ["--policy", "--document", "--role", "--key-arn"])
def test_second_value_of_an_option_that_decides_is_refused(option: str) -> None:
    with pytest.raises(InputError, match=rf"^{option} can be given only once$"):
        _run("policy", "explain", "--policy", "a", "--document", "b", option, "a", option, "a")


@pytest.mark.parametrize("policy", [b"\xff", b"{}", b" " * 40_000])
def test_file_without_a_policy_is_refused(policy: bytes, files: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "policy").write_bytes(policy)
    with pytest.raises(InputError, match=r"key policy|statement 1"):
        _run("policy", "explain", "--policy", str(tmp_path / "policy"), "--document", files["document"])


def test_encryption_context_is_taken(files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = json.loads((POLICIES / "another_image.json").read_text())
    policy["Statement"][1]["Condition"] = {"StringEquals": {"kms:EncryptionContext:purpose": "test"}}
    (tmp_path / "policy").write_text(json.dumps(policy))
    changed = files | {"policy": str(tmp_path / "policy")}
    arguments = ["policy", "explain", "--policy", changed["policy"], "--document", files["document"]]
    assert _run(*arguments) == ExitCode.REFUSED
    assert _run(*arguments, "--encryption-context", "purpose=test") == ExitCode.FAILED
    assert "warning: statement 2 (UseInTheEnclave)" in capsys.readouterr().err
