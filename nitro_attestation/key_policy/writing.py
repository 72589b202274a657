"""Write key policies that let one enclave image use a key, and nobody without an attestation document (pure).

Source: KMS developer guide, "Condition keys for Nitro Enclaves" and "Default key policy"; IAM user guide, "Policy
evaluation logic" (an explicit deny wins over every allow, grants included) and "Condition operators" (a negated
operator holds if the request has no such key).
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
"""What AWS allows key administrators, except what gives access to plaintext: kms:CreateGrant, because a grant cannot
require a document, and kms:ReplicateKey, because a replica has its own policy."""
GUARDED_ACTIONS = (f"kms:{DECRYPT}", "kms:ReEncryptFrom")
"""Always guarded: ReEncryptFrom re-encrypts a ciphertext under another key, which has another policy."""


def attested_key_policy(
    *,
    roles: Sequence[str],
    administrators: Sequence[str],
    pcrs: Mapping[int, bytes] | Sequence[Mapping[int, bytes]],
    operations: Sequence[str] = (DECRYPT,),
    iam_account: str | None = None,
) -> str:
    """Return a key policy that separates administration from use, and allows use only to enclaves with these PCRs.

    For each condition of the Allow there is also a Deny, so that IAM policies, grants and later Allow statements cannot
    bypass the attestation. Anyone who may change the policy can remove the Deny, too.

    Args:
        roles: ARNs of the IAM roles or users whose credentials the enclave has.
        administrators: ARNs of the IAM roles or users that administer the key.
        pcrs: measurements that identify the image: 48 bytes each by index, including PCR0 or PCR8. For several images,
            as during a rolling update, each may use the key; PCRs that are not common to all images are ignored.
        operations: some of ATTESTED_KEY_OPERATIONS, or Encrypt, which no document can restrict.
        iam_account: ARN of the root of an account whose IAM policies count for the key; None for none.

    Raises:
        PolicyError: an ARN is malformed or in both lists, no PCR identifies the image, or the policy is too long for
            KMS.
    """
    _check_principals(roles, administrators)
    values = _values([pcrs] if isinstance(pcrs, Mapping) else pcrs)
    if not {IMAGE_PCR, SIGNER_PCR} & values.keys():
        raise PolicyError(
            "measurements: neither PCR0 (the image) nor PCR8 (its signer) is known for every image",
            hint="without one of them, the policy would admit every image",
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
            raise PolicyError(f"{option}: the ARN of an IAM role is missing")
        for arn in arns:
            if ":sts:" in parse_caller(arn).arn:
                raise PolicyError(f"{option}: expected the ARN of an IAM role, got that of a role session")
    for arn in set(roles) & set(administrators):
        raise PolicyError(
            f"--admin: {arn} is also in --role",
            hint="the principal that uses the key must not be able to change who may use it",
        )


def _allow(sid: str, principals: Sequence[str], actions: list[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Principal": {"AWS": list(principals)}, "Action": actions, "Resource": "*"}


def _values(images: Sequence[Mapping[int, bytes]]) -> dict[int, str | list[str]]:
    """Return the allowed values of each PCR that all images have: one value, or a list of several."""
    if not images:
        return {}
    common = set.intersection(*(set(pcrs) for pcrs in images))
    found = {index: list(dict.fromkeys(pcrs[index].hex() for pcrs in images)) for index in sorted(common)}
    return {index: values[0] if len(values) == 1 else values for index, values in found.items()}


def _deny_unless(index: int, wanted: str | list[str], actions: list[str]) -> dict[str, Any]:
    """Return the Deny for one PCR. With several PCRs in one statement, it would apply only if all of them differ."""
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
