"""The command that generates a key pair with KMS."""

from __future__ import annotations

import click

from instance_tool.console.kms_requests import kms_request, required_key_id
from instance_tool.console.options import EXPLAIN_OPTION, GRANT_OPTIONS, KEY_OPTIONS, RESULT_OPTIONS, with_connection
from instance_tool.console.perform import perform
from instance_tool.console.settings import GrantSettings, KeySettings, ResultSettings
from vsock_wire.cli.shared_options import KEY_PAIR_SPEC
from vsock_wire.protocol.vocabulary import Operation


class GenkeypairSettings(ResultSettings, KeySettings, GrantSettings):
    """The options of ``genkeypair``."""

    explain: bool
    key_pair_spec: str


@click.command()
@with_connection(
    GenkeypairSettings,
    *RESULT_OPTIONS,
    EXPLAIN_OPTION,
    *KEY_OPTIONS,
    *GRANT_OPTIONS,
    KEY_PAIR_SPEC.declare(click.option),
)
def genkeypair(settings: GenkeypairSettings) -> None:
    """Generate a key pair; the private key is also encrypted under --key-id.

    \b
    Example:
      kmstool-instance genkeypair --cid 16 --key-id alias/app \\
          --key-pair-spec RSA_2048
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    request = kms_request(
        Operation.GENERATE_DATA_KEY_PAIR,
        key_id=required_key_id(settings.key_id),
        encryption_context=settings.encryption_context,
        grants=settings,
        KeyPairSpec=settings.key_pair_spec,
    )
    perform(settings, request, explain=settings.explain)
