"""kmstool-sim: what a person without Nitro hardware needs to run and try everything."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from nitro_simulator.account import KEY_ALIAS, REGION, SimulatedAccount
from nitro_simulator.deployment import command_lines as commands
from nitro_simulator.deployment.environment import running_deployment
from nitro_simulator.deployment.processes import tool_path
from nitro_simulator.errors import SimulatorError
from nitro_simulator.identities import DEFAULT_LIFETIME_S
from nitro_simulator.walkthrough import Narrator, walk_through
from vsock_wire.cli.program import run_program, set_up_logging
from vsock_wire.errors import InputError, quoted
from vsock_wire.protocol.json_codec import encode_base64
from vsock_wire.version import version_text

PROGRAM = "kmstool-sim"
SAMPLE_PLAINTEXT = b"a secret that only the enclave may see"


@click.group(PROGRAM, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(version_text(), prog_name=PROGRAM)
def command() -> None:
    """Stand-ins for what only AWS has, to run kmstool without Nitro hardware.

    A Nitro Security Module that signs real attestation documents, a KMS that
    verifies them and enforces key policies, and IMDSv2. All keys are made at
    the start and thrown away at the end; no real secret belongs in here.

    \b
    Examples:
      kmstool-sim demo
      kmstool-sim run sh
    """  # noqa: D301 - \b is click's mark for text not to rewrap


@command.command()
def demo() -> None:
    """Run the whole flow on this machine, and show each step.

    \b
    Example:
      kmstool-sim demo
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    count = 0

    def step(title: str) -> None:
        nonlocal count
        count += 1
        click.echo()
        click.secho(f"{count}. {title}", bold=True)

    click.echo("kmstool-sim demo: nothing here leaves this machine, and no AWS account is needed")
    with _directory(None) as directory:
        plaintext = walk_through(directory, Narrator(step, lambda line: click.echo(f"   {line}")))
    click.echo()
    click.secho("the plaintext, as kmstool-instance printed it:", bold=True)
    click.echo(plaintext)


@command.command()
@click.option("--state", type=click.Path(file_okay=False, path_type=Path), help="Keep sockets and files in DIRECTORY.")
@click.option("--region", default=REGION, show_default=True, help="AWS region that KMS plays.")
@click.option(
    "--credentials-lifetime", type=click.FloatRange(min=1), default=float(DEFAULT_LIFETIME_S), show_default=True,
    metavar="SECONDS", help="How long the role's credentials last.",
)  # fmt: skip
@click.option("--debug-mode", is_flag=True, help="Run the enclave in debug mode: PCR0 to PCR2 are zeros.")
def up(state: Path | None, region: str, credentials_lifetime: float, *, debug_mode: bool) -> None:
    """Start everything, print the commands to paste, and run until Ctrl-C.

    \b
    Example:
      kmstool-sim up --state ~/sim
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    set_up_logging("nitro_simulator", verbosity=1)
    with (
        _directory(state) as directory,
        SimulatedAccount(
            directory, region=region, credentials_lifetime_s=credentials_lifetime, debug=debug_mode
        ) as account,
    ):
        _print_commands(account)
        _wait_for_end()


@command.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED, metavar="PROGRAM [ARG]...")
def run(program: tuple[str, ...]) -> int:
    """Start everything, the proxy and the enclave too, and run PROGRAM.

    PROGRAM finds all of it by its environment: kmstool-instance the enclave,
    AWS's command line and SDKs the KMS and the role, and your own code what
    KMSTOOL_SIM_KEY_ID, _NSM, _PROXY, _CA_FILE and _ROOT say. The exit code is
    PROGRAM's own.

    \b
    Examples:
      kmstool-sim run sh
      kmstool-sim run python my_enclave_application.py
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    with (
        _directory(None) as directory,
        SimulatedAccount(directory) as account,
        running_deployment(account) as environment,
    ):
        try:
            return subprocess.run(program, env=environment, check=False).returncode
        except OSError as error:
            raise InputError(f"{quoted(program[0])}: {(error.strerror or str(error)).lower()}") from error


def main() -> NoReturn:
    """Run kmstool-sim."""
    run_program(PROGRAM, command, click.ClickException)


def _print_commands(account: SimulatedAccount) -> None:
    answer = account.unattested_client().encrypt(KeyId=KEY_ALIAS, Plaintext=SAMPLE_PLAINTEXT)
    ciphertext_b64 = encode_base64(answer["CiphertextBlob"])
    instance = ["kmstool-instance", *commands.instance_arguments(account), ciphertext_b64]
    proxy, enclave = commands.proxy_command(account), commands.enclave_command(account)
    credentials = " ".join(f"{name}={value}" for name, value in account.imds_environment.items())
    for title, line in (
        ("in a second terminal, the proxy of the parent instance:", _pasteable(proxy)),
        ("in a third, the enclave:", _pasteable(enclave)),
        ("in a fourth, the parent instance asks the enclave:", f"{credentials} {_pasteable(instance)}"),
        ("the same KMS for the AWS command line:", _aws_command(account, credentials)),
    ):
        click.secho(f"# {title}", bold=True)
        click.echo(line + "\n")
    click.echo(f"# running; sockets and files are in {account.directory}; Ctrl-C ends it")
    sys.stdout.flush()


def _pasteable(command_line: list[str]) -> str:
    """Return a command line that starts this installation's program, whatever else of that name is in PATH."""
    name, own_path = command_line[0], tool_path(command_line[0])
    return shlex.join([name if shutil.which(name) == own_path else own_path, *command_line[1:]])


def _aws_command(account: SimulatedAccount, credentials: str) -> str:
    return (
        f"{credentials} AWS_CA_BUNDLE={account.ca_file} aws kms encrypt --region {account.region}"
        f" --endpoint-url {account.kms_endpoint_url} --key-id {KEY_ALIAS}"
        " --plaintext fileb:///etc/hostname --query CiphertextBlob --output text"
    )


def _wait_for_end() -> None:
    """Sleep until SIGINT, which ``run_program`` turns into exit code 130, or SIGTERM."""

    def stop(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    while True:
        signal.pause()


@contextlib.contextmanager
def _directory(state: Path | None) -> Iterator[Path]:
    """Yield the directory for sockets: the one asked for, or one that is removed at the end."""
    if state is None:
        with tempfile.TemporaryDirectory(prefix="kmstool-", ignore_cleanup_errors=True) as directory:
            yield Path(directory)
        return
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SimulatorError(f"--state {state}: {(error.strerror or str(error)).lower()}") from error
    yield state.resolve()
