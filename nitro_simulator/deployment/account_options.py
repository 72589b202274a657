"""The options of ``kmstool-sim`` that say what the simulated account is like."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vsock_wire.cli.settings import Settings
from vsock_wire.cli.streams import read_file
from vsock_wire.errors import InputError, quoted
from vsock_wire.protocol.vocabulary import DEFAULT_REGION

if TYPE_CHECKING:
    from collections.abc import Callable

    from nitro_simulator.account import SimulatedAccount
    from nitro_simulator.kms.service import SimulatedKms

MAX_POLICY_FILE_BYTES = 65_536
"""Twice the size of KMS's largest key policy."""
_FAIL = re.compile(r"(?:(?P<operation>\w+)=)?(?P<code>\w+)(?::(?P<count>[1-9][0-9]{0,5}))?", re.ASCII)
_FAIL_HINT = "such as Decrypt=ThrottlingException:3 or KMSInternalException"

ACCOUNT_OPTIONS = (
    click.option("--region", default=DEFAULT_REGION, show_default=True, help="AWS region of the simulated KMS."),
    click.option(
        "--replica-region", multiple=True, metavar="REGION", help="More regions, with replicas of the key; repeatable.",
    ),
    click.option("--key-policy", metavar="FILE", help="Policy of the key, instead of one for the enclave's PCR0."),
    click.option("--identity-policy", metavar="FILE", help="IAM policy of the role, instead of kms:*."),
    click.option("--service-control-policy", metavar="FILE", help="Service control policy of the account."),
    click.option("--vpc-endpoint-policy", metavar="FILE", help="Policy of a VPC endpoint for all requests."),
    click.option(
        "--fail", multiple=True, metavar="[OPERATION=]CODE[:COUNT]",
        help="Have the next COUNT requests fail, such as Decrypt=ThrottlingException:3; repeatable.",
    ),
)  # fmt: skip
"""AccountSettings."""


class AccountSettings(Settings):
    """What these options say."""

    region: str
    replica_region: tuple[str, ...]
    key_policy: str | None
    identity_policy: str | None
    service_control_policy: str | None
    vpc_endpoint_policy: str | None
    fail: tuple[str, ...]

    def new_account(self, directory: Path | None = None, *, lifetime_s: float, debug: bool = False) -> SimulatedAccount:
        """Start the account that the options describe.

        Args:
            directory: as for SimulatedAccount.
            lifetime_s: how long the role's credentials are valid.
            debug: whether the enclave is in debug mode.

        Raises:
            InputError: an option has no possible value.
            SimulatorError: there is no such region.
        """
        from nitro_simulator.account import SimulatedAccount  # noqa: PLC0415 - help need not wait for boto3

        try:
            account = SimulatedAccount(
                directory,
                region=self.region,
                replica_regions=self.replica_region,
                credentials_lifetime_s=lifetime_s,
                debug=debug,
            )
        except ValueError as error:
            raise InputError(f"--replica-region: {error}") from None
        try:
            self._configure(account)
        except BaseException:
            account.close()
            raise
        return account

    def _configure(self, account: SimulatedAccount) -> None:
        policies = account.kms.policies
        for key in (account.key, *account.replicas.values()):
            _put("--key-policy", self.key_policy, partial(account.kms.put_key_policy, key))
        _put(
            "--identity-policy",
            self.identity_policy,
            lambda text: policies.put_identity_policy(account.role_arn, text),
        )
        _put("--service-control-policy", self.service_control_policy, policies.put_service_control_policy)
        _put("--vpc-endpoint-policy", self.vpc_endpoint_policy, policies.put_vpc_endpoint_policy)
        for entry in self.fail:
            _fail(account.kms, entry)


def _put(option: str, path: str | None, put: Callable[[str], None]) -> None:
    from nitro_attestation.errors import PolicyError  # noqa: PLC0415 - help need not wait for it

    if path is None:
        return
    try:
        put(read_file(path, option, max_bytes=MAX_POLICY_FILE_BYTES).decode("utf-8"))
    except PolicyError as error:
        raise InputError(f"{option}: {error}", hint=error.hint) from None
    except UnicodeDecodeError:
        raise InputError(f"{option}: {quoted(path)} is not a text in UTF-8") from None


def _fail(kms: SimulatedKms, entry: str) -> None:
    match = _FAIL.fullmatch(entry)
    if match is None:
        raise InputError(f"--fail {quoted(entry)}: expected [OPERATION=]CODE[:COUNT]", hint=_FAIL_HINT)
    try:
        kms.fail(match["code"], operation=match["operation"], count=int(match["count"] or 1))
    except ValueError as error:
        raise InputError(f"--fail {quoted(entry)}: {error}", hint=_FAIL_HINT) from None
