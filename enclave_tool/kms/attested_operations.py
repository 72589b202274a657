"""What attestation changes in a call of KMS: a Recipient goes along, and the plaintext comes back sealed to it.

The boto3 client (``client``) and the server's own calls (``regional``) both use this module, so they treat KMS's
responses alike.
"""

from __future__ import annotations

from typing import Any

from enclave_tool.errors import RecipientError
from enclave_tool.recipient.attested_key import KEY_ENCRYPTION_ALGORITHM, Recipient
from vsock_wire.protocol.kms_operations import KMS_OPERATIONS

PLAINTEXT_FIELDS = {str(name): spec.delivers for name, spec in KMS_OPERATIONS.items() if spec.delivers}
"""The operations that take a Recipient, and the field that CiphertextForRecipient replaces. Source: KMS API reference;
there are no others: Encrypt, ReEncrypt and Sign cannot be attested."""


def recipient_parameter(recipient: Recipient) -> dict[str, Any]:
    """Return the parameter Recipient of an attested operation, with a document as ``recipient`` gives it.

    Raises:
        NsmError: the module refused or did not answer.
    """
    return {"KeyEncryptionAlgorithm": KEY_ENCRYPTION_ALGORITHM, "AttestationDocument": recipient.document()}


def drop_secret(answer: dict[str, Any], operation: str) -> None:
    """Take out of an error response what only a good one may carry, and that not in the clear."""
    answer.pop(PLAINTEXT_FIELDS[operation], None)


def replace_ciphertext_for_recipient(answer: dict[str, Any], operation: str, recipient: Recipient) -> None:
    """Put the plaintext into KMS's ``answer`` to an attested operation, in place of CiphertextForRecipient.

    Raises:
        RecipientError: the answer has none, or has a plaintext besides: KMS, or whatever answers for it, ignored the
            Recipient, so the plaintext may have been seen outside the enclave. It is dropped.
        CmsError: the CiphertextForRecipient cannot be opened.
    """
    field = PLAINTEXT_FIELDS[operation]
    leaked = answer.pop(field, None)
    ciphertext_for_recipient = answer.pop("CiphertextForRecipient", None)
    if leaked:
        raise RecipientError(
            f"KMS {operation}: the response has {field} in the clear instead of CiphertextForRecipient",
            hint="the endpoint ignores Recipient, so it is not the real KMS; the plaintext was dropped",
        )
    if not ciphertext_for_recipient:
        raise RecipientError(f"KMS {operation}: the response has neither CiphertextForRecipient nor {field}")
    answer[field] = recipient.open_ciphertext_for_recipient(ciphertext_for_recipient)
