"""Format an explanation of a key policy as text and as JSON (pure)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from nitro_attestation.key_policy.evaluation import Verdict
from nitro_attestation.key_policy.explanation import (
    ConditionExplanation,
    Explanation,
    OperationExplanation,
    Outcome,
    StatementExplanation,
)
from nitro_attestation.key_policy.findings import FindingKind
from nitro_attestation.quoting import printable

_RESULTS = {
    Outcome.ALLOWED: "only an enclave with these measurements can perform any of these operations",
    Outcome.ALLOWED_WITH_GAPS: "others can perform some of these operations: see the warnings",
    Outcome.DEPENDS: "nobody else can perform any of these operations; whether this enclave can is undecided",
    Outcome.DENIED: "this enclave can perform none of these operations",
}
_TRUTHS = {True: "holds", False: "fails", None: "depends"}
_MATCHES = {True: "applies", False: "does not apply", None: "may apply"}


def explanation_text(explanation: Explanation, document: str) -> str:
    """Return an explanation as text for people, without gaps and malformed parts, which are reported as warnings.

    Args:
        explanation: what to format.
        document: a short description of the document in the request.
    """
    first, *others = _grouped(explanation.operations)
    lines = [
        f"caller     {explanation.caller.arn}",
        f"operation  {', '.join(operation.request.action for operation in first)}",
        f"document   {document}",
        "",
        *_operation_lines(first[0]),
    ]
    for group in others:
        actions = ", ".join(operation.request.action for operation in group)
        lines += ["", f"operation  {actions}", "", *_operation_lines(group[0])]
    found = [(FindingKind.NOTE, note) for note in explanation.notes]
    found += [(finding.kind, str(finding)) for finding in explanation.findings]
    shown = [f"{kind:<10} {text}" for kind, text in found if kind is not FindingKind.MALFORMED]
    lines += ["", *shown] if shown else []
    if len(explanation.operations) > 1:
        lines += ["", f"result     {_RESULTS[explanation.outcome]}"]
    return "\n".join(printable(line) for line in lines)


def explanation_json(explanation: Explanation) -> str:
    """Return an explanation as a JSON object, including gaps.

    The fields of the first operation are also fields of the object itself.
    """
    operations = [_operation_object(operation) for operation in explanation.operations]
    return json.dumps(
        {
            "Caller": explanation.caller.arn,
            "Outcome": explanation.outcome.name,
            **operations[0],
            "Operations": operations,
            "Gaps": [
                {
                    "Statement": gap.statement.label,
                    "Kind": gap.kind.name,
                    "Actions": gap.actions,
                    "Principals": gap.principals,
                    "OpenBits": gap.open_bits,
                    "Text": str(gap),
                }
                for gap in explanation.gaps
            ],
            "Notes": explanation.notes,
            "Findings": [
                {
                    "Statement": finding.statement.label if finding.statement else None,
                    "Kind": finding.kind.name,
                    "Text": finding.text,
                }
                for finding in explanation.findings
            ],
        },
        indent=2,
    )


def _grouped(operations: Sequence[OperationExplanation]) -> list[list[OperationExplanation]]:
    """Group operations whose texts differ only in the operation's name."""
    groups: dict[str, list[OperationExplanation]] = {}
    for operation in operations:
        text = "\n".join(_operation_lines(operation)).replace(operation.request.action, "kms:")
        groups.setdefault(text, []).append(operation)
    return list(groups.values())


def _operation_lines(operation: OperationExplanation) -> Iterator[str]:
    is_decided_here = operation.decision.verdict is not Verdict.NOT_BY_KEY_POLICY
    for statement in operation.statements if is_decided_here else ():
        yield from (*_statement_lines(statement), "")
    yield f"verdict    {operation.decision.explanation.partition(chr(10))[0]}"


def _statement_lines(statement: StatementExplanation) -> Iterator[str]:
    result = statement.result
    effect = result.statement.effect or "neither Allow nor Deny"
    yield f"{result.statement.label}, {effect}: {_MATCHES[result.matches]}"
    yield from (f"  cannot be evaluated: {problem}" for problem in result.statement.problems)
    if result.mismatch is not None and not result.conditions:
        yield f"  {result.mismatch}"
    if statement.why is not None:
        yield f"    {statement.why}"
    for condition in statement.conditions:
        yield from _condition_lines(condition)


def _condition_lines(explained: ConditionExplanation) -> Iterator[str]:
    yield f"  {_TRUTHS[explained.result.holds]}  {explained.result}"
    if explained.why is not None:
        yield f"    {explained.why}"


def _operation_object(operation: OperationExplanation) -> dict[str, Any]:
    decision = operation.decision
    return {
        "Action": operation.request.action,
        "Allowed": decision.is_allowed,
        "Verdict": str(decision.verdict),
        "DecidedBy": decision.statement.label if decision.statement else None,
        "LeftToIam": decision.is_left_to_iam,
        "DependsOn": decision.depends_on,
        "Statements": [_statement_object(statement) for statement in operation.statements],
    }


def _statement_object(statement: StatementExplanation) -> dict[str, Any]:
    result = statement.result
    return {
        "Statement": result.statement.label,
        "Effect": str(result.statement.effect),
        "Applies": result.matches,
        "Mismatch": result.mismatch,
        "Why": statement.why,
        "Conditions": [
            {
                "Operator": explained.result.condition.operator,
                "Key": explained.result.condition.key,
                "Expected": explained.result.condition.values,
                "Got": explained.result.actual,
                "Holds": explained.result.holds,
                "Why": explained.why,
            }
            for explained in statement.conditions
        ],
    }
