from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tools import audit

CLEAN = {"name": "click", "version": "8.5.1", "vulns": []}
SKIPPED = {"name": "boto3", "skip_reason": "Dependency not found on PyPI and could not be audited: boto3 (1.44.5)"}
BAD = {
    "name": "cryptography",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-2020-1", "fix_versions": ["1.1", "2.0"]}, {"id": "GHSA-1", "fix_versions": []}],
}


def stand_in(folder: Path, *, stdout: str = "", stderr: str = "", exit_code: int = 0) -> str:
    """Write a program to run instead of pip-audit."""
    program = folder / "pip-audit"
    program.write_text(
        f"#!{sys.executable}\nimport sys\n"
        f"print({stdout!r}, end='')\nprint({stderr!r}, end='', file=sys.stderr)\nsys.exit({exit_code})\n",
        "utf-8",
    )
    program.chmod(0o755)
    return str(program)


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], program: str, *files: str
) -> tuple[object, list[str]]:
    monkeypatch.setattr(sys, "argv", ["audit", program, *files])
    with pytest.raises(SystemExit) as caught:
        audit.main()
    return caught.value.code, capsys.readouterr().out.splitlines()


def report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def test_vulnerability_fails_and_is_named_with_its_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = stand_in(tmp_path, stdout=report(CLEAN, BAD), stderr="Found 2 known vulnerabilities", exit_code=1)
    assert run(monkeypatch, capsys, program, "a.txt") == (
        1,
        [
            "a.txt: VULNERABLE: cryptography 1.0: PYSEC-2020-1, fixed in 1.1, 2.0",
            "a.txt: VULNERABLE: cryptography 1.0: GHSA-1, fixed in none yet",
            "a.txt: 1 packages without a known vulnerability",
        ],
    )


def test_package_unknown_to_the_database_is_not_called_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = stand_in(tmp_path, stdout=report(SKIPPED, CLEAN), stderr="No known vulnerabilities found")
    code, lines = run(monkeypatch, capsys, program, "a.txt")
    assert code == 0
    assert lines == [
        f"a.txt: 1 not audited, such as boto3: {SKIPPED['skip_reason']}",
        "a.txt: 1 packages without a known vulnerability",
    ]


@pytest.mark.parametrize("stdout", ["", "no JSON", "{}", '{"dependencies": [{}]}'])
def test_unreachable_database_is_reported_but_not_a_failure(
    stdout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = stand_in(tmp_path, stdout=stdout, stderr="Traceback\nConnectionError: no route", exit_code=1)
    code, lines = run(monkeypatch, capsys, program, "a.txt")
    assert code == 0
    assert lines[0] == "a.txt: 1 not audited, such as all: ConnectionError: no route"
    assert lines[1] == "a.txt: 0 packages without a known vulnerability"


def test_one_vulnerable_file_among_others_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = audit.parse_audit(json.loads(report(BAD)))
    audits = iter([first, audit.parse_audit(json.loads(report(CLEAN)))])
    monkeypatch.setattr(audit, "audit_file", lambda *_: next(audits))
    assert run(monkeypatch, capsys, "-", "a.txt", "b.txt")[0] == 1
