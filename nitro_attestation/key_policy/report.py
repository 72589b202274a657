"""An explanation of a key policy as text and as JSON (pure)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from nitro_attestation.key_policy.explanation import ConditionExplanation, Explanation, StatementExplanation
from nitro_attestation.quoting import printable


def explanation_text(explanation: Explanation, document: str) -> str:
    """Return an explanation for people, without its gaps: those are warnings.

    Args:
        explanation: what to write.
        document: in a few words, what document the request carries.
    """
    decision = explanation.decision
    lines = [
        f"caller     {explanation.request.principal.arn}",
        f"operation  {explanation.request.action}",
        f"document   {document}",
        "",
    ]
    for statement in explanation.statements:
        lines += [*_statement_lines(statement), ""]
    verdict = decision.explanation.partition("\n")[0]
    return "\n".join(printable(line) for line in [*lines, f"verdict    {verdict}"])


def explanation_json(explanation: Explanation) -> str:
    """Return an explanation as a JSON object, gaps included."""
    decision = explanation.decision
    return json.dumps(
        {
            "Caller": explanation.request.principal.arn,
            "Action": explanation.request.action,
            "Allowed": decision.is_allowed,
            "Verdict": str(decision.verdict),
            "DecidedBy": decision.statement.label if decision.statement else None,
            "LeftToIam": decision.is_left_to_iam,
            "Statements": [_statement_object(statement) for statement in explanation.statements],
            "Gaps": [
                {
                    "Statement": gap.statement.label,
                    "Kind": gap.kind.name,
                    "Actions": gap.actions,
                    "Principals": gap.principals,
                    "Text": str(gap),
                }
                for gap in explanation.gaps
            ],
        },
        indent=2,
    )


def _statement_lines(statement: StatementExplanation) -> Iterator[str]:
    result = statement.result
    yield f"{result.statement.label}, {result.statement.effect}: {'applies' if result.matches else 'does not apply'}"
    if result.mismatch is not None and not result.conditions:
        yield f"  {result.mismatch}"
    if statement.why is not None:
        yield f"    {statement.why}"
    for condition in statement.conditions:
        yield from _condition_lines(condition)


def _condition_lines(explained: ConditionExplanation) -> Iterator[str]:
    yield f"  {'holds' if explained.result.holds else 'fails'}  {explained.result}"
    if explained.why is not None:
        yield f"    {explained.why}"


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
