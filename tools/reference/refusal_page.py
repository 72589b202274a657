"""Writes docs/reference/kms-refusals.md: every error of KMS with its reason, its exit code and its hint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tools.reference.markdown import code, generated_note, table
from vsock_wire.protocol.refusals.access import ACCESS_REFUSALS
from vsock_wire.protocol.refusals.others import CREDENTIAL_REFUSALS, KEY_REFUSALS, SERVICE_REFUSALS, VALUE_REFUSALS
from vsock_wire.protocol.refusals.row import Reason, Refusal
from vsock_wire.protocol.refusals.table import find_refusal

_INTRODUCTION = """\
# KMS refusals

When KMS refuses a request, both `kmstool-instance` and `kmstool-enclave-cli` print KMS's own text and a hint, and exit
with the code in this table:

```text
kmstool-instance: error: Could not decrypt ciphertext: AccessDeniedException: {example} (HTTP 400, request id ...)
hint: {hint}
```

An error reply of the [wire protocol](protocol.md#errors) has the error code in `Code`, the reason in `Reason` and the
hint in `Hint`. A row without a reason applies to all other reasons, and to errors without one. A row without an
operation applies to all operations that have no row of their own. With `--batch`, each failed line has its own error
and hint, and the exit code is 1.
Some errors have [other names](#other-names). If KMS refuses a signature because of the clock and its response has the
time, the hint gives the difference.

"""
_TITLES: Mapping[str, Iterable[Refusal]] = {
    "Access": ACCESS_REFUSALS,
    "Values and attestation documents": VALUE_REFUSALS,
    "Keys": KEY_REFUSALS,
    "Credentials and signatures": CREDENTIAL_REFUSALS,
    "KMS itself": SERVICE_REFUSALS,
}
_REASONS = """\
## Reasons

The error code says what KMS refuses. The reason comes from KMS's text, which must have one of the forms below as a
whole; any other text has no reason. `...` stands for what varies.

"""
_OTHER_NAMES = """\
## Other names

AWS's services use several names for some errors. They count as the same.

"""
WORDS: Mapping[Reason, str] = {
    Reason.NO_RESOURCE_POLICY_ALLOWS: "because no resource-based policy allows the ... action",
    Reason.NO_IDENTITY_POLICY_ALLOWS: "because no identity-based policy allows the ... action",
    Reason.NO_VPC_ENDPOINT_POLICY_ALLOWS: "because no VPC endpoint policy allows the ... action",
    Reason.NO_SERVICE_CONTROL_POLICY_ALLOWS: "because no service control policy allows the ... action",
    Reason.NO_RESOURCE_CONTROL_POLICY_ALLOWS: "because no resource control policy allows the ... action",
    Reason.NO_PERMISSIONS_BOUNDARY_ALLOWS: "because no permissions boundary allows the ... action",
    Reason.NO_SESSION_POLICY_ALLOWS: "because no session policy allows the ... action",
    Reason.DENY_IN_RESOURCE_POLICY: "with an explicit deny in a resource-based policy",
    Reason.DENY_IN_IDENTITY_POLICY: "with an explicit deny in an identity-based policy",
    Reason.DENY_IN_VPC_ENDPOINT_POLICY: "with an explicit deny in a VPC endpoint policy",
    Reason.DENY_IN_SERVICE_CONTROL_POLICY: "with an explicit deny in a service control policy",
    Reason.DENY_IN_RESOURCE_CONTROL_POLICY: "with an explicit deny in a resource control policy",
    Reason.DENY_IN_PERMISSIONS_BOUNDARY: "with an explicit deny in a permissions boundary",
    Reason.DENY_IN_SESSION_POLICY: "with an explicit deny in a session policy",
    Reason.KEY_NOT_FOUND: "because the resource does not exist in this Region, no resource-based policies allow access,"
    " or a resource-based policy explicitly denies access",
}
"""How KMS states each reason of AccessDeniedException, after user, action and resource."""
_OTHER_WORDS: Mapping[Reason, str] = {
    Reason.ATTESTATION_DOCUMENT: "The text names the attestation document or the recipient. AWS does not publish it.",
    Reason.PARAMETER: "The text names a parameter of the request, or the request has no attestation document.",
    Reason.CLOCK: "The text begins with `Signature expired` or `Signature not yet current`.",
}


def refusal_page() -> str:
    """Return the page."""
    denied = find_refusal("AccessDeniedException", Reason.NO_RESOURCE_POLICY_ALLOWS)
    words = WORDS[Reason.NO_RESOURCE_POLICY_ALLOWS].replace("...", "kms:Decrypt")
    example = f"User: ... is not authorized to perform: kms:Decrypt on resource: ... {words}"
    parts = [generated_note("make man"), _INTRODUCTION.format(example=example, hint=denied.hint if denied else "")]
    for title, rows in _TITLES.items():
        parts += [f"## {title}\n\n", refusal_table(rows), "\n"]
    reasons = [(code(reason), code(f"... {words}")) for reason, words in WORDS.items()]
    reasons += [(code(reason), words) for reason, words in _OTHER_WORDS.items()]
    parts += [_REASONS, table(("Reason", "KMS's text"), reasons), "\n", _OTHER_NAMES, _other_names()]
    return "".join([parts[0], "\n", *parts[1:]])


def refusal_table(rows: Iterable[Refusal]) -> str:
    """Return the rows as a table."""
    return table(("Error code", "Reason", "Operation", "Exit code", "Hint"), map(_cells, rows))


def _other_names() -> str:
    names = {row.codes[0]: row.codes[1:] for rows in _TITLES.values() for row in rows if row.codes[1:]}
    return table(
        ("Error code", "Other names"), [(code(name), ", ".join(map(code, rest))) for name, rest in names.items()]
    )


def _cells(row: Refusal) -> tuple[str, ...]:
    return (
        code(row.codes[0]),
        code(row.reason) if row.reason else "",
        "<br>".join(map(code, row.operations)),
        str(int(row.exit_code)),
        row.hint,
    )
