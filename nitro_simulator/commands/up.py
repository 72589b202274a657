"""kmstool-sim up: runs the services of a simulated account and prints commands that use them."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import NoReturn

import click

from nitro_simulator.errors import SimulatorError
from nitro_simulator.identities import DEFAULT_LIFETIME_S
from vsock_wire.cli.program import set_up_logging
from vsock_wire.errors import ExitCode
from vsock_wire.protocol.vocabulary import DEFAULT_REGION


@click.command()
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for sockets and files. [default: a temporary one]",
)
@click.option("--region", default=DEFAULT_REGION, show_default=True, help="AWS region of the simulated KMS.")
@click.option(
    "--credentials-lifetime", type=click.FloatRange(min=1), default=float(DEFAULT_LIFETIME_S), show_default=True,
    metavar="SECONDS", help="How long the role's credentials are valid.",
)  # fmt: skip
@click.option("--debug-mode", is_flag=True, help="Run the enclave in debug mode: PCR0 to PCR2 are zeros.")
def up(state: Path | None, region: str, credentials_lifetime: float, *, debug_mode: bool) -> int:
    """Start everything, print commands to paste, and run until Ctrl-C.

    \b
    Example:
      kmstool-sim up --state ~/sim
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    from nitro_simulator.deployment.supervision import SIGNAL_EXIT_BASE, run_supervised  # noqa: PLC0415 - help need not wait for it

    set_up_logging("nitro_simulator", verbosity=1)

    def serve(directory: Path) -> NoReturn:
        _serve(directory, region=region, credentials_lifetime=credentials_lifetime, debug_mode=debug_mode)

    code = run_supervised(serve, directory=None if state is None else _made_directory(state))
    return ExitCode.DONE if code == SIGNAL_EXIT_BASE + signal.SIGTERM else code


def _serve(directory: Path, *, region: str, credentials_lifetime: float, debug_mode: bool) -> NoReturn:
    from nitro_simulator.account import SimulatedAccount  # noqa: PLC0415 - help need not wait for boto3
    from nitro_simulator.deployment.pasteable import pasteable_commands  # noqa: PLC0415 - loads the account too

    with SimulatedAccount(
        directory, region=region, credentials_lifetime_s=credentials_lifetime, debug=debug_mode
    ) as account:
        for title, line in pasteable_commands(account):
            click.secho(f"# {title}", bold=True)
            click.echo(line + "\n")
        click.echo(f"# running; sockets and files are in {account.directory}; press Ctrl-C to stop")
        sys.stdout.flush()
        while True:
            signal.pause()


def _made_directory(state: Path) -> Path:
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SimulatorError(f"--state {state}: {(error.strerror or str(error)).lower()}") from error
    return state.resolve()
