"""Key policies: their JSON, and what it means as objects (pure). ``evaluation`` decides by them.

Source: KMS developer guide, "Key policies in AWS KMS"; IAM user guide, "Grammar of the IAM JSON policy language".
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from nitro_attestation.errors import PolicyError
from nitro_attestation.key_policy.conditions import BOOLEAN_OPERATORS, KNOWN_OPERATORS, Condition
from nitro_attestation.quoting import quoted
from nitro_attestation.strict_json import decode_strict_json

JsonObject: TypeAlias = dict[str, Any]

MAX_POLICY_BYTES = 32_768
"""KMS developer guide, "Resource quotas": key policy document size."""
POLICY_VERSIONS = ("2012-10-17", "2008-10-17")
ANYONE = "*"

_POLICY_FIELDS = frozenset({"Version", "Id", "Statement"})
_STATEMENT_FIELDS = frozenset({"Sid", "Effect", "Principal", "Action", "NotAction", "Resource", "Condition"})
_OTHER_PRINCIPAL_TYPES = frozenset({"Service", "Federated"})
_AWS_PRINCIPAL = re.compile(
    r"\*|[0-9]{12}"
    r"|arn:aws[a-z-]*:iam::[0-9]{12}:(root|(user|role)/[\w+=,.@/-]+)"
    r"|arn:aws[a-z-]*:sts::[0-9]{12}:(assumed-role/[\w+=,.@-]+/[\w+=,.@-]+|federated-user/[\w+=,.@-]+)",
    re.ASCII,
)
_ACTION = re.compile(r"\*|[a-zA-Z0-9-]+:[a-zA-Z0-9*?]+", re.ASCII)


class Effect(enum.StrEnum):
    """What a statement does where it matches."""

    ALLOW = "Allow"
    DENY = "Deny"


@dataclass(frozen=True)
class Principal:
    """Who makes a request.

    Attributes:
        arn: as KMS names it in errors; for a role the ARN of its session, ``...:assumed-role/ROLE/SESSION``.
        account_id: 12 digits.
        role_arn: of the role behind a session, else None.
    """

    arn: str
    account_id: str
    role_arn: str | None = None


@dataclass(frozen=True)
class Statement:
    """One statement of a key policy.

    Attributes:
        index: its place in the policy, from 0.
        sid: its Sid, or None.
        effect: Allow or Deny.
        aws_principals: the AWS principals it names: ``*``, account ids and ARNs.
        other_principals: the service and federated principals it names, which no caller evaluated here is.
        actions: action patterns.
        is_not_action: whether the patterns came as NotAction, and the statement is about all other actions.
        resources: resource patterns; in a key policy ``*`` is the key itself.
        conditions: all of them must hold.
    """

    index: int
    sid: str | None
    effect: Effect
    aws_principals: tuple[str, ...]
    other_principals: tuple[str, ...]
    actions: tuple[str, ...]
    is_not_action: bool
    resources: tuple[str, ...]
    conditions: tuple[Condition, ...]

    @property
    def label(self) -> str:
        """How a person finds it in the policy."""
        return f"statement {self.index + 1}" + (f" ({self.sid})" if self.sid else "")


@dataclass(frozen=True)
class KeyPolicy:
    """A key policy that has been parsed."""

    statements: tuple[Statement, ...]


def default_policy(account_id: str, partition: str = "aws") -> str:
    """Return the policy KMS gives a key made without one: the account decides by its IAM policies."""
    statement = {
        "Sid": "Enable IAM User Permissions",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:{partition}:iam::{account_id}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    return json.dumps({"Version": "2012-10-17", "Id": "key-default-1", "Statement": [statement]}, indent=2)


def parse_policy(text: str) -> KeyPolicy:
    """Parse a key policy.

    Does not check that the principals exist, which KMS does. Refuses, instead of guessing, what AWS has and
    ``evaluation`` has not: NotPrincipal, NotResource, policy variables, and operators not in
    KNOWN_OPERATORS.

    Args:
        text: the JSON text, at most MAX_POLICY_BYTES bytes.

    Raises:
        PolicyError: the text is no policy, or says something that is not evaluated here.
    """
    if (size := len(text.encode("utf-8", "surrogatepass"))) > MAX_POLICY_BYTES:
        raise PolicyError(f"key policy: expected at most {MAX_POLICY_BYTES} bytes, got {size}")
    try:
        document = decode_strict_json(text)
    except ValueError as error:
        raise PolicyError(f"key policy: expected JSON, got other text ({error})") from None
    policy = _object("key policy", document, _POLICY_FIELDS)
    if policy.get("Version", POLICY_VERSIONS[0]) not in POLICY_VERSIONS:
        raise PolicyError(f"Version: expected {' or '.join(POLICY_VERSIONS)}, got {quoted(str(policy['Version']))}")
    return KeyPolicy(_statements(policy.get("Statement")))


def _statements(value: object) -> tuple[Statement, ...]:
    documents = value if isinstance(value, list) else [value]
    statements = tuple(_statement(index, document) for index, document in enumerate(documents))
    sids = [statement.sid for statement in statements if statement.sid]
    if not statements or len(set(sids)) != len(sids):
        raise PolicyError("Statement: expected at least one statement, each Sid once")
    return statements


def _statement(index: int, document: object) -> Statement:
    fields = _object(f"statement {index + 1}", document, _STATEMENT_FIELDS)
    sid = fields.get("Sid")
    if not (sid is None or isinstance(sid, str)):
        raise PolicyError(f"Sid: expected a string, got {type(sid).__name__}")
    if fields.get("Effect") not in tuple(Effect):
        raise PolicyError(f"Effect: expected Allow or Deny, got {quoted(str(fields.get('Effect')))}")
    if ("Action" in fields) == ("NotAction" in fields):
        raise PolicyError(f"statement {index + 1}: expected either Action or NotAction")
    aws_principals, other_principals = _principals(fields.get("Principal"))
    return Statement(
        index=index,
        sid=sid,
        effect=Effect(fields["Effect"]),
        aws_principals=aws_principals,
        other_principals=other_principals,
        actions=_patterns("Action", fields.get("Action", fields.get("NotAction")), _ACTION),
        is_not_action="NotAction" in fields,
        resources=_patterns("Resource", fields.get("Resource"), re.compile(r"\*|arn:[^\s]+")),
        conditions=_conditions(fields.get("Condition", {})),
    )


def _principals(value: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the AWS principals, and those of other types."""
    if value == ANYONE:
        return (ANYONE,), ()
    fields = _object("Principal", value, _OTHER_PRINCIPAL_TYPES | {"AWS"})
    if not fields:
        raise PolicyError("Principal: expected at least one principal")
    other_types = sorted(_OTHER_PRINCIPAL_TYPES & fields.keys())
    others = tuple(name for kind in other_types for name in _texts(f"Principal {kind}", fields[kind]))
    return (_patterns("Principal AWS", fields["AWS"], _AWS_PRINCIPAL) if "AWS" in fields else (), others)


def _conditions(value: object) -> tuple[Condition, ...]:
    conditions: list[Condition] = []
    for operator, keys in _object("Condition", value).items():
        if operator not in KNOWN_OPERATORS:
            raise PolicyError(f"Condition: expected an operator that is evaluated here, got {quoted(operator)}")
        for key, values in _object(operator, keys).items():
            conditions.append(_condition(operator, key, values))
    return tuple(conditions)


def _condition(operator: str, key: str, values: object) -> Condition:
    if not re.fullmatch(r"[A-Za-z0-9-]+:.+", key):
        raise PolicyError(f"{operator}: expected a condition key such as kms:CallerAccount, got {quoted(key)}")
    texts = _texts(key, values)
    if operator in BOOLEAN_OPERATORS and not {text.lower() for text in texts} <= {"true", "false"}:
        raise PolicyError(f"{operator} {key}: expected true or false, got {quoted(texts[0])}")
    return Condition(operator, key, texts)


def _patterns(what: str, value: object, form: re.Pattern[str]) -> tuple[str, ...]:
    texts = _texts(what, value)
    for text in texts:
        if form.fullmatch(text) is None:
            raise PolicyError(f"{what}: expected another form, got {quoted(text, 128)}")
    return texts


def _texts(what: str, value: object) -> tuple[str, ...]:
    """Read a string or a list of strings; JSON's true, false and integers count as their text, as they do for AWS."""
    items = value if isinstance(value, list) else [value]
    if not items:
        raise PolicyError(f"{what}: expected at least one value, got an empty list")
    return tuple(_text(what, item) for item in items)


def _text(what: str, value: object) -> str:
    text = str(value).lower() if isinstance(value, bool | int) else value
    if not isinstance(text, str) or not text:
        raise PolicyError(f"{what}: expected a string or a list of strings, got {type(value).__name__}")
    if "${" in text:
        raise PolicyError(f"{what}: policy variables are not evaluated here, got {quoted(text)}")
    return text


def _object(what: str, value: object, fields: frozenset[str] | None = None) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise PolicyError(f"{what}: expected an object, got {type(value).__name__}")
    for name in value.keys() - (value.keys() if fields is None else fields):
        raise PolicyError(f"{what}: expected only {', '.join(sorted(fields or ()))}, got {quoted(name)}")
    return value
