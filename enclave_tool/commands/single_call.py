"""One operation per run: what the commands of kmstool-enclave-cli have in common."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from enclave_tool.commands.credentials import CredentialSettings, find_credentials
from enclave_tool.commands.options import KmsSettings, NsmSettings
from enclave_tool.errors import KmsError, RecipientError
from enclave_tool.kms.regional import Attempts
from enclave_tool.kms.regions import KmsRegions
from enclave_tool.nsm.device import open_nsm
from enclave_tool.nsm.entropy import seed_kernel_entropy
from enclave_tool.recipient.attested_key import Recipient
from vsock_wire.cli.encryption_context import one_pair_hint
from vsock_wire.cli.kms_requests import dry_run_ignored, report_dry_run, request_from_options
from vsock_wire.cli.labels import LABELS
from vsock_wire.cli.logs import set_up_logging
from vsock_wire.cli.streams import standard_output
from vsock_wire.errors import ToolError
from vsock_wire.protocol.json_codec import JsonObject, encode_base64
from vsock_wire.protocol.kms_operations import KMS_OPERATIONS, KmsRequest, encode_kms_result
from vsock_wire.protocol.messages import call_details
from vsock_wire.protocol.vocabulary import DEFAULT_REGION, DRY_RUN_PASSED, Operation

PROGRAM = "kmstool-enclave-cli"


class OperationError(ToolError):
    """An operation failed. The text starts with kmstool's text if kmstool has one for the operation."""

    def __init__(self, operation: Operation, error: ToolError, tries: int | None = None) -> None:
        self.exit_code = error.exit_code
        answered = (error.http_status, error.request_id) if isinstance(error, KmsError) else (None, None)
        super().__init__(
            f"{KMS_OPERATIONS[operation].failure}: {error}{call_details(*answered, tries)}", hint=error.hint
        )


@dataclass(frozen=True)
class AttestSettings(NsmSettings):
    """The values of the options of ``attest``."""

    verbose: int
    log_format: str


@dataclass(frozen=True, repr=False)
class CallSettings(CredentialSettings, KmsSettings):
    """The values of the options that all commands that call KMS share."""

    region: str | None
    verbose: int
    log_format: str


@dataclass(frozen=True, repr=False)
class KeyCallSettings(CallSettings):
    """Also those of the options that all commands that use a KMS key share."""

    grant_tokens: tuple[str, ...]
    dry_run: bool


def call_and_print(
    settings: CallSettings,
    operation: Operation,
    parameters: Mapping[str, object],
    encryption_context: tuple[tuple[str, str], ...] = (),
) -> None:
    """Call KMS and print the result; parameters that are None are not sent."""
    set_up_logging("enclave_tool", verbosity=1 + settings.verbose, log_format=settings.log_format)
    options, nsm_location = settings.kms_options(), settings.nsm_location()
    grant_tokens, dry_run = (
        (settings.grant_tokens, settings.dry_run) if isinstance(settings, KeyCallSettings) else ((), False)
    )
    request = request_from_options(
        operation, parameters, encryption_context=encryption_context, grant_tokens=grant_tokens, dry_run=dry_run
    )
    credentials = find_credentials(settings, os.environ)
    output = standard_output()
    with open_nsm(nsm_location) as nsm:
        seed_kernel_entropy(nsm)  # before any key is made
        caller = KmsRegions(Recipient(nsm), options).caller(credentials, settings.region or DEFAULT_REGION)
        attempts = Attempts()
        try:
            fields = encode_kms_result(operation, caller.call_kms(request, attempts))
            if dry_run:
                raise dry_run_ignored(operation)
            lines = {label: _field(operation, fields, name) for label, name in LABELS[operation].items()}
        except ToolError as error:
            if dry_run and isinstance(error, KmsError) and error.code == DRY_RUN_PASSED:
                report_dry_run(PROGRAM, operation)
                return
            hint_at_context(error, request)
            raise OperationError(operation, error, attempts.count) from error
    _write_lines(output, lines)


def hint_at_context(error: ToolError, request: KmsRequest) -> None:
    """Add a hint to a refusal by KMS if it may come from an --encryption-context that has several pairs in one."""
    if isinstance(error, KmsError):
        hint = one_pair_hint(request.parameters.get("EncryptionContext"), error.code)
        error.hint = "; ".join(text for text in (hint, error.hint) if text) or None


def attest_and_print(
    settings: AttestSettings, *, nonce: bytes | None, user_data: bytes | None, public_key_der: bytes | None
) -> None:
    """Print an attestation document of this enclave with the fields that are given."""
    set_up_logging("enclave_tool", verbosity=1 + settings.verbose, log_format=settings.log_format)
    nsm_location = settings.nsm_location()
    output = standard_output()
    with open_nsm(nsm_location) as nsm:
        seed_kernel_entropy(nsm)
        document = nsm.attestation_document(nonce=nonce, user_data=user_data, public_key_der=public_key_der)
    _write_lines(output, {"DOCUMENT": encode_base64(document)})


def _field(operation: Operation, fields: JsonObject, name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise RecipientError(f"KMS {operation}: the response has no {name}")
    return value


def _write_lines(output: BinaryIO, lines: dict[str, str]) -> None:
    output.write("".join(f"{label}: {text}\n" for label, text in lines.items()).encode("ascii"))
    output.flush()
