"""What attestation changes in a call to KMS: the request has a Recipient, and KMS encrypts the plaintext to it.

The boto3 client (``client``) and the server's own calls (``regional``) both use this module, so they treat KMS's
responses alike.
"""

from __future__ import annotations

from typing import Any

from enclave_tool.errors import RecipientError
from enclave_tool.recipient.attested_key import KEY_ENCRYPTION_ALGORITHM, Recipient
from vsock_wire.protocol.kms_operations import KMS_OPERATIONS

PLAINTEXT_FIELDS = {str(name): spec.delivers for name, spec in KMS_OPERATIONS.items() if spec.delivers}
"""The operations that take a Recipient, and the field that CiphertextForRecipient replaces. No other operation can be
attested, for example Encrypt, ReEncrypt or Sign. Source: KMS API reference."""


def recipient_parameter(recipient: Recipient) -> dict[str, Any]:
    """Return the Recipient parameter of an attested operation, with an attestation document of ``recipient``.

    Raises:
        NsmError: the module refused or did not respond.
    """
    return {"KeyEncryptionAlgorithm": KEY_ENCRYPTION_ALGORITHM, "AttestationDocument": recipient.document()}


def drop_secret(answer: dict[str, Any], operation: str) -> None:
    """Remove a plaintext from an error response, which must not have one."""
    answer.pop(PLAINTEXT_FIELDS[operation], None)


def replace_ciphertext_for_recipient(answer: dict[str, Any], operation: str, recipient: Recipient) -> None:
    """Replace CiphertextForRecipient with the plaintext in KMS's response ``answer`` to an attested operation.

    Raises:
        RecipientError: the response has no CiphertextForRecipient, or has a plaintext. In the latter case, KMS or an
            impostor ignored the Recipient, and the plaintext may have been seen outside the enclave. It is dropped.
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
