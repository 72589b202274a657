"""Writes key policies that let one enclave image use a key, and nobody use it without an attestation document (pure).

Source: KMS developer guide, "Condition keys for Nitro Enclaves" and "Default key policy"; IAM user guide, "Policy
evaluation logic" (an explicit deny wins over every allow, grants included) and "Condition operators" (a negated
operator holds where the request has no such key).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from nitro_attestation.errors import PolicyError
from nitro_attestation.key_policy.conditions.keys import ATTESTED_KEY_OPERATIONS, DECRYPT, IMAGE_KEY
from nitro_attestation.key_policy.context import parse_caller, pcr_key
from nitro_attestation.key_policy.model import MAX_POLICY_BYTES, POLICY_VERSIONS
from nitro_attestation.measurements import IMAGE_PCR, SIGNER_PCR

ENCRYPT = "Encrypt"
"""Takes no attestation document, so its statement can have no condition on one."""
ADMINISTRATION_ACTIONS = (
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:DeleteAlias",
    "kms:Describe*",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:Get*",
    "kms:List*",
    "kms:PutKeyPolicy",
    "kms:RevokeGrant",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
)
"""What AWS gives key administrators, without what leads to plaintext: kms:CreateGrant, because a grant cannot ask for
a document, and kms:ReplicateKey, because a replica has a policy of its own."""
GUARDED_ACTIONS = (f"kms:{DECRYPT}", "kms:ReEncryptFrom")
"""Guarded whatever the operations are: ReEncryptFrom puts a ciphertext under another key, with another policy."""


def attested_key_policy(
    *,
    roles: Sequence[str],
    administrators: Sequence[str],
    pcrs: Mapping[int, bytes] | Sequence[Mapping[int, bytes]],
    operations: Sequence[str] = (DECRYPT,),
    iam_account: str | None = None,
) -> str:
    """Return a key policy: administration apart from use, and use for enclaves that show these PCRs only.

    Besides the Allow with its conditions there is a Deny for each of them, so that neither IAM policies, nor grants,
    nor another Allow that is added some day lead around the attestation. Whoever may change the policy can change
    that too.

    Args:
        roles: ARNs of the IAM roles or users whose credentials the enclave has.
        administrators: ARNs of the IAM roles or users that administer the key.
        pcrs: measurements that identify the image: 48 bytes each by index, PCR0 or PCR8 among them. Of several images,
            as during a rolling change from one to the next, each may use the key; PCRs that not all have do not count.
        operations: of ATTESTED_KEY_OPERATIONS, or Encrypt, which no document can restrict.
        iam_account: ARN of the root of an account whose IAM policies shall count for the key; None for no account's.

    Raises:
        PolicyError: an ARN has another form or is on both sides, no PCR identifies the image, or it all gets too long
            for KMS.
    """
    _check_principals(roles, administrators)
    values = _values([pcrs] if isinstance(pcrs, Mapping) else pcrs)
    if not {IMAGE_PCR, SIGNER_PCR} & values.keys():
        raise PolicyError(
            "measurements: expected PCR0 (the image) or PCR8 (who signed it) of every image, got neither",
            hint="without one of them every image passes",
        )
    attested = [f"kms:{operation}" for operation in operations if operation != ENCRYPT]
    statements = [_allow("Administration", administrators, list(ADMINISTRATION_ACTIONS))]
    if iam_account is not None:
        statements.append(_allow("AccountIamPolicies", [iam_account], ["kms:*"]))
    if ENCRYPT in operations:
        statements.append(_allow("EncryptionAnywhere", roles, [f"kms:{ENCRYPT}"]))
    if attested:
        condition = {"StringEqualsIgnoreCase": {_key(index): wanted for index, wanted in values.items()}}
        statements.append(_allow("UseInTheEnclave", roles, attested) | {"Condition": condition})
    open_to_iam = [] if iam_account is None else [f"kms:{operation}" for operation in ATTESTED_KEY_OPERATIONS]
    guarded = sorted({*attested, *GUARDED_ACTIONS, *open_to_iam})
    statements += [_deny_unless(index, wanted, guarded) for index, wanted in values.items()]
    text = json.dumps({"Version": POLICY_VERSIONS[0], "Statement": statements}, indent=2)
    if len(text) > MAX_POLICY_BYTES:
        raise PolicyError(f"key policy: expected at most {MAX_POLICY_BYTES} bytes, got {len(text)}")
    return text


def _check_principals(roles: Sequence[str], administrators: Sequence[str]) -> None:
    for option, arns in (("--role", roles), ("--admin", administrators)):
        if not arns:
            raise PolicyError(f"{option}: expected the ARN of an IAM role, got none")
        for arn in arns:
            if ":sts:" in parse_caller(arn).arn:
                raise PolicyError(f"{option}: expected the ARN of an IAM role, got that of a session of it")
    for arn in set(roles) & set(administrators):
        raise PolicyError(
            f"--admin: expected another principal than --role, got {arn} for both",
            hint="who uses the key must not be able to change who may use it",
        )


def _allow(sid: str, principals: Sequence[str], actions: list[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Principal": {"AWS": list(principals)}, "Action": actions, "Resource": "*"}


def _values(images: Sequence[Mapping[int, bytes]]) -> dict[int, str | list[str]]:
    """Return what each PCR that all images have may be: one value, or a list of several."""
    if not images:
        return {}
    common = set.intersection(*(set(pcrs) for pcrs in images))
    found = {index: list(dict.fromkeys(pcrs[index].hex() for pcrs in images)) for index in sorted(common)}
    return {index: values[0] if len(values) == 1 else values for index, values in found.items()}


def _deny_unless(index: int, wanted: str | list[str], actions: list[str]) -> dict[str, Any]:
    """One statement for each PCR: two conditions in one would have to be wrong both before anything is denied."""
    return {
        "Sid": f"DenyUnless{_key(index).rpartition(':')[2]}",
        "Effect": "Deny",
        "Principal": "*",
        "Action": actions,
        "Resource": "*",
        "Condition": {"StringNotEqualsIgnoreCase": {_key(index): wanted}},
    }


def _key(index: int) -> str:
    return IMAGE_KEY if index == IMAGE_PCR else pcr_key(index)
