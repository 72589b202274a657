"""The command that asks an enclave about itself."""

from __future__ import annotations

import json
from typing import Any

import click

from instance_tool.console.options import SHARED_OPTIONS, merged_options, parse_settings
from vsock_wire.cli.shared_options import with_options
from vsock_wire.protocol.vocabulary import Operation


@click.command()
@with_options(SHARED_OPTIONS)
@click.pass_context
def describe(ctx: click.Context, /, **_options: Any) -> None:
    """Print what the enclave says of itself, as JSON. Nothing in it is proven.

    \b
    Example:
      kmstool-instance describe --cid 16
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    settings = parse_settings(merged_options(ctx))
    with settings.explaining(Operation.DESCRIBE), settings.open_client() as client:
        description = client.describe()
    click.echo(json.dumps(description, indent=2))
