"""Options of kmstool-sim that describe the account."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from nitro_simulator.account import SimulatedAccount
from nitro_simulator.deployment.account_options import ACCOUNT_OPTIONS, AccountSettings
from nitro_simulator.errors import KmsFault
from nitro_simulator.identities import Identities
from vsock_wire.cli.settings import with_settings
from vsock_wire.errors import InputError, ToolError

ALLOW = {"Effect": "Allow", "Action": "kms:Encrypt", "Resource": "*"}


def account_of(*arguments: str) -> SimulatedAccount:
    found: list[AccountSettings] = []

    @click.command()
    @with_settings(AccountSettings, *ACCOUNT_OPTIONS)
    def keep(settings: AccountSettings) -> None:
        found.append(settings)

    keep(args=list(arguments), prog_name="test", standalone_mode=False)
    return found[0].new_account(lifetime_s=900)


def refusal(account: SimulatedAccount, operation: str = "GenerateRandom") -> str:
    """Return the text with which KMS refuses the role a request without parameters, or the code of another error."""
    with pytest.raises(KmsFault) as fault:
        account.kms.call(operation, {}, Identities(partition="aws").principal("EnclaveInstanceRole"))
    return fault.value.message or fault.value.code


def test_without_options_is_as_before() -> None:
    with account_of() as account:
        assert account.region == "us-east-1"
        assert refusal(account) == "NumberOfBytes is required."


@pytest.mark.parametrize(
    ("option", "kind"),
    [
        ("--identity-policy", "identity-based policy"),
        ("--service-control-policy", "service control policy"),
        ("--vpc-endpoint-policy", "VPC endpoint policy"),
    ],
)
def test_policy_of_each_kind_is_read_from_its_file(tmp_path: Path, option: str, kind: str) -> None:
    principal = {"Principal": "*"} if option.startswith("--vpc") else {}
    (tmp_path / "p").write_text(json.dumps({"Statement": {**ALLOW, **principal}}))
    with account_of(option, str(tmp_path / "p")) as account:
        assert f"because no {kind} allows the kms:GenerateRandom action" in refusal(account)


def test_key_policy_replaces_the_one_for_the_enclave_in_every_region(tmp_path: Path) -> None:
    text = json.dumps({"Statement": {**ALLOW, "Principal": "*"}})
    (tmp_path / "p").write_text(text)
    with account_of("--key-policy", str(tmp_path / "p"), "--replica-region", "eu-west-1") as account:
        assert account.key.policy_text == account.replicas["eu-west-1"].policy_text == text


def test_fail_plans_errors_in_their_order() -> None:
    with account_of("--fail", "GenerateRandom=ThrottlingException:2", "--fail", "KMSInternalException") as account:
        found = [refusal(account, "GenerateRandom") for _ in range(4)]
    assert found[2:] == ["KMSInternalException", "NumberOfBytes is required."]
    assert (
        found[0]
        == found[1]
        == ("You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.")
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--fail", "Nope"], '--fail "Nope": KMS has no error Nope'),
        (["--fail", "Decypt=ThrottlingException"], "the simulated KMS has no operation Decypt"),
        (["--fail", "ThrottlingException:0"], "--fail .*: expected .OPERATION=.CODE.:COUNT."),
        (["--fail", "ThrottlingException:x"], "--fail .*: expected .OPERATION=.CODE.:COUNT."),
        (["--replica-region", "cn-north-1"], "--replica-region: region: cn-north-1 is in another partition"),
        (["--replica-region", "us-east-1"], "--replica-region: region: the account already has us-east-1"),
        (["--identity-policy", "/dev/null"], "--identity-policy: identity-based policy: not JSON"),
        (["--key-policy", "/dev/null"], "--key-policy: key policy: not valid JSON"),
        (["--vpc-endpoint-policy", "/nowhere"], "--vpc-endpoint-policy"),
    ],
)
def test_value_that_cannot_be_is_a_mistake_of_usage(arguments: list[str], text: str) -> None:
    with pytest.raises(InputError, match=text):
        account_of(*arguments)


def test_unknown_region_is_an_error() -> None:
    with pytest.raises(ToolError, match="'nowhere' is in no partition of AWS"):
        account_of("--region", "nowhere")
