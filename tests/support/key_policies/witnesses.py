"""Turn witnesses of a search into fully known requests for the oracle."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from nitro_attestation.key_policy.conditions.condition import Condition
from nitro_attestation.key_policy.conditions.keys import find_condition_key
from nitro_attestation.key_policy.conditions.operators import Family
from nitro_attestation.key_policy.model import KeyPolicy
from nitro_attestation.key_policy.symbolic.domains import Literal, Value, find_value
from nitro_attestation.key_policy.symbolic.requests import PSEUDO, RequestModel, canonical_key
from tests.support.key_policies.generator import KEY_ARN, OTHER_DIGEST, ZEROS
from tests.support.key_policies.iam_oracle import OracleRequest

IDENTITY_KEYS = (
    *("aws:PrincipalArn", "aws:PrincipalAccount", "kms:CallerAccount", "aws:PrincipalType", "aws:username"),
    *("aws:PrincipalIsAWSService", "aws:ViaAWSService", "aws:SecureTransport"),
)
SAMPLES = ("x", ZEROS, OTHER_DIGEST, "vpce-1", "red", "test", "o-example1234")


TYPED_SAMPLES = {
    Family.DATE: ["2026-06-01T00:00:00Z", "2024-02-29T11:00:00.5Z", "2025-01-01T00:00:00Z", "2031-12-31T23:59:59Z"],
    Family.NUMERIC: ["0", "99.5", "100", "3600", "3600.5", "-1"],
    Family.IP_ADDRESS: ["10.1.2.3", "10.255.255.255", "203.0.113.0", "198.51.100.1", "2001:db8::1", "::1"],
}
"""The values of a key all have the same type."""
TIMES = ["1780272000", "1700000000", "1699999999", "1709200000.5", "1580515200"]


def depends_on_more_than_keys(witness: Mapping[str, Value]) -> bool:
    """Return whether a witness depends on other things than condition keys, such as IAM's treatment of NotPrincipal."""
    return any(key.startswith(PSEUDO) for key in witness)


def oracle_request(policy: KeyPolicy, model: RequestModel, witness: Mapping[str, Value]) -> OracleRequest:
    """Return the request that a witness describes, completed with values from the model."""
    context = {key: value for key, value in values_of_all_keys(policy, model, witness).items() if value is not None}
    arn = (context.get("aws:principalarn") or ("",))[0]
    requester = model.requester
    session = requester.session_arn or ""
    if ":role/" in arn and not session:
        session = arn.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") + "/some-session"
    account = (context.get("aws:principalaccount") or ("",))[0] if requester.is_identity else ""
    return OracleRequest(model.action, model.key_arn or KEY_ARN, account, requester.arn or arn, session, context)


def values_of_all_keys(policy: KeyPolicy, model: RequestModel, witness: Mapping[str, Value]) -> dict[str, Value]:
    """Return a value for each key in a policy, including those of the witness."""
    values = dict(witness)
    for key in keys_of(policy):
        if key not in values:
            found = find_value(model.domain(key), frozenset())
            values[key] = None if found is None else found.value
    return with_other_name_of_pcr0(values)


def sampled_values(policy: KeyPolicy, model: RequestModel, source: random.Random) -> dict[str, Value]:
    """Return random values for each key in a policy, chosen from those that the model allows."""
    named = [value for statement in policy.statements for each in statement.conditions for value in each.values]
    values: dict[str, Value] = {}
    for key in sorted(keys_of(policy)):
        domain = model.domain(key)
        if domain.choices is not None:
            values[key] = source.choice(domain.choices)
        elif domain.may_be_absent and source.random() < 0.4:
            values[key] = None
        else:
            found = find_value(domain, frozenset())
            info = find_condition_key(key)
            typed = TIMES if key == "aws:epochtime" else TYPED_SAMPLES.get(info.family) if info is not None else None
            tries = [source.choice(typed or [*SAMPLES, *named]) for _ in range(6)]
            fitting = [value for value in tries if fits(model, key, value)]
            values[key] = (fitting[0],) if fitting else found.value if found else None
    return with_other_name_of_pcr0(values)


def fits(model: RequestModel, key: str, value: str) -> bool:
    """Return whether the model allows this value of a key."""
    domain = model.domain(key)
    if domain.is_multivalued or domain.is_digest:
        return not domain.is_digest and "*" not in value
    if any(character in value for character in "*?$"):
        return False
    return find_value(domain, frozenset({Literal(Condition("StringEquals", key, (value,)))})) is not None


def keys_of(policy: KeyPolicy) -> set[str]:
    conditions = [condition for statement in policy.statements for condition in statement.conditions]
    keys = {canonical_key(condition.key) for condition in conditions}
    keys |= {canonical_key(name) for condition in conditions for name in condition.variables}
    return keys | {canonical_key(key) for key in IDENTITY_KEYS}


def with_other_name_of_pcr0(values: dict[str, Value]) -> dict[str, Any]:
    image = canonical_key("kms:RecipientAttestation:ImageSha384")
    return {**values, "kms:recipientattestation:imagesha384": values[image]} if image in values else values
