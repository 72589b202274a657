"""kmstool-sim as a person uses it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nitro_simulator.deployment import processes
from nitro_simulator.deployment.pasteable import SAMPLE_PLAINTEXT
from vsock_wire.net.address import UnixAddress


@pytest.fixture
def state() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="sim-"))
    yield directory
    shutil.rmtree(directory)


def test_demo_ends_with_the_plaintext_and_shows_every_step() -> None:
    done = subprocess.run(
        [processes.tool_path("kmstool-sim"), "demo"],
        capture_output=True,
        env=processes.clean_environment({}),
        timeout=120,
        check=False,
    )
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    plaintext = text.splitlines()[-1]
    assert re.fullmatch(r"a secret made for this run: [0-9a-f]{16}", plaintext)
    for shown in (
        "from IMDSv2, role EnclaveInstanceRole",
        "module id i-",
        "PCR0      ",
        "KMS returned CiphertextForRecipient",
        "refused: AccessDeniedException: User: arn:aws:sts::",
        "not authorized to perform: kms:Decrypt",
        "InvalidCiphertextException",
        "not found: the plaintext, ",
    ):
        assert shown in text, shown
    assert [line[:2] for line in text.splitlines() if line[:1].isdigit()] == [f"{n}." for n in range(1, 8)]


@pytest.mark.parametrize(
    "region",
    [
        "us-east-1",
        "cn-north-1",
        "us-gov-west-1",
        "us-iso-east-1",
        "us-isob-east-1",
        "eu-isoe-west-1",
        "us-isof-south-1",
        "eusc-de-east-1",
    ],
)
def test_the_commands_that_up_prints_work_as_printed_in_every_partition(state: Path, region: str) -> None:
    process = subprocess.Popen(
        [processes.tool_path("kmstool-sim"), "up", "--state", str(state), "--region", region],
        stdout=subprocess.PIPE,
        env=processes.clean_environment({}),
    )
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.decode().strip())
        if "Ctrl-C" in lines[-1]:
            break
    try:
        proxy, enclave, instance = (
            shlex.split(next(line for line in lines if name in line and not line.startswith("#")))
            for name in ("vsock-proxy ", "kmstool-enclave ", "kmstool-instance ")
        )
        with (
            processes.running(proxy, listens_on=UnixAddress(str(state / "proxy.sock")), log_file=state / "proxy.log"),
            processes.running(
                enclave, listens_on=UnixAddress(str(state / "enclave.sock")), log_file=state / "enclave.log"
            ),
        ):
            variable, *command = instance
            name, _, value = variable.partition("=")
            done = processes.run_instance(command[1:], environment={name: value})
            assert (done.returncode, done.stdout, done.stderr) == (0, SAMPLE_PLAINTEXT + b"\n", b"")
    finally:
        process.send_signal(signal.SIGINT)
        process.stdout.close()
    assert process.wait(30) == 130


def test_run_plans_errors_and_policies_for_the_program(state: Path) -> None:
    policy = {"Effect": "Deny", "Action": "kms:GenerateRandom", "Resource": "*"}
    (state / "scp.json").write_text(json.dumps({"Statement": [{**policy, "Effect": "Allow", "Action": "*"}, policy]}))
    program = (
        'printf x | kmstool-instance encrypt --key-id "$KMSTOOL_SIM_KEY_ID" > "$0/blob";'
        'kmstool-instance decrypt - < "$0/blob"; echo "exit $?"; kmstool-instance genrandom --length 8; echo "exit $?"'
    )
    done = subprocess.run(
        [
            processes.tool_path("kmstool-sim"), "run",
            "--service-control-policy", str(state / "scp.json"),
            "--fail", "Decrypt=DisabledException",
            "sh", "-c", program, str(state),
        ],
        capture_output=True,
        env=processes.clean_environment({}),
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.count(b"exit 0"), done.stdout.count(b"exit ")) == (0, 0, 2), done.stderr
    assert b"DisabledException" in done.stderr
    assert b"kms:GenerateRandom on resource: * with an explicit deny in a service control policy" in done.stderr


def test_a_debug_mode_enclave_is_refused_by_a_policy_that_wants_its_measurement(state: Path) -> None:
    from nitro_simulator.account import SimulatedAccount
    from nitro_simulator.deployment import command_lines as commands
    from vsock_wire.protocol.json_codec import encode_base64

    with SimulatedAccount(state, debug=True) as account:
        ciphertext = encode_base64(account.key.seal(b"x", encryption_context={}))
        with (
            processes.running(
                commands.proxy_command(account),
                listens_on=commands.proxy_address(account),
                log_file=state / "proxy.log",
            ),
            processes.running(
                commands.enclave_command(account),
                listens_on=commands.enclave_address(account),
                log_file=state / "enclave.log",
            ),
        ):
            done = processes.run_instance(
                [*commands.instance_arguments(account), ciphertext], environment=account.imds_environment
            )
        assert done.returncode == 5
        assert account.kms.journal.entries()[-1].pcr0 == "00" * 48


def test_a_state_directory_that_cannot_be_made_is_an_error() -> None:
    done = subprocess.run(
        [processes.tool_path("kmstool-sim"), "up", "--state", "/dev/null/state"],
        capture_output=True,
        env=processes.clean_environment({}),
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().startswith("kmstool-sim: error: --state /dev/null/state: ")


def test_the_aws_command_line_is_told_how_to_use_it(state: Path) -> None:
    """The AWS CLI is not installed here; boto3 reads the same variables."""
    import boto3

    from nitro_simulator.account import KEY_ALIAS, SimulatedAccount

    with SimulatedAccount(state) as account, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_CA_BUNDLE", str(account.ca_file))
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("AWS_METADATA_SERVICE_TIMEOUT", "30")  # instead of a second: this machine may be busy
        for name, value in account.imds_environment.items():
            patch.setenv(name, value)
        # A session of its own: that of the whole process may have found no credentials before.
        client = boto3.Session().client("kms", region_name=account.region, endpoint_url=account.kms_endpoint_url)
        answer = client.encrypt(KeyId=KEY_ALIAS, Plaintext=b"x")
        assert json.dumps(answer["KeyId"]) == json.dumps(account.key.arn)
