"""Each command accepts the options that it uses and no others, before or after its name."""

from __future__ import annotations

import click
import pytest

from instance_tool.main import COMMANDS, command
from tests.support.instance.command_line import Tool

CONNECTION = {
    *("--cid", "--port", "--enclave", "--enclave-name", "--trust-uid", "--timeout"),
    *("--verbose", "--quiet", "--log-format"),
}
CREDENTIALS = {"--region", "--profile"}
RESULT = CREDENTIALS | {"--output", "--out"}
KEY = {"--key-id", "--encryption-context"}
GRANTS = {"--grant-token", "--dry-run"}
EXPECTATIONS = {"--expect", "--pcr", "--max-age", "--leeway", "--root"}
OPTIONS = {
    "attest": CONNECTION
    | EXPECTATIONS
    | {
        "--output",
        "--explain",
        "--nonce",
        "--user-data",
        "--bare-user-data",
        "--public-key",
        "--save",
    },
    "decrypt": CONNECTION | RESULT | KEY | GRANTS | {"--explain", "--encryption-algorithm", "--batch", "--no-newline"},
    "derive": CONNECTION | RESULT | GRANTS | {"--explain", "--key-id", "--public-key", "--no-newline"},
    "describe": CONNECTION | {"--explain"},
    "doctor": CONNECTION
    | CREDENTIALS
    | KEY
    | {"--output", "--encryption-algorithm", "--grant-token", "--ciphertext", "--proxy-remote"},
    "encrypt": CONNECTION | RESULT | KEY | GRANTS | {"--explain", "--encryption-algorithm"},
    "genkey": CONNECTION | RESULT | KEY | GRANTS | {"--explain", "--key-spec", "--length", "--ciphertext-out"},
    "genkeypair": CONNECTION
    | RESULT
    | KEY
    | GRANTS
    | {"--explain", "--key-pair-spec", "--ciphertext-out", "--public-key-out"},
    "genrandom": CONNECTION | RESULT | {"--length", "--no-newline"},
    "policy": {"--measurements", "--role", "--admin", "--pcr", "--operation", "--enable-iam-policies"},
    "policy explain": {
        "--policy",
        "--document",
        "--operation",
        "--key-arn",
        "--context-key",
        "--role",
        "--encryption-context",
        "--output",
    },
    "serve": CONNECTION | CREDENTIALS | {"--socket", "--enclave-connections", "--max-connections", "--idle-timeout"},
    "verify": EXPECTATIONS | {"--at", "--nonce", "--user-data", "--public-key", "--output"},
}
VALUES = {
    "--cid": "16",
    "--port": "3000",
    "--enclave": "unix:/nobody",
    "--enclave-name": "app",
    "--timeout": "1",
    "--trust-uid": "1",
    "--region": "us-east-1",
    "--profile": "p",
    "--output": "base64",
    "--log-format": "json",
    "--out": "-",
    "--encryption-context": "a=1",
    "--key-id": "k",
    "--encryption-algorithm": "SYMMETRIC_DEFAULT",
    "--grant-token": "t",
}
"""Values for the options that may come before a command's name; options that are not listed are flags."""
NOT_THERE = [(name, option) for name, options in OPTIONS.items() for option in sorted(OPTIONS["decrypt"] - options)]


def options_of(parent: click.Group, name: str) -> set[str]:
    context = click.Context(parent)
    found = parent.get_command(context, name)
    assert found is not None
    return {flag for option in found.params for flag in option.opts if flag.startswith("--")}


@pytest.mark.parametrize("name", [name for name in OPTIONS if " " not in name])
def test_command_has_these_options_and_no_others(name: str) -> None:
    assert options_of(command, name) == OPTIONS[name]


def test_subcommand_has_these_options_and_no_others() -> None:
    policy = command.get_command(click.Context(command), "policy")
    assert isinstance(policy, click.Group)
    assert options_of(policy, "explain") == OPTIONS["policy explain"]
    assert {name for name in OPTIONS if " " not in name} == set(COMMANDS)


def test_program_itself_has_the_options_of_the_default_command() -> None:
    own = {flag for option in command.params for flag in option.opts if flag.startswith("--")}
    assert own - {"--version"} == OPTIONS["decrypt"]


@pytest.mark.parametrize(("name", "option"), NOT_THERE, ids=" ".join)
def test_option_that_a_command_does_not_have_is_refused_on_either_side_of_its_name(
    tool: Tool, name: str, option: str
) -> None:
    given = [option, VALUES[option]] if option in VALUES else [option]
    for arguments in ([*given, *name.split()], [*name.split(), *given]):
        assert tool.run(*arguments) == 2
        assert tool.out == b""
        assert tool.err.startswith(f"kmstool-instance: error: {name}: no such option '{option}'")
        assert f"\nhint: for usage, run: kmstool-instance {name} --help\n" in tool.err
