"""``policy explain`` gives each policy of the table in tests/support/key_policies/cases its verdict."""

from __future__ import annotations

import pytest

from instance_tool.main import command
from tests.support.attestation.documents import make_document
from tests.support.key_policies.case_table import CASES, PCRS, ROLE_ARN, Case, cases

TABLE = cases()


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("cases") / "document.cbor"
    path.write_bytes(make_document(pcrs=PCRS))
    return str(path)


def test_table_has_every_file_and_a_reason_for_each_row() -> None:
    assert {case.file for case in TABLE} == {path.name for path in CASES.glob("*.json")}
    assert len({case.file for case in TABLE}) >= 60
    assert all(len(case.why.split()) >= 3 for case in TABLE)


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.name)
def test_policy_gets_its_verdict(case: Case, document: str, capsys: pytest.CaptureFixture[str]) -> None:
    role = () if "--role" in case.options else ("--role", ROLE_ARN)
    arguments = ["policy", "explain", "--policy", str(CASES / case.file), "--document", document, *role, *case.options]
    with pytest.raises(SystemExit) as end:
        command(args=arguments, prog_name="kmstool-instance", standalone_mode=False)
    shown = capsys.readouterr()
    assert (end.value.code, case.says in shown.out + shown.err) == (case.code, True), shown.out + shown.err
