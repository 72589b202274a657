"""The table of refusals, made from botocore's model of KMS by what the programs print for each refusal.

``pytest -s tests/docs/test_kms_refusals.py`` prints it. docs/reference/kms-refusals.md has the same rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import boto3
import click
import pytest
from botocore.exceptions import ClientError

import enclave_tool.commands.kmstool_enclave_cli
import instance_tool.main
from enclave_tool.commands.single_call import OperationError
from enclave_tool.errors import KmsError
from enclave_tool.kms.failures import kms_failure
from enclave_tool.server.session import refuse
from instance_tool.errors import EnclaveError
from tests.support.project.doc_blocks import ROOT
from tools.reference.refusal_page import WORDS
from vsock_wire.errors import ExitCode
from vsock_wire.net.address import VsockAddress
from vsock_wire.protocol.kms_operations import KMS_OPERATIONS
from vsock_wire.protocol.messages import ErrorReply, parse_reply
from vsock_wire.protocol.refusals.row import Reason
from vsock_wire.protocol.refusals.table import REFUSALS
from vsock_wire.protocol.vocabulary import Operation, Service

PAGE = ROOT / "docs/reference/kms-refusals.md"
COMMON_ERRORS = (
    "AccessDeniedException",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InternalFailure",
    "InvalidAction",
    "InvalidClientTokenId",
    "MalformedHttpRequestException",
    "MissingAuthenticationToken",
    "NotAuthorized",
    "OptInRequired",
    "RequestAbortedException",
    "RequestEntityTooLargeException",
    "RequestExpired",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "ThrottlingException",
    "UnknownOperationException",
    "UnrecognizedClientException",
    "ValidationError",
    "ValidationException",
)
"""Errors of every operation. Source: KMS API reference, "Common Errors", in today's form and in that of 2021."""
SENT_BY_KMS = ("IncompleteSignatureException", "InvalidSignatureException", "MissingAuthenticationTokenException")
"""More errors of every operation, which KMS sends but AWS does not list."""
COMMANDS = {
    Operation.DECRYPT: "decrypt",
    Operation.ENCRYPT: "encrypt",
    Operation.GENERATE_DATA_KEY: "genkey",
    Operation.GENERATE_DATA_KEY_PAIR: "genkeypair",
    Operation.GENERATE_RANDOM: "genrandom",
    Operation.DERIVE_SHARED_SECRET: "derive",
}
PROGRAMS = (instance_tool.main.command, enclave_tool.commands.kmstool_enclave_cli.command)
PARAMETER = "1 validation error detected: Value 'x' at 'keyId' failed to satisfy constraint: x"
DOCUMENT = "The attestation document is not valid"


class Met(NamedTuple):
    """One refusal as the users of both programs meet it."""

    operation: Operation
    code: str
    reason: str
    exit_code: int
    hint: str


def documented_errors(operation: Operation) -> list[str]:
    """Return the errors that botocore's model of KMS lists for an operation, and those of every operation."""
    model = boto3.Session().client("kms", region_name="us-east-1").meta.service_model.operation_model(operation)
    own = [shape.metadata.get("error", {}).get("code") or shape.name for shape in model.error_shapes]
    assert own
    return sorted({*own, *COMMON_ERRORS, *SENT_BY_KMS})


def texts_of(operation: Operation, code: str) -> Iterator[tuple[Reason | None, str]]:
    """Yield the reasons that the code may have for the operation, with a text of KMS that states each."""
    if code in ("ValidationException", "ValidationError"):
        yield Reason.PARAMETER, PARAMETER
        if KMS_OPERATIONS[operation].delivers is not None:
            yield Reason.ATTESTATION_DOCUMENT, DOCUMENT
            yield None, ""
        return
    yield Reason.CLOCK if code == "RequestExpired" else None, ""
    if code == "InvalidSignatureException":
        yield Reason.CLOCK, "Signature expired: 20250101T000000Z is now earlier than 20250101T000500Z"
    if code == "AccessDeniedException":
        for reason, words in WORDS.items():
            action = f"kms:{operation}"
            place = "" if operation is Operation.GENERATE_RANDOM else " on resource: arn:aws:kms:r:1:key/k"
            yield (
                reason,
                f"User: arn:aws:iam::1:role/r is not authorized to perform: {action}{place} {words}".replace(
                    "...", action
                ),
            )


def meet(operation: Operation, code: str, reason: Reason | None, text: str) -> Met:
    """Return what the users of both programs see, which must be the same."""
    response: Any = {"Error": {"Code": code, "Message": text}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    failure = kms_failure(ClientError(response, operation), VsockAddress(3, 8_000))
    assert isinstance(failure, KmsError)
    inside = OperationError(operation, failure)
    reply = parse_reply(refuse(failure, KMS_OPERATIONS[operation].failure).to_message())
    assert isinstance(reply, ErrorReply)
    assert reply.service == Service.KMS
    outside = EnclaveError(reply)
    assert (outside.exit_code, outside.hint, str(outside)) == (inside.exit_code, inside.hint, str(inside))
    assert reply.reason == reason
    return Met(operation, code, reply.reason or "", int(outside.exit_code), outside.hint or "")


@pytest.fixture(scope="module")
def made() -> list[Met]:
    return [
        meet(operation, code, reason, text)
        for operation in KMS_OPERATIONS
        for code in documented_errors(operation)
        for reason, text in texts_of(operation, code)
    ]


def rows_of_the_page() -> set[tuple[str, str, str, str, str]]:
    """Return code, reason, operation, exit code and hint of each row, for each of its operations; '' means any."""
    text = PAGE.read_text("utf-8")
    aliases = {
        first: [first, *re.findall(r"`(\w+)`", others)]
        for first, others in re.findall(
            r"^\| `(\w+)` \| ([`\w, ]+) \|$", text.partition("## Other names")[2], re.MULTILINE
        )
    }
    rows = re.findall(r"^\| `(\w+)` \| `?(\w*)`? \| (.*?) \| (\d) \| (.+) \|$", text, re.MULTILINE)
    return {
        (name, reason, operation, exit_code, hint)
        for code, reason, operations, exit_code, hint in rows
        for name in aliases.get(code, [code])
        for operation in re.findall(r"`(\w+)`", operations) or [""]
    }


def test_every_documented_error_has_a_hint_and_prints_it_as_a_table(made: list[Met]) -> None:
    print()
    for row in made:
        print(f"{row.operation:20} {row.code:34} {row.reason:30} exit {row.exit_code}  {row.hint}")
    print(f"{len(made)} refusals")
    assert [row for row in made if not row.hint] == []
    assert len(made) >= 200


def test_exit_code_is_that_of_a_refusal_for_access_credentials_and_attestation_only(made: list[Met]) -> None:
    refused = {
        (row.code, row.reason)
        for row in made
        if row.exit_code == ExitCode.REFUSED and row.code != "AccessDeniedException"
    }
    assert refused == {
        ("ValidationException", "AttestationDocument"),
        ("ValidationException", ""),
        ("ValidationError", "AttestationDocument"),
        ("ValidationError", ""),
        ("ExpiredTokenException", ""),
        ("IncompleteSignature", ""),
        ("IncompleteSignatureException", ""),
        ("InvalidClientTokenId", ""),
        ("InvalidSignatureException", ""),
        ("InvalidSignatureException", "Clock"),
        ("MissingAuthenticationToken", ""),
        ("MissingAuthenticationTokenException", ""),
        ("NotAuthorized", ""),
        ("OptInRequired", ""),
        ("RequestExpired", "Clock"),
        ("UnrecognizedClientException", ""),
    }
    assert {row.exit_code for row in made if row.code == "AccessDeniedException"} == {ExitCode.REFUSED}
    assert {row.exit_code for row in made} == {ExitCode.FAILED, ExitCode.REFUSED}


def test_each_reason_has_a_hint_of_its_own(made: list[Met]) -> None:
    for operation in KMS_OPERATIONS:
        hints = [row.hint for row in made if row.operation == operation and row.code == "AccessDeniedException"]
        assert len(set(hints)) == len(hints) == len(WORDS) + 1


def test_page_has_a_row_for_each(made: list[Met]) -> None:
    page = rows_of_the_page()
    missing = [
        row
        for row in made
        if not {
            (row.code, reason, operation, str(row.exit_code), row.hint)
            for reason in (row.reason, "")
            for operation in (row.operation, "")
        }
        & page
    ]
    assert missing == []
    assert len(page) == sum(len(row.codes) * max(1, len(row.operations)) for row in REFUSALS)


def options_of(program: click.Command, operation: Operation) -> set[str]:
    assert isinstance(program, click.Group)
    command = program.get_command(click.Context(program), COMMANDS[operation])
    assert command is not None
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
@pytest.mark.parametrize("operation", KMS_OPERATIONS)
def test_options_in_hints_exist_in_the_command_that_prints_them(
    made: list[Met], operation: Operation, program: click.Command
) -> None:
    named = {option for row in made if row.operation == operation for option in re.findall(r"--[a-z-]+", row.hint)}
    assert named
    assert named - options_of(program, operation) == set()


def test_commands_in_hints_exist(made: list[Met]) -> None:
    named = {words for row in made for words in re.findall(r"kmstool-instance ([a-z]+(?: explain)?)", row.hint)}
    assert named == {"attest", "policy", "policy explain"}
    policy = instance_tool.main.command.get_command(click.Context(instance_tool.main.command), "policy")
    assert isinstance(policy, click.Group)
    assert {"attest", "policy"} <= set(instance_tool.main.COMMANDS)
    assert "explain" in policy.commands


@pytest.mark.parametrize("operation", [Operation.DECRYPT, Operation.ENCRYPT])
@pytest.mark.parametrize("code", ["InvalidKeyUsageException", "InvalidCiphertextException"])
def test_hint_about_asymmetric_keys_names_both_options(made: list[Met], operation: Operation, code: str) -> None:
    for row in made:
        if (row.operation, row.code) == (operation, code):
            assert "--key-id and --encryption-algorithm RSAES_OAEP_SHA_256" in row.hint
