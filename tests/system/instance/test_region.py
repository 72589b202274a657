"""Which region's KMS a decrypt reaches, with an enclave that reaches two."""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from nitro_simulator.deployment import command_lines, processes
from nitro_simulator.kms.keys.key import KmsKey
from tests.support.deployment.deployment import CONTEXT, CONTEXT_OPTIONS, Deployment
from tests.support.deployment.two_regions import second_region

REGION = "eu-west-1"


@pytest.fixture(scope="module")
def second_key(deployment: Deployment) -> Iterator[KmsKey]:
    """Start enclaves that reach two regions, one without a region and one with the first; yield the second's key."""
    with second_region(deployment, REGION, proxy="both-proxy") as key:
        deployment.start_enclave("both", proxy_name="both-proxy")
        deployment.start_enclave("first", "--region", "us-east-1", proxy_name="both-proxy")
        yield key


@pytest.fixture
def ciphertext(second_key: KmsKey) -> str:
    return b64encode(second_key.seal(b"from Ireland", encryption_context=CONTEXT)).decode()


def environment(deployment: Deployment, tmp_path: Path, **variables: str) -> dict[str, str]:
    files = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}
    return {**deployment.account.imds_environment, **files, **variables}


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_variable_reaches_the_region_without_a_flag(
    deployment: Deployment, ciphertext: str, tmp_path: Path, variable: str
) -> None:
    variables = environment(deployment, tmp_path, **{variable: REGION})
    done = deployment.instance(*CONTEXT_OPTIONS, ciphertext, enclave="both", region=False, environment=variables)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"from Ireland\n", b"")


def test_region_of_the_profile_is_used(deployment: Deployment, ciphertext: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(f"[default]\nregion = {REGION}\n")
    variables = environment(deployment, tmp_path)
    done = deployment.instance(*CONTEXT_OPTIONS, ciphertext, enclave="both", region=False, environment=variables)
    assert (done.returncode, done.stdout) == (0, b"from Ireland\n")


def test_region_of_imds_is_used_if_nothing_else_gives_one(
    deployment: Deployment, ciphertext: str, tmp_path: Path
) -> None:
    own = deployment.encrypt(b"from Virginia")
    variables = environment(deployment, tmp_path)
    done = deployment.instance(*CONTEXT_OPTIONS, own, enclave="both", region=False, environment=variables)
    assert (done.returncode, done.stdout) == (0, b"from Virginia\n")
    deployment.account.imds.region = REGION
    try:
        moved = deployment.instance(*CONTEXT_OPTIONS, ciphertext, enclave="both", region=False, environment=variables)
    finally:
        deployment.account.imds.region = "us-east-1"
    assert (moved.returncode, moved.stdout) == (0, b"from Ireland\n")


@pytest.mark.usefixtures("second_key")
def test_option_wins_over_the_environment(deployment: Deployment, tmp_path: Path) -> None:
    variables = environment(deployment, tmp_path, AWS_REGION=REGION)
    own = deployment.encrypt(b"from Virginia")
    done = deployment.instance(*CONTEXT_OPTIONS, own, enclave="both", environment=variables)
    assert (done.returncode, done.stdout) == (0, b"from Virginia\n")


@pytest.mark.usefixtures("second_key")
def test_region_of_the_enclave_wins_over_the_environment_but_not_over_the_option(
    deployment: Deployment, tmp_path: Path
) -> None:
    variables = environment(deployment, tmp_path, AWS_REGION=REGION)
    own = deployment.encrypt(b"from Virginia")
    done = deployment.instance(*CONTEXT_OPTIONS, own, enclave="first", region=False, environment=variables)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"from Virginia\n", b"")
    refused = deployment.instance(*CONTEXT_OPTIONS, own, enclave="first", environment=variables)
    assert refused.returncode == 1
    assert b"omit --region" in refused.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("us-eats-1", b'hint: did you mean "us-east-1"?'),
        ("us-east-1a", b"an availability zone, such as us-east-1a, is not a region"),
        ("s3", b"expected the name of an AWS region"),
    ],
)
@pytest.mark.usefixtures("second_key")
def test_misspelt_region_is_refused(deployment: Deployment, tmp_path: Path, name: str, words: bytes) -> None:
    variables = environment(deployment, tmp_path, AWS_REGION=name)
    own = deployment.encrypt(b"x")
    done = deployment.instance(*CONTEXT_OPTIONS, own, enclave="both", region=False, environment=variables)
    assert (done.returncode, done.stdout) == (2, b"")
    assert words in done.stderr


def test_batch_uses_the_region_of_the_environment(deployment: Deployment, ciphertext: str, tmp_path: Path) -> None:
    variables = environment(deployment, tmp_path, AWS_REGION=REGION)
    stdin = f"{ciphertext}\n{ciphertext}\n".encode()
    done = deployment.instance(
        *CONTEXT_OPTIONS, "--batch", stdin=stdin, enclave="both", region=False, environment=variables
    )
    assert (done.returncode, done.stdout) == (0, b"from Ireland\n" * 2)


def test_serve_uses_the_region_of_the_environment_for_its_clients(
    deployment: Deployment, ciphertext: str, tmp_path: Path
) -> None:
    address = command_lines.enclave_address(deployment.account, "serve")
    command = [
        *("kmstool-instance", "--enclave", str(command_lines.enclave_address(deployment.account, "both"))),
        *("serve", "--socket", address.path),
    ]
    variables = environment(deployment, tmp_path, AWS_REGION=REGION)
    with processes.running(command, listens_on=address, log_file=tmp_path / "log", environment=variables):
        done = deployment.instance(*CONTEXT_OPTIONS, ciphertext, enclave="serve", region=False, environment={})
        described = deployment.instance("describe", enclave="serve", region=False, environment={})
    assert (done.returncode, done.stdout) == (0, b"from Ireland\n")
    assert json.loads(described.stdout)["Region"] == REGION


@pytest.mark.usefixtures("second_key")
def test_doctor_shows_where_the_region_comes_from(deployment: Deployment, tmp_path: Path) -> None:
    variables = environment(deployment, tmp_path, AWS_REGION=REGION)
    done = deployment.instance("doctor", enclave="both", region=False, environment=variables)
    assert b"eu-west-1, from AWS_REGION" in done.stdout
    assert done.returncode == 0


def test_kmstool_enclave_does_not_start_with_an_unknown_region(deployment: Deployment) -> None:
    command = command_lines.enclave_command(deployment.account, name="never")
    done = subprocess.run(
        [processes.tool_path(command[0]), *command[1:], "--region", "eu-west1"], capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b'unknown region "eu-west1"' in done.stderr
    assert b'hint: did you mean "eu-west-1"?' in done.stderr
