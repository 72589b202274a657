"""Options of the two policy commands that say what the commands cannot know, and several images in one policy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from instance_tool.main import command
from tests.support.attestation.documents import ADMIN_ARN, PCRS, ROLE_ARN, SIGNED_PCRS, make_document, measurements
from tests.support.kms.world import allow, deny, policy
from vsock_wire.errors import InputError

IMAGE = {"StringEqualsIgnoreCase": {"kms:RecipientAttestation:PCR0": PCRS[0].hex()}}
NEXT = {0: b"\x5e" * 48, 1: PCRS[1], 2: b"\x5f" * 48}
ROLES = ["--role", ROLE_ARN, "--admin", ADMIN_ARN]


def _run(*arguments: str) -> int:
    try:
        command(args=["policy", *arguments], prog_name="kmstool-instance", standalone_mode=False)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _file(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def _images(tmp_path: Path, *images: dict[int, bytes]) -> list[str]:
    options = []
    for index, pcrs in enumerate(images):
        options += ["--measurements", _file(tmp_path / f"{index}.json", json.dumps(measurements(pcrs)))]
    return options


def _explain(tmp_path: Path, text: str, *options: str, pcrs: dict[int, bytes] | None = None) -> int:
    paths = [
        *("--policy", _file(tmp_path / "policy.json", text)),
        *("--document", _file(tmp_path / "document", make_document(pcrs=pcrs))),
    ]
    return _run("explain", *paths, *options)


def _statement(text: str, sid: str) -> dict[str, Any]:
    (statement,) = [each for each in json.loads(text)["Statement"] if each["Sid"] == sid]
    assert isinstance(statement, dict)
    return statement


def test_two_images_give_one_policy_that_lets_both_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(*_images(tmp_path, PCRS, NEXT), *ROLES) == 0
    text = capsys.readouterr().out
    key = "kms:RecipientAttestation:ImageSha384"
    assert _statement(text, "UseInTheEnclave")["Condition"]["StringEqualsIgnoreCase"][key] == [
        PCRS[0].hex(),
        NEXT[0].hex(),
    ]
    for image in (PCRS, NEXT):
        assert _explain(tmp_path, text, "--role", ROLE_ARN, pcrs=image) == 0
        assert "which it names besides this one" in capsys.readouterr().out
    assert _explain(tmp_path, text, "--role", ROLE_ARN, pcrs={0: b"\x11" * 48}) == 5


def test_same_image_twice_is_one_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(*_images(tmp_path, PCRS), *ROLES) == 0
    once = capsys.readouterr().out
    assert _run(*_images(tmp_path, PCRS, PCRS), *ROLES) == 0
    assert capsys.readouterr().out == once


def test_signature_that_not_every_image_has_is_left_out_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(*_images(tmp_path, SIGNED_PCRS, NEXT), *ROLES) == 0
    shown = capsys.readouterr()
    assert "PCR8" not in shown.out
    assert "not every image is signed" in shown.err


def test_signature_of_all_images_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(*_images(tmp_path, SIGNED_PCRS, NEXT | {8: SIGNED_PCRS[8]}), *ROLES) == 0
    shown = capsys.readouterr()
    condition = _statement(shown.out, "UseInTheEnclave")["Condition"]["StringEqualsIgnoreCase"]
    assert condition["kms:RecipientAttestation:PCR8"] == SIGNED_PCRS[8].hex()
    assert shown.err == ""


def test_digest_with_its_index_takes_the_place_of_measurements(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("--pcr", f"0={PCRS[0].hex()}", *ROLES) == 0
    assert PCRS[0].hex() in capsys.readouterr().out
    with pytest.raises(InputError, match="PCR0"):
        _run("--pcr", f"3={PCRS[3].hex()}", *ROLES)


@pytest.mark.parametrize(
    ("content", "text", "hint"),
    [
        ("[]", "no enclave is running", "sudo nitro-cli describe-enclaves"),
        (json.dumps({"PCR": "ab" * 48}), "PCR: the name does not say which PCR", "--pcr N=HEX"),
    ],
)
def test_measurements_that_name_no_image_say_why(tmp_path: Path, content: str, text: str, hint: str) -> None:
    with pytest.raises(InputError) as error:
        _run("--measurements", _file(tmp_path / "x.json", content), *ROLES)
    assert text in str(error.value)
    assert hint in str(error.value.hint)


def test_standard_input_is_read_once() -> None:
    with pytest.raises(InputError, match="--measurements: only one of them can be standard input"):
        _run("--measurements", "-", "--measurements", "-", *ROLES)


class TestExplain:
    attested = allow("kms:Decrypt", condition=IMAGE, principal={"AWS": ROLE_ARN})

    def test_caller_is_taken_from_the_attested_statement(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        administration = allow("kms:*", principal={"AWS": ADMIN_ARN})
        assert _explain(tmp_path, policy(administration, self.attested, with_administration=False)) == 1
        assert f"caller     {ROLE_ARN}\n" in capsys.readouterr().out

    def test_caller_is_taken_from_principalarn(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        condition = IMAGE | {"ArnEquals": {"aws:PrincipalArn": ROLE_ARN}}
        text = policy(allow("kms:Decrypt", condition=condition, principal="*"), with_administration=False)
        assert _explain(tmp_path, text) == 0
        assert f"caller     {ROLE_ARN}\n" in capsys.readouterr().out

    @pytest.mark.parametrize("operation", ["Decrypt", "GenerateDataKey"])
    def test_json_has_each_operation_and_the_first_at_the_top(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], operation: str
    ) -> None:
        options = ["--operation", operation, "--operation", "GenerateRandom", "--output", "json"]
        _explain(tmp_path, policy(self.attested, with_administration=False), *options, "--role", ROLE_ARN)
        shown = json.loads(capsys.readouterr().out)
        actions = [each["Action"] for each in shown["Operations"]]
        assert actions == [f"kms:{operation}", "kms:GenerateRandom"]
        assert {name: shown[name] for name in shown["Operations"][0]} == shown["Operations"][0]

    def test_json_says_what_the_verdict_depends_on(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        guard = deny("kms:*", condition={"StringNotEquals": {"aws:SourceVpce": "vpce-1"}}, principal="*")
        text = policy(self.attested, guard, with_administration=False)
        assert _explain(tmp_path, text, "--output", "json") == 1
        shown = json.loads(capsys.readouterr().out)
        assert (shown["Outcome"], shown["Verdict"], shown["DependsOn"]) == ("DEPENDS", "depends", ["aws:SourceVpce"])
        assert shown["Statements"][1]["Conditions"][0]["Holds"] is None

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            (["--key-arn", "alias/payroll"], "--key-arn"),
            (["--key-arn", "arn:aws:kms:us-east-1:111122223333:alias/payroll"], "--key-arn"),
            (["--context-key", "aws:SourceVpce"], "--context-key"),
            (["--context-key", "SourceVpce=vpce-1"], "--context-key"),
        ],
    )
    def test_option_of_another_form_is_refused(self, tmp_path: Path, options: list[str], named: str) -> None:
        with pytest.raises(InputError, match=named):
            _explain(tmp_path, policy(self.attested), "--role", ROLE_ARN, *options)
