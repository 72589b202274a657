"""The KMS operation that copies a multi-Region key into another region.

Source: KMS developer guide, "Multi-Region keys in AWS KMS"; KMS API reference, ReplicateKey.
"""

from __future__ import annotations

from nitro_attestation.key_policy.model import default_policy
from nitro_simulator.errors import KmsFault
from nitro_simulator.kms.call import Call, check_enabled
from nitro_simulator.kms.operations.key_management import checked_policy, key_metadata
from vsock_wire.protocol.json_codec import JsonObject


def replicate_key(call: Call) -> JsonObject:
    """ReplicateKey: the replica has the key's id and material, and everything else of its own."""
    key = call.manage_key()
    call.authorize(None, action="kms:CreateKey")
    check_enabled(key)
    region = call.params["ReplicaRegion"]
    if key.family is None or key.family.primary is not key:
        raise KmsFault("UnsupportedOperationException", f"{key.arn} is not a multi-region primary key.")
    if call.params.get("Tags"):
        raise KmsFault("UnsupportedOperationException", "Tags: not part of the simulator")
    store = call.stores.get(region)
    if store is None:
        raise KmsFault("UnsupportedOperationException", f"ReplicaRegion: {region} is not a region of this simulator")
    text = call.params.get("Policy") or default_policy(store.account_id, store.partition)
    replica = store.replicate(
        key,
        policy=checked_policy(call, text),
        policy_text=text,
        description=call.params.get("Description", ""),
        now=call.now,
    )
    return {
        "ReplicaKeyMetadata": key_metadata(replica, store.account_id),
        "ReplicaPolicy": text,
        "ReplicaTags": [],
    }
