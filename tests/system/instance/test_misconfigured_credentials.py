"""Credentials that are set up wrongly, as real processes see them: the command, and doctor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.deployment.deployment import CONTEXT_OPTIONS, Deployment
from tests.support.instance.misconfigured_chains import CASES, HERE, write_files

CHAINS = (
    "missing profile",
    "binary config file",
    "binary credentials file",
    "timeout that is not a number",
    "address that is not link-local",
    "token file with a newline",
    "binary token file",
    "missing web identity file",
    "web identity without a role",
    "process that prints text",
    "process that prints nothing",
    "process that is not there",
    "loop of source profiles",
    "SSO without a token",
)


@pytest.fixture
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Return the environment of the chain that the test is about."""
    write_files(tmp_path)
    variables, config, *_ = CASES[request.param]
    (tmp_path / "config").write_text(config)
    here = {name: str(tmp_path / value) if name.endswith("_FILE") else value for name, value in variables.items()}
    files = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}
    return {"AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL_STS": HERE, "AWS_MAX_ATTEMPTS": "1", **files, **here}


@pytest.mark.parametrize(("name", "environment"), [(name, name) for name in CHAINS], indirect=["environment"])
def test_command_exits_4_with_provider_and_variable_and_doctor_finishes_with_them_in_the_role_row(
    deployment: Deployment, name: str, environment: dict[str, str]
) -> None:
    _, _, provider, variable, reason = CASES[name]
    blame = f"credential chain, {provider} ({variable}): "
    done = deployment.instance(*CONTEXT_OPTIONS, deployment.encrypt(b"x"), environment=environment)
    assert (done.returncode, done.stdout) == (4, b"")
    error = next(line for line in done.stderr.decode().splitlines() if line.startswith("kmstool-instance: error: "))
    assert blame in error
    assert reason.removeprefix('"no"') in error
    assert b"this is a bug" not in done.stderr
    report = json.loads(deployment.instance("doctor", "--output", "json", environment=environment).stdout)
    hops = {hop["Hop"]: hop for hop in report["Hops"]}
    assert (hops["role"]["State"], report["Ok"]) == ("failed", False)
    assert blame in hops["role"]["Detail"]
    assert {name for name, hop in hops.items() if hop["State"] != "ok"} <= {"imds", "role"}


def test_half_of_a_pair_in_the_environment_is_exit_4_with_its_variable(deployment: Deployment) -> None:
    done = deployment.instance(deployment.encrypt(b"x"), environment={"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE"})
    assert done.returncode == 4
    assert b"environment: AWS_ACCESS_KEY_ID is set but AWS_SECRET_ACCESS_KEY is not" in done.stderr


def test_account_and_source_are_shown_with_v_and_in_doctor(deployment: Deployment) -> None:
    account = "111122223333"
    done = deployment.instance(*CONTEXT_OPTIONS, "-v", deployment.encrypt(b"x"))
    assert done.returncode == 0
    assert f"credentials: from IMDSv2, role EnclaveInstanceRole, account {account}" in done.stderr.decode()
    done = deployment.instance("doctor")
    assert f"role      IMDSv2, role EnclaveInstanceRole, account {account}, until " in done.stdout.decode()
