"""KMS operations that create, name, describe and govern keys. Each takes a call and returns the response's fields."""

from __future__ import annotations

from datetime import timedelta

from nitro_attestation.errors import PolicyError
from nitro_attestation.key_policy.evaluation import AccessRequest, evaluate_policy
from nitro_attestation.key_policy.model import KeyPolicy, default_policy
from nitro_attestation.key_policy.parsing import parse_policy
from nitro_simulator.errors import KmsFault, validation_fault
from nitro_simulator.kms.call import Call, check_changeable, check_enabled
from nitro_simulator.kms.keys.key import KeyFamily, KeyState, KmsKey
from nitro_simulator.kms.keys.specs import ECDH, KEY_AGREEMENT, SIGN_VERIFY, SYMMETRIC_DEFAULT, USAGES
from vsock_wire.protocol.json_codec import JsonObject

POLICY_NAME = "default"
"""The only name a key policy can have."""
MIN_PENDING_DAYS, MAX_PENDING_DAYS = 7, 30
"""Source: KMS API reference, ScheduleKeyDeletion."""
LIST_LIMIT = 100
"""Number of keys in one ListKeys response if the request has no Limit."""


def create_key(call: Call) -> JsonObject:
    """CreateKey: there is no key policy yet, so identity policies decide."""
    call.authorize(None)
    spec = call.params.get("KeySpec", call.params.get("CustomerMasterKeySpec", SYMMETRIC_DEFAULT))
    if spec not in USAGES:
        raise KmsFault("UnsupportedOperationException", f"KeySpec: {spec} is not part of the simulator")
    usage = call.params.get("KeyUsage")
    if usage is None and spec != SYMMETRIC_DEFAULT:
        text = "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."
        raise validation_fault(text)
    usage = usage or USAGES[spec][0]
    if usage not in USAGES[spec]:
        raise validation_fault(f"KeyUsage {usage} is not compatible with KeySpec {spec}")
    for name in ("Origin", "CustomKeyStoreId", "XksKeyId", "Tags"):
        if call.params.get(name) not in (None, False, "AWS_KMS", []):
            raise KmsFault("UnsupportedOperationException", f"{name}: not part of the simulator")
    text = call.params.get("Policy") or default_policy(call.keys.account_id, call.keys.partition)
    call.key = call.keys.create(
        spec=spec,
        usage=usage,
        policy=checked_policy(call, text),
        policy_text=text,
        description=call.params.get("Description", ""),
        now=call.now,
        is_multi_region=call.params.get("MultiRegion", False),
    )
    return {"KeyMetadata": key_metadata(call.key, call.keys.account_id)}


def create_alias(call: Call) -> JsonObject:
    """CreateAlias."""
    name = call.params["AliasName"]
    if not name.startswith("alias/") or len(name) == len("alias/"):
        raise validation_fault('Alias must start with the prefix "alias/". Please see the KMS documentation.')
    if name.startswith("alias/aws/"):
        raise KmsFault("NotAuthorizedException")
    key = call.keys.find(call.params["TargetKeyId"], with_aliases=False)
    call.authorize(key)
    call.keys.create_alias(name, key)
    return {}


def describe_key(call: Call) -> JsonObject:
    """DescribeKey."""
    return {"KeyMetadata": key_metadata(call.look_up_key(), call.keys.account_id)}


def list_keys(call: Call) -> JsonObject:
    """ListKeys: it uses no key, so identity policies decide."""
    call.authorize(None)
    keys = call.keys.list_keys()
    marker = call.params.get("Marker")
    start = 0 if marker is None else next((i + 1 for i, key in enumerate(keys) if key.key_id == marker), None)
    if start is None:
        raise KmsFault("InvalidMarkerException")
    end = start + call.params.get("Limit", LIST_LIMIT)
    answer: JsonObject = {
        "Keys": [{"KeyId": key.key_id, "KeyArn": key.arn} for key in keys[start:end]],
        "Truncated": end < len(keys),
    }
    return answer | ({"NextMarker": keys[end - 1].key_id} if end < len(keys) else {})


def get_key_policy(call: Call) -> JsonObject:
    """GetKeyPolicy."""
    key = call.manage_key()
    _check_policy_name(call)
    return {"Policy": key.policy_text, "PolicyName": POLICY_NAME}


def put_key_policy(call: Call) -> JsonObject:
    """PutKeyPolicy: takes effect from the next request."""
    key = call.manage_key()
    _check_policy_name(call)
    key.policy = checked_policy(call, call.params["Policy"])
    key.policy_text = call.params["Policy"]
    return {}


def get_public_key(call: Call) -> JsonObject:
    """GetPublicKey."""
    key = call.look_up_key()
    public_key_der = key.public_key_der()
    if public_key_der is None:
        raise KmsFault("UnsupportedOperationException", f"{key.arn} key spec is {key.spec}, which has no public key.")
    check_enabled(key)
    specs = {"KeySpec": key.spec, "CustomerMasterKeySpec": key.spec, "KeyUsage": key.usage}
    return {"KeyId": key.arn, "PublicKey": public_key_der} | specs | _algorithms(key)


def enable_key(call: Call) -> JsonObject:
    """EnableKey."""
    return _set_state(call, KeyState.ENABLED)


def disable_key(call: Call) -> JsonObject:
    """DisableKey."""
    return _set_state(call, KeyState.DISABLED)


def schedule_key_deletion(call: Call) -> JsonObject:
    """ScheduleKeyDeletion: the key can no longer be used, and is gone when the time is over."""
    key = call.manage_key()
    if key.state is KeyState.PENDING_DELETION:
        check_changeable(key)
    if key.family is not None and key.family.primary is key and key.family.replicas:
        raise KmsFault("UnsupportedOperationException", f"{key.arn} has replicas; the simulator deletes those first")
    days = call.params.get("PendingWindowInDays", MAX_PENDING_DAYS)
    if not MIN_PENDING_DAYS <= days <= MAX_PENDING_DAYS:
        raise validation_fault(f"PendingWindowInDays must be between {MIN_PENDING_DAYS} and {MAX_PENDING_DAYS}")
    key.state, key.deletion_at = KeyState.PENDING_DELETION, call.now + timedelta(days=days)
    return {
        "KeyId": key.arn,
        "DeletionDate": key.deletion_at,
        "KeyState": str(key.state),
        "PendingWindowInDays": days,
    }


def cancel_key_deletion(call: Call) -> JsonObject:
    """CancelKeyDeletion: the key is disabled afterwards."""
    key = call.manage_key()
    if key.state is not KeyState.PENDING_DELETION:
        raise KmsFault("KMSInvalidStateException", f"{key.arn} is not pending deletion.")
    key.state, key.deletion_at = KeyState.DISABLED, None
    return {"KeyId": key.arn}


def _set_state(call: Call, state: KeyState) -> JsonObject:
    key = call.manage_key()
    check_changeable(key)
    key.state = state
    return {}


def checked_policy(call: Call, text: str) -> KeyPolicy:
    """Return a request's key policy, after refusing one that would lock out its author.

    Raises:
        KmsFault: MalformedPolicyDocumentException.
    """
    try:
        policy = parse_policy(text)
    except PolicyError as error:  # KMS's texts for malformed policies are not public
        raise KmsFault("MalformedPolicyDocumentException", str(error)) from None
    if not call.params.get("BypassPolicyLockoutSafetyCheck"):
        arn = call.key.arn if call.key else call.keys.arn("key/new")
        context = {"kms:CallerAccount": call.principal.account_id}
        if not evaluate_policy(policy, AccessRequest(call.principal, "kms:PutKeyPolicy", arn, context)).is_allowed:
            text = "The new key policy will not allow you to update the key policy in the future."
            raise KmsFault("MalformedPolicyDocumentException", text)
    return policy


def _check_policy_name(call: Call) -> None:
    if call.params.get("PolicyName", POLICY_NAME) != POLICY_NAME:
        raise KmsFault("NotFoundException", "No such policy exists")


def key_metadata(key: KmsKey, account_id: str) -> JsonObject:
    """Return KMS's description of a key."""
    return {
        "AWSAccountId": account_id,
        "KeyId": key.key_id,
        "Arn": key.arn,
        "CreationDate": key.created_at,
        "Enabled": key.state is KeyState.ENABLED,
        "Description": key.description,
        "KeyUsage": key.usage,
        "KeyState": str(key.state),
        "Origin": "AWS_KMS",
        "KeyManager": "CUSTOMER",
        "CustomerMasterKeySpec": key.spec,
        "KeySpec": key.spec,
        "MultiRegion": key.family is not None,
        **({} if key.family is None else {"MultiRegionConfiguration": _family(key, key.family)}),
        **({} if key.deletion_at is None else {"DeletionDate": key.deletion_at}),
        **_algorithms(key),
    }


def _family(key: KmsKey, family: KeyFamily) -> JsonObject:
    primary, *replicas = ({"Arn": each.arn, "Region": each.region} for each in (family.primary, *family.replicas))
    kind = "PRIMARY" if family.primary is key else "REPLICA"
    return {"MultiRegionKeyType": kind, "PrimaryKey": primary, "ReplicaKeys": replicas}


def _algorithms(key: KmsKey) -> JsonObject:
    if key.usage == KEY_AGREEMENT:
        return {"KeyAgreementAlgorithms": [ECDH]}
    if key.usage == SIGN_VERIFY:
        return {"SigningAlgorithms": list(key.signing_algorithms)}
    return {"EncryptionAlgorithms": list(key.encryption_algorithms)}
