"""The commands about key policies: ``policy`` writes one, ``policy explain`` says how one decides and why."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import click

from instance_tool.console.command_group import CommandGroup
from instance_tool.console.options import CONTEXT_OPTION, REPORT_OUTPUT_OPTION, option_once
from instance_tool.console.output import ReportFormat
from instance_tool.console.reports import attestation_errors_reported, report_warning
from nitro_attestation.document.cose import parse_unverified_document
from nitro_attestation.document.file_format import MAX_DOCUMENT_FILE_BYTES, decode_document_file
from nitro_attestation.errors import PolicyError
from nitro_attestation.key_policy.conditions.keys import ATTESTED_KEY_OPERATIONS, ATTESTED_OPERATIONS, DECRYPT
from nitro_attestation.key_policy.context import named_callers, parse_caller
from nitro_attestation.key_policy.explanation import Outcome, explain_policy
from nitro_attestation.key_policy.findings import FindingKind
from nitro_attestation.key_policy.model import MAX_POLICY_BYTES, KeyPolicy
from nitro_attestation.key_policy.parsing import parse_policy
from nitro_attestation.key_policy.principals import Principal
from nitro_attestation.key_policy.report import explanation_json, explanation_text
from nitro_attestation.key_policy.writing import ENCRYPT, attested_key_policy
from nitro_attestation.measurements import (
    MAX_MEASUREMENTS_BYTES,
    SIGNER_PCR,
    identifying_pcrs,
    parse_measurements,
    parse_pcr_options,
)
from vsock_wire.cli.encryption_context import parse_encryption_context
from vsock_wire.cli.settings import Settings, with_settings
from vsock_wire.cli.streams import STANDARD_INPUT, read_file
from vsock_wire.errors import ExitCode, InputError

_EXIT_CODES = {
    Outcome.ALLOWED: ExitCode.DONE,
    Outcome.ALLOWED_WITH_GAPS: ExitCode.FAILED,
    Outcome.DEPENDS: ExitCode.FAILED,
    Outcome.DENIED: ExitCode.REFUSED,
}
_KEY_ARN = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+", re.ASCII)
_SIGNER_WARNING = f"not every image is signed: the policy asks none of them for PCR{SIGNER_PCR}"
_IAM_WARNING = (
    "the policy lets account {account} decide by its IAM policies: anyone they allow kms:PutKeyPolicy can take the"
    " attestation out of it"
)


class PolicyRoleSettings(Settings):
    """What the options say of who may do what with the key."""

    role: tuple[str, ...]
    admin: tuple[str, ...]
    pcr: tuple[str, ...]
    operation: tuple[str, ...]
    enable_iam_policies: bool


class PolicySettings(PolicyRoleSettings):
    """The options of ``policy``."""

    measurements: tuple[str, ...]


POLICY_OPTIONS = (
    click.option("--role", multiple=True, metavar="ARN", help="IAM role of the parent instance; repeatable."),
    click.option("--admin", multiple=True, metavar="ARN", help="IAM role that administers the key; repeatable."),
    click.option("--pcr", multiple=True, metavar="N=HEX", help="Also require this PCR; repeatable."),
    click.option(
        "--operation", multiple=True, type=click.Choice([*ATTESTED_KEY_OPERATIONS, ENCRYPT]), metavar="NAME",
        default=[DECRYPT], show_default=True,
        help=f"Operation that the role may perform; repeatable: {', '.join((*ATTESTED_KEY_OPERATIONS, ENCRYPT))}.",
    ),
    click.option("--enable-iam-policies", is_flag=True, help="Also let IAM policies of the account allow use."),
)  # fmt: skip
"""PolicyRoleSettings."""


class ExplainSettings(Settings):
    """The options of ``policy explain``."""

    policy_file: str
    document: str
    operation: tuple[str, ...]
    role: str | None
    key_arn: str | None
    context_key: tuple[str, ...]
    encryption_context: tuple[tuple[str, str], ...]
    output: str


@click.group(cls=CommandGroup, invoke_without_command=True)
@with_settings(
    PolicySettings,
    click.option(
        "--measurements", multiple=True, metavar="FILE",
        help="Output of nitro-cli build-enclave; repeat for several images. - reads standard input.",
    ),
    *POLICY_OPTIONS,
)  # fmt: skip
@attestation_errors_reported()
def policy(settings: PolicySettings) -> None:
    """Print a key policy that lets only this enclave use the key.

    Nobody else can decrypt, not even with an IAM policy or a grant: the policy
    denies every request without the enclave's measurements. Administrators can
    change the policy but cannot decrypt. During a rolling update, pass the
    measurements of both images.

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
    print_policy(settings, _read_images(settings))


def print_policy(settings: PolicyRoleSettings, images: Sequence[Mapping[int, bytes]]) -> None:
    """Print a key policy that lets these images use the key.

    Args:
        settings: who else is in the policy.
        images: the PCRs that identify each image.

    Raises:
        InputError: administrators of several accounts, where the account's IAM policies are to count.
        PolicyError: the policy cannot be written.
    """
    if len({SIGNER_PCR in pcrs for pcrs in images}) > 1:
        report_warning(_SIGNER_WARNING)
    account = _account_root(settings.admin) if settings.enable_iam_policies else None
    text = attested_key_policy(
        roles=settings.role,
        administrators=settings.admin,
        pcrs=images,
        operations=settings.operation,
        iam_account=account,
    )
    if account is not None:
        report_warning(_IAM_WARNING.format(account=account.split(":")[4]))
    click.echo(text)


@policy.command()
@with_settings(
    ExplainSettings,
    option_once(
        "--policy", "policy_file", required=True, metavar="FILE",
        help="The key policy, or the output of aws kms get-key-policy; - reads standard input.",
    ),
    option_once("--document", required=True, metavar="FILE", help="Attestation document: CBOR, hex or base64."),
    click.option(
        "--operation", multiple=True, type=click.Choice(ATTESTED_OPERATIONS), metavar="NAME",
        default=ATTESTED_OPERATIONS,
        help=f"Operation to check; repeatable, by default all of {', '.join(ATTESTED_OPERATIONS)}.",
    ),
    option_once(
        "--role", metavar="ARN", help="Role or role session that calls KMS; by default the one that the policy names."
    ),
    option_once("--key-arn", metavar="ARN", help="ARN of the key, which a Resource must match."),
    click.option(
        "--context-key", multiple=True, metavar="KEY=VALUE",
        help="A condition key of the enclave's requests, such as aws:SourceVpce=vpce-1; repeatable.",
    ),
    CONTEXT_OPTION,
    REPORT_OUTPUT_OPTION,
)  # fmt: skip
@attestation_errors_reported()
def explain(settings: ExplainSettings) -> None:
    """Explain how a key policy decides on an enclave's requests.

    Shows for each statement which conditions hold, which fail, and why. If the
    command cannot know something, the verdict says what it depends on. Ways for
    others to use the key are warnings on standard error, and so are malformed
    statements. Does not verify the document, as kmstool-instance verify does,
    and does not consider IAM policies and existing grants.

    \b
    Exit codes: 0 allowed, and only an enclave with these measurements can
    perform any of the operations; 1 there are ways around the attestation, or
    the verdict depends on something unknown, or the document cannot be read;
    2 usage error, or not a policy; 5 every operation is denied.

    \b
    Examples:
      kmstool-instance policy explain --policy policy.json --document document
      aws kms get-key-policy --key-id KEY > policy.json
      kmstool-instance policy explain --policy policy.json --document document \\
          --operation Decrypt --context-key aws:SourceVpce=vpce-1
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    if settings.policy_file == settings.document == STANDARD_INPUT:
        raise InputError("--policy and --document: only one of them can be standard input")
    key_policy = _read_policy(settings.policy_file)
    data = read_file(settings.document, "document", max_bytes=MAX_DOCUMENT_FILE_BYTES)
    document = parse_unverified_document(decode_document_file(data))
    operations = tuple(dict.fromkeys(settings.operation))
    explanation = explain_policy(
        key_policy,
        caller=_caller(key_policy, operations, settings.role),
        operations=operations,
        pcrs=document.pcrs,
        encryption_context=parse_encryption_context(settings.encryption_context),
        key_arn=_key_arn(settings.key_arn),
        context_keys=_context_keys(settings.context_key),
        at=datetime.now(UTC),
    )
    for finding in explanation.findings:
        if finding.kind is FindingKind.MALFORMED:
            report_warning(str(finding))
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
        raise InputError("--enable-iam-policies: the administrators belong to several accounts")
    return re.sub(r":(user|role)/.*", ":root", callers[0].arn)


def _read_images(settings: PolicySettings) -> list[dict[int, bytes]]:
    """Return the PCRs that identify each image."""
    given = parse_pcr_options(settings.pcr)
    if not (settings.measurements or given):
        raise InputError(
            "--measurements: missing",
            hint="pass a file with the output of nitro-cli build-enclave or, for an existing image, describe-eif",
        )
    if settings.measurements.count(STANDARD_INPUT) > 1:
        raise InputError("--measurements: only one of them can be standard input")
    files = [read_file(path, "measurements", max_bytes=MAX_MEASUREMENTS_BYTES) for path in settings.measurements]
    return [identifying_pcrs(parse_measurements(file), given) for file in files] or [given]


def _read_policy(path: str) -> KeyPolicy:
    data = read_file(path, "key policy", max_bytes=2 * MAX_POLICY_BYTES)  # get-key-policy prints it with quotes escaped
    try:
        return parse_policy(data.decode("utf-8"), keep_odd_statements=True)
    except UnicodeDecodeError:
        raise PolicyError("key policy: not UTF-8 text") from None


def _caller(key_policy: KeyPolicy, operations: Sequence[str], role: str | None) -> Principal:
    if role is not None:
        return parse_caller(role)
    names = named_callers(key_policy, operations)
    if len(names) != 1:
        actions = ", ".join(f"kms:{operation}" for operation in operations)
        raise InputError(
            f"--role: missing, and the policy names {len(names) or 'no'} roles for {actions}",
            hint="pass the ARN of the parent instance's IAM role, whose credentials the enclave uses",
        )
    return parse_caller(names[0])


def _key_arn(text: str | None) -> str | None:
    if text is not None and _KEY_ARN.fullmatch(text) is None:
        raise InputError(
            "--key-arn: not the ARN of a KMS key",
            hint="pass an ARN such as arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab; a"
            " key policy never matches the ARN of an alias",
        )
    return text


def _context_keys(entries: Sequence[str]) -> dict[str, str]:
    keys: dict[str, str] = {}
    for entry in entries:
        name, separator, value = entry.partition("=")
        if not (separator and ":" in name):
            raise InputError("--context-key: not KEY=VALUE with a condition key such as aws:SourceVpce")
        keys[name] = value
    return keys
