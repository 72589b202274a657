"""The policies of an account besides its key policies: of identities, of the VPC endpoint, of the organization.

Source: IAM user guide, "Policies and permissions in AWS Identity and Access Management"; KMS developer guide,
"Controlling access to your VPC endpoint".
"""

from __future__ import annotations

import enum
import json
from typing import Any

from nitro_attestation.errors import PolicyError
from nitro_attestation.key_policy.model import KeyPolicy, statement_label
from nitro_attestation.key_policy.parsing import parse_policy
from nitro_attestation.key_policy.principals import Principal
from nitro_attestation.strict_json import decode_strict_json

VPC_ENDPOINT_ID = "vpce-0123456789abcdef0"
VPC_ID = "vpc-0123456789abcdef0"
SERVICE_CONTROL_POLICY_ID = "p-0123456789"
ORGANIZATION_ID = "o-0123456789"
MANAGEMENT_ACCOUNT_ID = "444455556666"
"""Where the organization keeps its policies."""

_ALLOW_KMS = '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}}'


class PolicyKind(enum.StrEnum):
    """A kind of policy, by its name in KMS's refusals."""

    SERVICE_CONTROL = "service control policy"
    VPC_ENDPOINT = "VPC endpoint policy"
    RESOURCE = "resource-based policy"
    IDENTITY = "identity-based policy"


class AccountPolicies:
    """What decides besides key policies. The regions of an account share it. May be changed at any time.

    At first, every identity may use all of KMS, requests do not come through a VPC endpoint, and the account is in no
    organization.

    Attributes:
        service_control: the service control policy, or None.
        vpc_endpoint: the policy of the VPC endpoint that all requests come through, or None if they come through none.
        names_policies: whether refusals end with the ARN of the policy that denies, as AWS's do in more and more
            services since 2026.
    """

    def __init__(self) -> None:
        self.service_control: KeyPolicy | None = None
        self.vpc_endpoint: KeyPolicy | None = None
        self.names_policies = False
        self._default = parse_identity_policy(_ALLOW_KMS)
        self._identities: dict[str, KeyPolicy] = {}

    def put_identity_policy(self, arn: str, policy: str | None) -> None:
        """Replace what the identity policies of a role or user say.

        Args:
            arn: of the IAM role or user.
            policy: JSON text without principals; None allows all of KMS again.

        Raises:
            PolicyError: the policy is malformed.
        """
        if policy is None:
            self._identities.pop(arn, None)
        else:
            self._identities[arn] = parse_identity_policy(policy)

    def put_service_control_policy(self, policy: str | None) -> None:
        """Replace the service control policy; JSON text without principals, or None for none.

        Raises:
            PolicyError: the policy is malformed.
        """
        kind = PolicyKind.SERVICE_CONTROL
        self.service_control = None if policy is None else parse_identity_policy(policy, kind=kind)

    def put_vpc_endpoint_policy(self, policy: str | None) -> None:
        """Replace the policy of the VPC endpoint; JSON text with principals, or None for no VPC endpoint.

        With a policy, requests have ``aws:SourceVpce`` and ``aws:SourceVpc``.

        Raises:
            PolicyError: the policy is malformed.
        """
        self.vpc_endpoint = None if policy is None else _parse(policy, PolicyKind.VPC_ENDPOINT)

    def identity(self, principal: Principal) -> KeyPolicy:
        """Return what the identity policies of the principal's role or user say."""
        return self._identities.get(principal.role_arn or principal.arn, self._default)

    def context(self) -> dict[str, str]:
        """Return the condition keys of a request that say which way it came."""
        return {} if self.vpc_endpoint is None else {"aws:SourceVpce": VPC_ENDPOINT_ID, "aws:SourceVpc": VPC_ID}


def policy_arn(policies: AccountPolicies, kind: PolicyKind, principal: Principal) -> str | None:
    """Return the ARN that a refusal names for a policy of a kind, or None if it names none."""
    if not policies.names_policies:
        return None
    partition, name = principal.arn.split(":")[1], (principal.role_arn or principal.arn).rpartition("/")[2]
    return {
        PolicyKind.SERVICE_CONTROL: f"arn:{partition}:organizations::{MANAGEMENT_ACCOUNT_ID}:policy/"
        f"{ORGANIZATION_ID}/service_control_policy/{SERVICE_CONTROL_POLICY_ID}",
        PolicyKind.IDENTITY: f"arn:{partition}:iam::{principal.account_id}:policy/{name}",
    }.get(kind)


def parse_identity_policy(policy: str, *, kind: PolicyKind = PolicyKind.IDENTITY) -> KeyPolicy:
    """Parse a policy without principals, which is about everybody it is attached to.

    Raises:
        PolicyError: it is malformed, or names a principal.
    """
    try:
        document = decode_strict_json(policy)
    except ValueError as error:
        raise PolicyError(f"{kind}: not JSON ({error})") from None
    if not isinstance(document, dict):
        raise PolicyError(f"{kind}: expected an object, got {type(document).__name__}")
    statements = document.get("Statement")
    statements = statements if isinstance(statements, list) else [statements]
    everybody = [_with_everybody(kind, index, statement) for index, statement in enumerate(statements)]
    return _parse(json.dumps({**document, "Statement": everybody}), kind)


def _with_everybody(kind: PolicyKind, index: int, statement: Any) -> Any:
    if not isinstance(statement, dict):
        return statement
    for name in ("Principal", "NotPrincipal"):
        if name in statement:
            raise PolicyError(f"{kind}: {statement_label(index, None)}: {name} is not part of such a policy")
    return {**statement, "Principal": "*"}


def _parse(text: str, kind: PolicyKind) -> KeyPolicy:
    try:
        return parse_policy(text)
    except PolicyError as error:
        raise PolicyError(f"{kind}: {error}", hint=error.hint) from None
