"""KMS operations that create, list and end grants. Each takes a call and returns the response's fields.

Texts of AWS are those that public reports quote; the others are ours.
"""

from __future__ import annotations

from typing import Any

from nitro_attestation.errors import PolicyError
from nitro_attestation.key_policy.principals import ANYONE, AWS, PrincipalKind, parse_principal_name
from nitro_simulator.errors import KmsFault, validation_fault
from nitro_simulator.kms.access.grants import CREATE_GRANT, WITHOUT_CONTEXT, Grant, GrantConstraint
from nitro_simulator.kms.call import Call, check_enabled
from nitro_simulator.kms.keys.key import KmsKey
from nitro_simulator.kms.keys.specs import ENCRYPT_DECRYPT, KEY_AGREEMENT, SIGN_VERIFY, SYMMETRIC_DEFAULT
from vsock_wire.protocol.json_codec import JsonObject

LIST_LIMIT = 50
"""Number of grants in one response if the request has no Limit. Source: KMS API reference, ListGrants."""

_FOR_ALL = WITHOUT_CONTEXT - {"GetPublicKey"}
_ENCRYPTION = frozenset({"Decrypt", "Encrypt", "ReEncryptFrom", "ReEncryptTo"})
_DATA_KEYS = frozenset(f"GenerateDataKey{what}" for what in ("", "WithoutPlaintext", "Pair", "PairWithoutPlaintext"))
_SUPPORTED = {
    SYMMETRIC_DEFAULT: _ENCRYPTION | _DATA_KEYS,
    ENCRYPT_DECRYPT: _ENCRYPTION | {"GetPublicKey"},
    SIGN_VERIFY: frozenset({"Sign", "Verify", "GetPublicKey"}),
    KEY_AGREEMENT: frozenset({"DeriveSharedSecret", "GetPublicKey"}),
}
"""By key spec for symmetric keys, by key usage for the others. Source: KMS developer guide, "Grant operations"."""


def create_grant(call: Call) -> JsonObject:
    """CreateGrant: the same request with a name again returns the same grant."""
    key = call.keys.find(call.params["KeyId"], with_aliases=False)
    grant = _requested_grant(call)
    constraint = grant.constraint
    call.authorize(key, encryption_context={} if constraint is None else constraint.context, new_grant=grant)
    check_enabled(key)
    _check_operations(key, grant)
    call.stop_if_dry_run()
    grant = key.grants.add(grant)
    return {"GrantToken": grant.new_token(), "GrantId": grant.grant_id}


def list_grants(call: Call) -> JsonObject:
    """ListGrants."""
    key = call.manage_key()
    grant_id, grantee = call.params.get("GrantId"), call.params.get("GranteePrincipal")
    if grant_id is not None and key.grants.find(grant_id) is None:
        raise KmsFault("InvalidGrantIdException", f"Grant id {grant_id} is not found.")
    wanted = [
        (key, grant)
        for grant in key.grants.list()
        if grant_id in (None, grant.grant_id) and grantee in (None, grant.grantee)
    ]
    return _page(call, wanted)


def list_retirable_grants(call: Call) -> JsonObject:
    """ListRetirableGrants: of all keys in this region."""
    if "RetiringPrincipal" not in call.params:
        raise validation_fault("RetiringPrincipal: services are not part of the simulator")
    call.authorize(None)
    retiring = call.params["RetiringPrincipal"]
    pairs = [(key, grant) for key in call.keys.list_keys() for grant in key.grants.list()]
    return _page(call, [(key, grant) for key, grant in pairs if grant.retiring == retiring])


def retire_grant(call: Call) -> JsonObject:
    """RetireGrant: the grant says who may, unless a policy denies it."""
    key, grant = _grant_to_retire(call)
    call.authorize(key, retired_grant=grant)
    call.stop_if_dry_run()
    key.grants.remove(grant)
    return {}


def revoke_grant(call: Call) -> JsonObject:
    """RevokeGrant: the policies say who may."""
    key = call.manage_key()
    grant = _find(key, call.params["GrantId"])
    call.stop_if_dry_run()
    key.grants.remove(grant)
    return {}


def _requested_grant(call: Call) -> Grant:
    for name in ("GranteeServicePrincipal", "RetiringServicePrincipal"):
        if name in call.params:
            raise validation_fault(f"{name}: services are not part of the simulator")
    if "GranteePrincipal" not in call.params:
        raise validation_fault("GranteePrincipal is required.")
    grant = Grant(
        grantee=_principal(call.params["GranteePrincipal"]),
        operations=tuple(dict.fromkeys(call.params["Operations"])),
        issuer=f"arn:{call.keys.partition}:iam::{call.principal.account_id}:root",
        created_at=call.now,
        effective_at=call.now + call.grant_delay,
        constraint=_constraint(call.params.get("Constraints", {})),
        retiring=_principal(call.params["RetiringPrincipal"]) if "RetiringPrincipal" in call.params else None,
        name=call.params.get("Name", ""),
    )
    if not grant.operations:
        raise validation_fault("Operations: at least one is required")
    if grant.operations == (CREATE_GRANT,):
        raise validation_fault("Grants must not contain only the CreateGrant operation.")
    return grant


def _principal(arn: str) -> str:
    """Return the ARN of a principal that a grant can name: an account, user, role or session."""
    try:
        kind = parse_principal_name(AWS, arn).kind
    except PolicyError:
        kind = PrincipalKind.NOBODY
    if kind in (PrincipalKind.NOBODY, PrincipalKind.DELETED) or arn == ANYONE:
        raise KmsFault("InvalidArnException", f"ARN does not refer to a valid principal: {arn[:256]}")
    return arn


def _constraint(constraints: dict[str, Any]) -> GrantConstraint | None:
    if "SourceArn" in constraints:
        raise validation_fault("SourceArn: services are not part of the simulator")
    if len(constraints) > 1:
        raise validation_fault("More than one constraint supplied")
    for name, context in constraints.items():
        return GrantConstraint(context, is_exact=name == "EncryptionContextEquals")
    return None


def _check_operations(key: KmsKey, grant: Grant) -> None:
    supported = _SUPPORTED[key.spec if key.spec == SYMMETRIC_DEFAULT else key.usage] | _FOR_ALL
    others = sorted(set(grant.operations) - supported)
    if others:
        raise validation_fault(f"Operations: {', '.join(others)} cannot be granted for this type of key")
    if grant.constraint is not None and key.spec != SYMMETRIC_DEFAULT:
        raise validation_fault("Constraints: an asymmetric key has no encryption context")


def _grant_to_retire(call: Call) -> tuple[KmsKey, Grant]:
    token, key_id, grant_id = (call.params.get(name) for name in ("GrantToken", "KeyId", "GrantId"))
    if token is not None:
        if key_id is not None or grant_id is not None:
            raise validation_fault("A grant token, or a key id and a grant id, but not both, are required.")
        found = call.keys.find_grant(token)
        if found is None:
            raise KmsFault("InvalidGrantTokenException")
        return found
    if key_id is None or grant_id is None:
        raise validation_fault("A grant token, or a key id and a grant id, but not both, are required.")
    key = call.keys.find(key_id, with_aliases=False)
    return key, _find(key, grant_id)


def _find(key: KmsKey, grant_id: str) -> Grant:
    grant = key.grants.find(grant_id)
    if grant is None:
        raise KmsFault("NotFoundException", f"Grant id {grant_id} is not found.")
    return grant


def _page(call: Call, grants: list[tuple[KmsKey, Grant]]) -> JsonObject:
    marker = call.params.get("Marker")
    ids = [grant.grant_id for _, grant in grants]
    if marker is not None and marker not in ids:
        raise KmsFault("InvalidMarkerException")
    start = 0 if marker is None else ids.index(marker) + 1
    end = start + call.params.get("Limit", LIST_LIMIT)
    answer: JsonObject = {
        "Grants": [_entry(key, grant) for key, grant in grants[start:end]],
        "Truncated": end < len(grants),
    }
    return answer | ({"NextMarker": ids[end - 1]} if end < len(grants) else {})


def _entry(key: KmsKey, grant: Grant) -> JsonObject:
    constraint = grant.constraint
    kind = "EncryptionContextEquals" if constraint and constraint.is_exact else "EncryptionContextSubset"
    return {
        "KeyId": key.arn,
        "GrantId": grant.grant_id,
        **({"Name": grant.name} if grant.name else {}),
        "CreationDate": grant.created_at,
        "GranteePrincipal": grant.grantee,
        **({"RetiringPrincipal": grant.retiring} if grant.retiring else {}),
        "IssuingAccount": grant.issuer,
        "Operations": list(grant.operations),
        **({"Constraints": {kind: dict(constraint.context)}} if constraint else {}),
    }
