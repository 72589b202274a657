"""kmstool-sim up: runs the services of a simulated account and prints commands that use them."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import NoReturn

import click

from nitro_simulator.deployment.account_options import ACCOUNT_OPTIONS, AccountSettings
from nitro_simulator.errors import SimulatorError
from nitro_simulator.identities import DEFAULT_LIFETIME_S
from vsock_wire.cli.settings import with_settings
from vsock_wire.cli.values import parse_seconds
from vsock_wire.errors import ExitCode


class UpSettings(AccountSettings):
    """The options of ``up``."""

    state: Path | None
    credentials_lifetime: float
    debug_mode: bool


@click.command()
@with_settings(
    UpSettings,
    click.option(
        "--state",
        type=click.Path(file_okay=False, path_type=Path),
        help="Directory for sockets and files. [default: a temporary one]",
    ),
    *ACCOUNT_OPTIONS,
    click.option(
        "--credentials-lifetime", type=parse_seconds, default=float(DEFAULT_LIFETIME_S), show_default=True,
        metavar="SECONDS", help="How long the role's credentials are valid.",
    ),
    click.option("--debug-mode", is_flag=True, help="Run the enclave in debug mode: PCR0 to PCR2 are zeros."),
)  # fmt: skip
def up(settings: UpSettings) -> None:
    """Start everything, print commands to paste, and run until Ctrl-C.

    \b
    Example:
      kmstool-sim up --state ~/sim
      kmstool-sim up --region cn-north-1 --fail Decrypt=ThrottlingException:3
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    from nitro_simulator.deployment.supervision import SIGNAL_EXIT_BASE, run_supervised  # noqa: PLC0415 - help need not wait for it

    given = None if settings.state is None else _made_directory(settings.state)
    code = run_supervised(lambda directory: _serve(settings, directory), directory=given)
    sys.exit(ExitCode.DONE if code == SIGNAL_EXIT_BASE + signal.SIGTERM else code)


def _serve(settings: UpSettings, directory: Path) -> NoReturn:
    from nitro_simulator.deployment.pasteable import pasteable_commands  # noqa: PLC0415 - loads the account too

    with settings.new_account(
        directory, lifetime_s=settings.credentials_lifetime, debug=settings.debug_mode
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
