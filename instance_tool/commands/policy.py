"""The commands about key policies: ``policy`` writes one, ``policy explain`` says how one decides and why."""

from __future__ import annotations

import re
import sys

import click

from instance_tool.console.command_group import CommandGroup
from instance_tool.console.options import CONTEXT_OPTION, REPORT_OUTPUT_OPTION
from instance_tool.console.output import ReportFormat
from instance_tool.console.reports import attestation_errors_reported, report_warning
from nitro_attestation.document.cose import parse_unverified_document
from nitro_attestation.document.file_format import MAX_DOCUMENT_FILE_BYTES, decode_document_file
from nitro_attestation.errors import PolicyError
from nitro_attestation.key_policy.context import ATTESTED_KEY_OPERATIONS, DECRYPT, parse_caller
from nitro_attestation.key_policy.evaluation import is_about_action
from nitro_attestation.key_policy.explanation import Outcome, explain_policy
from nitro_attestation.key_policy.model import MAX_POLICY_BYTES, Effect, KeyPolicy, Principal, parse_policy
from nitro_attestation.key_policy.report import explanation_json, explanation_text
from nitro_attestation.key_policy.writing import ENCRYPT, attested_key_policy
from nitro_attestation.measurements import (
    MAX_MEASUREMENTS_BYTES,
    identifying_pcrs,
    parse_measurements,
    parse_pcr_options,
)
from vsock_wire.cli.settings import Settings, with_settings
from vsock_wire.cli.streams import STANDARD_INPUT, read_file
from vsock_wire.cli.values import parse_encryption_context
from vsock_wire.errors import ExitCode, InputError

_EXIT_CODES = {
    Outcome.ALLOWED: ExitCode.DONE,
    Outcome.ALLOWED_WITH_GAPS: ExitCode.FAILED,
    Outcome.DENIED: ExitCode.REFUSED,
}
_IAM_WARNING = (
    "the policy lets account {account} decide by its IAM policies: whoever they allow kms:PutKeyPolicy can take the"
    " attestation out of it"
)


class PolicySettings(Settings):
    """What the options of ``policy`` say."""

    measurements: str | None
    role: tuple[str, ...]
    admin: tuple[str, ...]
    pcr: tuple[str, ...]
    operation: tuple[str, ...]
    enable_iam_policies: bool


class ExplainSettings(Settings):
    """What the options of ``policy explain`` say."""

    policy_file: str
    document: str
    operation: str
    role: str | None
    encryption_context: tuple[tuple[str, str], ...]
    output: str


@click.group(cls=CommandGroup, invoke_without_command=True)
@with_settings(
    PolicySettings,
    click.option(
        "--measurements", metavar="FILE", help="What nitro-cli build-enclave printed; - reads standard input."
    ),
    click.option("--role", multiple=True, metavar="ARN", help="IAM role of the parent instance; repeatable."),
    click.option("--admin", multiple=True, metavar="ARN", help="IAM role that administers the key; repeatable."),
    click.option("--pcr", multiple=True, metavar="N=HEX", help="Ask for this PCR too; repeatable."),
    click.option(
        "--operation", multiple=True, type=click.Choice([*ATTESTED_KEY_OPERATIONS, ENCRYPT]), metavar="NAME",
        default=[DECRYPT], show_default=True,
        help=f"What the role may do; repeatable: {', '.join((*ATTESTED_KEY_OPERATIONS, ENCRYPT))}.",
    ),
    click.option("--enable-iam-policies", is_flag=True, help="Let IAM policies of the admin's account count too."),
)  # fmt: skip
@attestation_errors_reported()
def policy(settings: PolicySettings) -> None:
    """Print a key policy that lets only this enclave use the key.

    Nobody else can decrypt, not even with an IAM policy or a grant: beside the
    role's permission there is a denial of whatever comes without the enclave's
    measurements. The administrators can change the policy, and cannot decrypt.

    \b
    Examples:
      nitro-cli build-enclave ... > measurements.json
      kmstool-instance policy --measurements measurements.json \\
          --role arn:aws:iam::111122223333:role/Instance \\
          --admin arn:aws:iam::111122223333:role/KeyAdministrator > policy.json
      aws kms put-key-policy --key-id KEY --policy file://policy.json
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    if click.get_current_context().invoked_subcommand is not None:
        return
    if settings.measurements is None:
        raise InputError(
            "--measurements: expected a file of measurements, got none",
            hint="nitro-cli build-enclave prints them; nitro-cli describe-eif does for a finished image",
        )
    measured = parse_measurements(read_file(settings.measurements, "measurements", max_bytes=MAX_MEASUREMENTS_BYTES))
    account = _account_root(settings.admin) if settings.enable_iam_policies else None
    text = attested_key_policy(
        roles=settings.role,
        administrators=settings.admin,
        pcrs=identifying_pcrs(measured, parse_pcr_options(settings.pcr)),
        operations=settings.operation,
        iam_account=account,
    )
    if account is not None:
        report_warning(_IAM_WARNING.format(account=account.split(":")[4]))
    click.echo(text)


@policy.command()
@with_settings(
    ExplainSettings,
    click.option(
        "--policy", "policy_file", required=True, metavar="FILE", help="The key policy; - reads standard input."
    ),
    click.option("--document", required=True, metavar="FILE", help="An attestation document, as CBOR or base64."),
    click.option(
        "--operation", type=click.Choice(ATTESTED_KEY_OPERATIONS), metavar="NAME", default=DECRYPT, show_default=True,
        help=f"What is asked for: {', '.join(ATTESTED_KEY_OPERATIONS)}.",
    ),
    click.option("--role", metavar="ARN", help="Who asks; by default the one role the policy allows it."),
    CONTEXT_OPTION,
    REPORT_OUTPUT_OPTION,
)  # fmt: skip
@attestation_errors_reported()
def explain(settings: ExplainSettings) -> None:
    """Say how a key policy decides, and why.

    For each statement: which condition holds, which fails, and why. What lets
    the key be used without this enclave is a warning on standard error. The
    document is not verified here, kmstool-instance verify does that; IAM
    policies and grants are not looked at.

    \b
    Exit codes: 0 allowed, and only to this enclave; 1 allowed, but there are
    ways around the attestation, or the document cannot be read; 2 usage, or
    not a policy; 5 denied.

    \b
    Example:
      kmstool-instance policy explain --policy policy.json --document document
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    if settings.policy_file == settings.document == STANDARD_INPUT:
        raise InputError("--policy and --document: expected standard input for one of them, got it for both")
    key_policy = _read_policy(settings.policy_file)
    data = read_file(settings.document, "document", max_bytes=MAX_DOCUMENT_FILE_BYTES)
    document = parse_unverified_document(decode_document_file(data))
    explanation = explain_policy(
        key_policy,
        caller=_caller(key_policy, settings.operation, settings.role),
        operation=settings.operation,
        pcrs=document.pcrs,
        encryption_context=parse_encryption_context(settings.encryption_context),
    )
    for gap in explanation.gaps:
        report_warning(str(gap))
    if settings.output == ReportFormat.JSON:
        click.echo(explanation_json(explanation))
    else:
        made_at = document.issued_at.isoformat(timespec="seconds")
        click.echo(explanation_text(explanation, f"of {document.module_id}, made {made_at}, not verified here"))
    sys.exit(_EXIT_CODES[explanation.outcome])


def _account_root(administrators: tuple[str, ...]) -> str | None:
    """Return the root of the administrators' account, which is taken for the key's own."""
    if not administrators:
        return None
    callers = [parse_caller(arn) for arn in administrators]
    if len({caller.account_id for caller in callers}) != 1:
        raise InputError("--enable-iam-policies: expected administrators of one account, got several accounts")
    return re.sub(r":(user|role)/.*", ":root", callers[0].arn)


def _read_policy(path: str) -> KeyPolicy:
    data = read_file(path, "key policy", max_bytes=MAX_POLICY_BYTES)
    try:
        return parse_policy(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise PolicyError("key policy: expected JSON in UTF-8, got other bytes") from None


def _caller(key_policy: KeyPolicy, operation: str, role: str | None) -> Principal:
    if role is not None:
        return parse_caller(role)
    names = {
        name: None
        for statement in key_policy.statements
        if statement.effect is Effect.ALLOW and is_about_action(statement, f"kms:{operation}")
        for name in statement.aws_principals
        if re.search(r":(role|user|assumed-role)/", name)
    }
    if len(names) != 1:
        raise InputError(
            f"--role: expected the ARN of who asks, because the policy names {len(names) or 'no'} roles for"
            f" kms:{operation}",
            hint="the IAM role of the parent instance, whose credentials the enclave uses",
        )
    return parse_caller(next(iter(names)))
