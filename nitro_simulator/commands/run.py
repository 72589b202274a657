"""kmstool-sim run: runs a program with a simulated account in its environment."""

from __future__ import annotations

from pathlib import Path

import click

from vsock_wire.errors import InputError, quoted


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED, metavar="PROGRAM [ARG]...")
def run(program: tuple[str, ...]) -> int:
    """Start everything, including the proxy and the enclave, and run PROGRAM.

    Environment variables tell kmstool-instance where the enclave is, AWS's
    command line and SDKs where KMS and the role's credentials are, and your
    own code the values of KMSTOOL_SIM_KEY_ID, _NSM, _PROXY, _CA_FILE and
    _ROOT. The exit code is that of PROGRAM.

    \b
    Examples:
      kmstool-sim run sh
      kmstool-sim run python my_enclave_application.py
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    from nitro_simulator.deployment.supervision import run_supervised  # noqa: PLC0415 - help need not wait for it

    return run_supervised(lambda directory: _run(program, directory))


def _run(program: tuple[str, ...], directory: Path) -> int:
    from nitro_simulator.account import SimulatedAccount  # noqa: PLC0415 - help need not wait for boto3
    from nitro_simulator.deployment.environment import running_deployment  # noqa: PLC0415 - loads the account too
    from nitro_simulator.deployment.supervision import run_to_end  # noqa: PLC0415

    with SimulatedAccount(directory) as account, running_deployment(account) as environment:
        try:
            return run_to_end(program, environment)
        except OSError as error:
            raise InputError(f"{quoted(program[0])}: {(error.strerror or str(error)).lower()}") from error
