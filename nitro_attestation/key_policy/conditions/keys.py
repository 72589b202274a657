"""Condition keys of KMS and AWS: which requests have them, and the likely intention of a wrong name (pure).

Source: KMS developer guide, "AWS KMS condition keys" and "AWS KMS condition keys for attested platforms"; Service
Authorization Reference, "Actions, resources, and condition keys for AWS Key Management Service" (2026-10); IAM user
guide, "AWS global condition context keys".
"""

from __future__ import annotations

import difflib
import enum
import functools
import re
from dataclasses import dataclass

from nitro_attestation.key_policy.conditions.operators import Family

KMS = "kms:"
AWS = "aws:"
ATTESTATION = "kms:RecipientAttestation"
ATTESTATION_PREFIX = f"{ATTESTATION}:"
IMAGE_KEY = ATTESTATION_PREFIX + "ImageSha384"
"""Another name for the condition key of PCR0."""
ENCRYPTION_CONTEXT_PREFIX = "kms:EncryptionContext:"
VIA_SERVICE_KEY = "kms:ViaService"
"""Absent from an enclave's requests, because an enclave calls KMS directly and not through another AWS service."""
PRINCIPAL_ARN_KEY = "aws:PrincipalArn"
GRANT_OPERATIONS_KEY = "kms:GrantOperations"
ENCRYPTION_ALGORITHM_KEY = "kms:EncryptionAlgorithm"

DECRYPT = "Decrypt"
GENERATE_RANDOM = "GenerateRandom"
ATTESTED_KEY_OPERATIONS = (DECRYPT, "DeriveSharedSecret", "GenerateDataKey", "GenerateDataKeyPair")
"""Operations on a key that take an attestation document. GenerateRandom also takes one, but uses no key."""
ATTESTED_OPERATIONS = (*ATTESTED_KEY_OPERATIONS, GENERATE_RANDOM)
"""All operations that return plaintext and can encrypt it for an enclave."""

_WITH_CONTEXT = frozenset(
    f"{KMS}{name}"
    for name in (
        *("CreateGrant", "Decrypt", "Encrypt", "GenerateDataKey", "GenerateDataKeyPair"),
        *("GenerateDataKeyPairWithoutPlaintext", "GenerateDataKeyWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo"),
        "RetireGrant",
    )
)
_ENCRYPTION = _WITH_CONTEXT - {"kms:CreateGrant", "kms:RetireGrant"}
_CRYPTOGRAPHY = _ENCRYPTION | {
    f"{KMS}{name}"
    for name in (
        *("Decapsulate", "DeriveSharedSecret", "DescribeKey", "Encapsulate", "GenerateMac", "GetPublicKey", "Sign"),
        *("Verify", "VerifyMac"),
    )
}
_ATTESTED = frozenset(f"{KMS}{name}" for name in ATTESTED_OPERATIONS)


class Presence(enum.Enum):
    """Whether a direct request by a role, a user or an account has a key."""

    ALWAYS = enum.auto()
    MAYBE = enum.auto()
    NEVER = enum.auto()


@dataclass(frozen=True)
class ConditionKey:
    """What AWS documents about a condition key.

    Attributes:
        name: as AWS writes it, without a suffix that the policy adds, such as a tag's name.
        family: the type of its values.
        presence: whether requests have it.
        is_multivalued: whether it can have several values in one request.
        actions: the only actions whose requests can have it, or None for all.
    """

    name: str
    family: Family = Family.STRING
    presence: Presence = Presence.MAYBE
    is_multivalued: bool = False
    actions: frozenset[str] | None = None


def _actions(*names: str) -> frozenset[str]:
    return frozenset(KMS + name for name in names)


_KEYS = (
    ConditionKey("kms:BypassPolicyLockoutSafetyCheck", Family.BOOLEAN, actions=_actions("CreateKey", "PutKeyPolicy")),
    ConditionKey("kms:CallerAccount", presence=Presence.ALWAYS),
    ConditionKey("kms:CustomerMasterKeySpec"),
    ConditionKey("kms:CustomerMasterKeyUsage"),
    ConditionKey("kms:DataKeyPairSpec", presence=Presence.ALWAYS,
                 actions=_actions("GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext")),
    ConditionKey("kms:EncapsulationAlgorithm", actions=_actions("Decapsulate", "Encapsulate")),
    ConditionKey(ENCRYPTION_ALGORITHM_KEY, presence=Presence.ALWAYS, actions=_ENCRYPTION),
    ConditionKey(ENCRYPTION_CONTEXT_PREFIX, actions=_WITH_CONTEXT),
    ConditionKey("kms:EncryptionContextKeys", is_multivalued=True, actions=_WITH_CONTEXT),
    ConditionKey("kms:ExpirationModel", actions=_actions("ImportKeyMaterial")),
    ConditionKey("kms:GrantConstraintSourceArn", Family.ARN, actions=_actions("CreateGrant")),
    ConditionKey("kms:GrantConstraintType", actions=_actions("CreateGrant", "RetireGrant")),
    ConditionKey("kms:GrantIsForAWSResource", Family.BOOLEAN,
                 actions=_actions("CreateGrant", "ListGrants", "RevokeGrant")),
    ConditionKey(GRANT_OPERATIONS_KEY, presence=Presence.ALWAYS, is_multivalued=True, actions=_actions("CreateGrant")),
    ConditionKey("kms:GranteePrincipal", actions=_actions("CreateGrant")),
    ConditionKey("kms:GranteeServicePrincipal", actions=_actions("CreateGrant")),
    ConditionKey("kms:KeyAgreementAlgorithm", presence=Presence.ALWAYS, actions=_actions("DeriveSharedSecret")),
    ConditionKey("kms:KeyOrigin"),
    ConditionKey("kms:KeySpec"),
    ConditionKey("kms:KeyUsage"),
    ConditionKey("kms:MacAlgorithm", actions=_actions("GenerateMac", "VerifyMac")),
    ConditionKey("kms:MessageType", actions=_actions("Sign", "Verify")),
    ConditionKey("kms:MultiRegion", Family.BOOLEAN),
    ConditionKey("kms:MultiRegionKeyType"),
    ConditionKey("kms:PrimaryRegion", actions=_actions("UpdatePrimaryRegion")),
    ConditionKey("kms:ReEncryptOnSameKey", Family.BOOLEAN, actions=_actions("ReEncryptFrom", "ReEncryptTo")),
    ConditionKey(IMAGE_KEY, actions=_ATTESTED),
    ConditionKey(f"{ATTESTATION_PREFIX}PCR8:ServiceName", actions=_ATTESTED),
    *(ConditionKey(f"{ATTESTATION_PREFIX}PCR{index}", actions=_ATTESTED) for index in range(32)),
    *(ConditionKey(f"{ATTESTATION_PREFIX}NitroTPMPCR{index}", actions=_ATTESTED) for index in range(24)),
    ConditionKey("kms:ReplicaRegion", actions=_actions("ReplicateKey")),
    ConditionKey("kms:RequestAlias", actions=_CRYPTOGRAPHY),
    ConditionKey("kms:ResourceAliases", is_multivalued=True),
    ConditionKey("kms:RetiringPrincipal", actions=_actions("CreateGrant")),
    ConditionKey("kms:RetiringServicePrincipal", actions=_actions("CreateGrant")),
    ConditionKey("kms:RotationPeriodInDays", Family.NUMERIC, actions=_actions("EnableKeyRotation")),
    ConditionKey("kms:ScheduleKeyDeletionPendingWindowInDays", Family.NUMERIC,
                 actions=_actions("ScheduleKeyDeletion")),
    ConditionKey("kms:SigningAlgorithm", actions=_actions("Sign", "Verify")),
    ConditionKey("kms:TrailingDaysWithoutKeyUsage", Family.NUMERIC,
                 actions=_actions("DisableKey", "ScheduleKeyDeletion")),
    ConditionKey("kms:ValidTo", Family.DATE, actions=_actions("ImportKeyMaterial")),
    ConditionKey(VIA_SERVICE_KEY),
    ConditionKey("kms:WrappingAlgorithm", actions=_actions("GetParametersForImport")),
    ConditionKey("kms:WrappingKeySpec", actions=_actions("GetParametersForImport")),
    ConditionKey("aws:AssumedRoot"),
    ConditionKey("aws:CalledVia", presence=Presence.NEVER, is_multivalued=True),
    ConditionKey("aws:CalledViaFirst", presence=Presence.NEVER),
    ConditionKey("aws:CalledViaLast", presence=Presence.NEVER),
    ConditionKey("aws:ChatbotSourceArn", Family.ARN),
    ConditionKey("aws:CurrentTime", Family.DATE, Presence.ALWAYS),
    ConditionKey("aws:Ec2InstanceSourcePrivateIPv4", Family.IP_ADDRESS),
    ConditionKey("aws:Ec2InstanceSourceVpc"),
    ConditionKey("aws:EpochTime", Family.NUMERIC, Presence.ALWAYS),
    ConditionKey("aws:FederatedProvider"),
    ConditionKey("aws:MultiFactorAuthAge", Family.NUMERIC),
    ConditionKey("aws:MultiFactorAuthPresent", Family.BOOLEAN),
    ConditionKey("aws:PrincipalAccount", presence=Presence.ALWAYS),
    ConditionKey(PRINCIPAL_ARN_KEY, Family.ARN, Presence.ALWAYS),
    ConditionKey("aws:PrincipalIsAWSService", Family.BOOLEAN, Presence.ALWAYS),
    ConditionKey("aws:PrincipalOrgID"),
    ConditionKey("aws:PrincipalOrgPaths", is_multivalued=True),
    ConditionKey("aws:PrincipalServiceName", presence=Presence.NEVER),
    ConditionKey("aws:PrincipalServiceNamesList", presence=Presence.NEVER, is_multivalued=True),
    ConditionKey("aws:PrincipalTag/"),
    ConditionKey("aws:PrincipalType", presence=Presence.ALWAYS),
    ConditionKey("aws:RequestTag/", presence=Presence.NEVER),
    ConditionKey("aws:RequestedRegion", presence=Presence.ALWAYS),
    ConditionKey("aws:ResourceAccount"),
    ConditionKey("aws:ResourceOrgID"),
    ConditionKey("aws:ResourceOrgPaths", is_multivalued=True),
    ConditionKey("aws:ResourceTag/"),
    ConditionKey("aws:SecureTransport", Family.BOOLEAN, Presence.ALWAYS),
    ConditionKey("aws:SourceAccount", presence=Presence.NEVER),
    ConditionKey("aws:SourceArn", Family.ARN, Presence.NEVER),
    ConditionKey("aws:SourceIdentity"),
    ConditionKey("aws:SourceIp", Family.IP_ADDRESS),
    ConditionKey("aws:SourceOrgID", presence=Presence.NEVER),
    ConditionKey("aws:SourceOrgPaths", presence=Presence.NEVER, is_multivalued=True),
    ConditionKey("aws:SourceVpc"),
    ConditionKey("aws:SourceVpcArn", Family.ARN),
    ConditionKey("aws:SourceVpce"),
    ConditionKey("aws:TagKeys", presence=Presence.NEVER, is_multivalued=True),
    ConditionKey("aws:TokenIssueTime", Family.DATE),
    ConditionKey("aws:UserAgent"),
    ConditionKey("aws:ViaAWSService", Family.BOOLEAN, Presence.ALWAYS),
    ConditionKey("aws:VpcSourceIp", Family.IP_ADDRESS),
    ConditionKey("aws:VpceAccount"),
    ConditionKey("aws:VpceOrgID"),
    ConditionKey("aws:VpceOrgPaths", is_multivalued=True),
    ConditionKey("aws:referer"),
    ConditionKey("aws:userid", presence=Presence.ALWAYS),
    ConditionKey("aws:username"),
)  # fmt: skip
_BY_NAME = {key.name.lower(): key for key in _KEYS}
_PREFIXES = tuple(name for name in _BY_NAME if name.endswith((":", "/")))
_PCR = re.compile(r"(?P<tpm>tpm)?pcr[^0-9a-z]?0*(?P<index>[0-9]{1,2})(?![0-9])", re.IGNORECASE)
_ATTESTATION = re.compile("attest|recipient|enclave|image|pcr", re.IGNORECASE)


@functools.lru_cache(maxsize=4096)
def find_condition_key(name: str) -> ConditionKey | None:
    """Return what AWS documents about a condition key, or None if there is no such key."""
    lower = name.lower()
    prefix = next((each for each in _PREFIXES if lower.startswith(each) and lower != each), None)
    found = _BY_NAME.get(lower if prefix is None else prefix)
    return None if found is not None and lower in _PREFIXES else found


def is_attestation_key(name: str) -> bool:
    """Return whether a condition key is about the attestation document, also if it is misspelled."""
    return name.lower().startswith(ATTESTATION.lower())


def is_wrong_key(name: str) -> bool:
    """Return whether a condition key has KMS's or AWS's prefix but does not exist."""
    return name.lower().startswith((KMS, AWS)) and find_condition_key(name) is None


def nearest_key(name: str) -> str:
    """Return the condition key that the author of a wrong one most likely meant."""
    match = _PCR.search(name)
    if match is not None and int(match["index"]) < 32:
        return f"{ATTESTATION_PREFIX}{'NitroTPM' if match['tpm'] else ''}PCR{int(match['index'])}"
    if _ATTESTATION.search(name):
        return f"{ATTESTATION_PREFIX}PCR0" if name.lower().endswith("pcr") else IMAGE_KEY
    names = {key: known.name for key, known in _BY_NAME.items()}
    prefix = name.lower().partition(":")[0]
    same = [key for key in names if key.startswith(f"{prefix}:")]
    found = difflib.get_close_matches(name.lower(), same, n=1, cutoff=0) or [IMAGE_KEY.lower()]
    nearest = names[found[0]]
    return nearest + {":": "NAME", "/": "TAG"}.get(nearest[-1], "")
