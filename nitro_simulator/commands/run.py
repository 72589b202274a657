"""kmstool-sim run: runs a program with a simulated account in its environment."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from nitro_simulator.deployment.account_options import ACCOUNT_OPTIONS, AccountSettings
from nitro_simulator.identities import DEFAULT_LIFETIME_S
from vsock_wire.cli.settings import with_settings
from vsock_wire.errors import InputError, quoted


class RunSettings(AccountSettings):
    """The options of ``run``."""

    program: tuple[str, ...]


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@with_settings(
    RunSettings,
    *ACCOUNT_OPTIONS,
    click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED, metavar="PROGRAM [ARG]..."),
)
def run(settings: RunSettings) -> None:
    """Start everything, including the proxy and the enclave, and run PROGRAM.

    Environment variables tell kmstool-instance where the enclave is, AWS's
    command line and SDKs where KMS and the role's credentials are, and your
    own code the values of KMSTOOL_SIM_KEY_ID, _NSM, _PROXY, _CA_FILE and
    _ROOT. The exit code is that of PROGRAM.

    \b
    Examples:
      kmstool-sim run sh
      kmstool-sim run --fail ThrottlingException:3 python my_application.py
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    from nitro_simulator.deployment.supervision import run_supervised  # noqa: PLC0415 - help need not wait for it

    sys.exit(run_supervised(lambda directory: _run(settings, directory)))


def _run(settings: RunSettings, directory: Path) -> int:
    from nitro_simulator.deployment.environment import running_deployment  # noqa: PLC0415 - loads the account too
    from nitro_simulator.deployment.supervision import run_to_end  # noqa: PLC0415

    account = settings.new_account(directory, lifetime_s=DEFAULT_LIFETIME_S)
    with account, running_deployment(account) as environment:
        try:
            return run_to_end(settings.program, environment)
        except OSError as error:
            raise InputError(f"{quoted(settings.program[0])}: {(error.strerror or str(error)).lower()}") from error
