"""Key policies as objects (pure). ``parsing`` creates them, and ``evaluation`` evaluates them.

Source: KMS developer guide, "Key policies in AWS KMS"; IAM user guide, "Grammar of the IAM JSON policy language".
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass

from nitro_attestation.key_policy.conditions.condition import Condition
from nitro_attestation.key_policy.conditions.operators import wildcard_match
from nitro_attestation.key_policy.principals import PrincipalName

MAX_POLICY_BYTES = 32_768
"""KMS developer guide, "Resource quotas": key policy document size."""
POLICY_VERSIONS = ("2012-10-17", "2008-10-17")
"""Only the first supports policy variables. A policy without a version counts as the second."""
EVERY_RESOURCE = "*"
"""In a key policy, this means the key itself."""


class Effect(enum.StrEnum):
    """What a statement does if it applies."""

    ALLOW = "Allow"
    DENY = "Deny"


@dataclass(frozen=True)
class Statement:
    """One statement of a key policy.

    Attributes:
        index: its place in the policy, from 0.
        sid: its Sid, or None.
        effect: Allow or Deny, or None if it is neither.
        principals: the principals that it names.
        is_not_principal: whether they are in NotPrincipal, so that the statement is about everyone else.
        actions: action patterns.
        is_not_action: whether they are in NotAction, so that the statement is about all other actions.
        resources: resource patterns; in a key policy, ``*`` is the key itself.
        is_not_resource: whether they are in NotResource.
        conditions: all of them must hold.
        problems: what is wrong with the statement; with a problem, it is unknown whether the statement applies.
    """

    index: int
    sid: str | None
    effect: Effect | None
    principals: tuple[PrincipalName, ...]
    is_not_principal: bool
    actions: tuple[str, ...]
    is_not_action: bool
    resources: tuple[str, ...]
    is_not_resource: bool
    conditions: tuple[Condition, ...]
    problems: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The name by which a person finds it in the policy."""
        return statement_label(self.index, self.sid)

    def may_be(self, effect: Effect) -> bool:
        """Return whether it has this effect, or an unreadable one."""
        return self.effect in (effect, None)

    def is_about_action(self, action: str) -> bool:
        """Return whether it is about ``action``, such as ``kms:Decrypt``."""
        is_named = any(wildcard_match(pattern, action, ignore_case=True) for pattern in self.actions)
        return is_named != self.is_not_action


@dataclass(frozen=True)
class KeyPolicy:
    """A parsed key policy.

    Attributes:
        statements: in the policy's order.
        problems: what is wrong with the policy as a whole.
    """

    statements: tuple[Statement, ...]
    problems: tuple[str, ...] = ()


def statement_label(index: int, sid: str | None) -> str:
    """Return the name by which a person finds a statement in its policy."""
    return f"statement {index + 1}" + (f" ({sid})" if sid else "")


def default_policy(account_id: str, partition: str = "aws") -> str:
    """Return the policy of a key that was created without one: the account's IAM policies decide."""
    statement = {
        "Sid": "Enable IAM User Permissions",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:{partition}:iam::{account_id}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    return json.dumps({"Version": "2012-10-17", "Id": "key-default-1", "Statement": [statement]}, indent=2)
