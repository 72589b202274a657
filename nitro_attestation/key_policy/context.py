"""What a request to KMS says of itself in the condition keys that key policies ask for (pure).

Source: KMS developer guide, "AWS KMS condition keys" and "Condition keys for Nitro Enclaves"; IAM user guide, "AWS
global condition context keys".
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from nitro_attestation.errors import PolicyError
from nitro_attestation.key_policy.model import Principal
from nitro_attestation.quoting import quoted

DECRYPT = "Decrypt"
ATTESTED_KEY_OPERATIONS = (DECRYPT, "DeriveSharedSecret", "GenerateDataKey", "GenerateDataKeyPair")
"""Operations on a key that take an attestation document. GenerateRandom takes one too, but asks no key's policy."""
ATTESTATION_PREFIX = "kms:RecipientAttestation:"
IMAGE_KEY = ATTESTATION_PREFIX + "ImageSha384"
"""Another name of PCR0's."""
ENCRYPTION_CONTEXT_PREFIX = "kms:EncryptionContext:"
VIA_SERVICE_KEY = "kms:ViaService"
"""Never in the request of an enclave, which calls KMS itself and not through another AWS service."""

_CALLER_ARN = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):(iam::(?P<owner>[0-9]{12}):(?P<kind>user|role)/[\w+=,.@/-]+"
    r"|sts::(?P<session_owner>[0-9]{12}):assumed-role/(?P<role>[\w+=,.@-]+)/[\w+=,.@-]+)",
    re.ASCII,
)
_PCR_KEY = re.compile(re.escape(ATTESTATION_PREFIX) + "PCR(0|[1-9][0-9]?)", re.IGNORECASE)


def parse_caller(arn: str) -> Principal:
    """Return whom a request comes from by an ARN.

    Of a role session's ARN the role's path cannot be told: it counts as a role without one.

    Args:
        arn: of an IAM user, an IAM role, or a session of a role.

    Raises:
        PolicyError: it is none of these.
    """
    match = _CALLER_ARN.fullmatch(arn)
    if match is None:
        raise PolicyError(
            f"ARN: expected that of an IAM role, a role session or a user, got {quoted(arn, 128)}",
            hint="such as arn:aws:iam::111122223333:role/NAME",
        )
    if match["role"]:
        role_arn = f"arn:{match['partition']}:iam::{match['session_owner']}:role/{match['role']}"
        return Principal(arn, match["session_owner"], role_arn)
    return Principal(arn, match["owner"], arn if match["kind"] == "role" else None)


def pcr_key(index: int) -> str:
    """Return the condition key of one PCR."""
    return f"{ATTESTATION_PREFIX}PCR{index}"


def is_attestation_key(key: str) -> bool:
    """Return whether a condition key is about the attestation document, or tries to be: there are misspelt ones."""
    return key.lower().startswith(ATTESTATION_PREFIX.lower())


def pcr_index(key: str) -> int | None:
    """Return which PCR a condition key is about, or None where it is about none."""
    if key.lower() == IMAGE_KEY.lower():
        return 0
    match = _PCR_KEY.fullmatch(key)
    return int(match[1]) if match else None


def attestation_context(pcrs: Mapping[int, bytes]) -> dict[str, str]:
    """Return what an attestation document says: every PCR of it, in lower-case hexadecimal.

    Args:
        pcrs: of the document, by their index.
    """
    context = {pcr_key(index): value.hex() for index, value in pcrs.items()}
    return context | ({IMAGE_KEY: pcrs[0].hex()} if 0 in pcrs else {})


def caller_context(principal: Principal) -> dict[str, str]:
    """Return what a direct call of KMS says of its caller. VIA_SERVICE_KEY is absent from such a call."""
    return {
        "kms:CallerAccount": principal.account_id,
        "aws:PrincipalAccount": principal.account_id,
        "aws:PrincipalArn": principal.role_arn or principal.arn,
        "aws:SecureTransport": "true",
    }


def encryption_context_keys(context: Mapping[str, str]) -> dict[str, str]:
    """Return what the encryption context of a request says, one condition key for each of its names."""
    return {ENCRYPTION_CONTEXT_PREFIX + name: value for name, value in context.items()}
