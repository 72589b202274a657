"""kmstool-sim demo: shows the whole flow on the terminal."""

from __future__ import annotations

from pathlib import Path

import click

from vsock_wire.errors import ExitCode


@click.command()
def demo() -> int:
    """Run the whole flow on this machine and show each step.

    \b
    Example:
      kmstool-sim demo
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    from nitro_simulator.deployment.supervision import run_supervised  # noqa: PLC0415 - help need not wait for it

    return run_supervised(_show)


def _show(directory: Path) -> int:
    from nitro_simulator.deployment.walkthrough import Narrator, walk_through  # noqa: PLC0415 - help need not wait for boto3

    count = 0

    def step(title: str) -> None:
        nonlocal count
        count += 1
        click.echo()
        click.secho(f"{count}. {title}", bold=True)

    click.echo("kmstool-sim demo: nothing here leaves this machine, and no AWS account is needed")
    plaintext = walk_through(Narrator(step, lambda line: click.echo(f"   {line}")), directory)
    click.echo()
    click.secho("the plaintext, as kmstool-instance printed it:", bold=True)
    click.echo(plaintext)
    return ExitCode.DONE
