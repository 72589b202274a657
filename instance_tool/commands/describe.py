"""The command that prints what an enclave reports about itself."""

from __future__ import annotations

import json

import click

from instance_tool.console.options import EXPLAIN_OPTION, with_connection
from instance_tool.console.perform import explaining
from instance_tool.console.settings import ConnectionSettings
from vsock_wire.protocol.vocabulary import Operation


class DescribeSettings(ConnectionSettings):
    """The options of ``describe``."""

    explain: bool


@click.command()
@with_connection(DescribeSettings, EXPLAIN_OPTION)
def describe(settings: DescribeSettings) -> None:
    """Print the enclave's unverified report about itself, as JSON.

    \b
    Example:
      kmstool-instance describe --cid 16
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    with explaining(Operation.DESCRIBE, is_wanted=settings.explain), settings.new_client() as client:
        description = client.describe()
    click.echo(json.dumps(description, indent=2))
