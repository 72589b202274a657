"""The check that KMS decrypts for this enclave: a real Decrypt."""

from __future__ import annotations

from collections.abc import Sequence

from instance_tool.client.client import EnclaveClient
from instance_tool.errors import EnclaveError
from nitro_attestation.document.cose import parse_unverified_document
from nitro_attestation.errors import AttestationError
from vsock_wire.errors import ToolError
from vsock_wire.protocol.diagnosis import Hop, HopName, HopState
from vsock_wire.protocol.kms_operations import KmsRequest
from vsock_wire.protocol.recording import recording
from vsock_wire.protocol.refusals.access import ACCESS_DENIED
from vsock_wire.protocol.refusals.row import Reason
from vsock_wire.protocol.refusals.table import parse_reason
from vsock_wire.protocol.trace import Attested

_KEY_POLICY_REASONS = (None, Reason.NO_RESOURCE_POLICY_ALLOWS, Reason.DENY_IN_RESOURCE_POLICY)
"""Reasons of a denial that the measurements of the enclave may explain; None is what an older enclave gives."""


def try_decrypt(client: EnclaveClient, request: KmsRequest) -> Hop:
    """Perform a Decrypt and return its hop. The plaintext is dropped.

    Args:
        client: client of the enclave, with credentials set.
        request: the Decrypt.
    """
    with recording() as steps:
        try:
            result = client.ask_enclave(request)
        except ToolError as error:
            return Hop(HopName.DECRYPT, HopState.FAILED, str(error), _denial_hint(error, steps) or error.hint)
    return Hop(HopName.DECRYPT, HopState.OK, f"KMS decrypted the ciphertext for this enclave with {result.key_id}")


def _denial_hint(error: ToolError, steps: Sequence[object]) -> str | None:
    """Explain a denial by the key policy with the PCRs that KMS was shown; return None for any other error."""
    documents = [step.document for step in steps if isinstance(step, Attested)]
    if not isinstance(error, EnclaveError) or error.reply.code != ACCESS_DENIED or not documents:
        return None
    if parse_reason(error.reply.reason) not in _KEY_POLICY_REASONS:
        return None
    try:
        shown = parse_unverified_document(documents[-1])
    except AttestationError as unreadable:
        return f"the enclave sent KMS a malformed attestation document: {unreadable}"
    if shown.is_debug:
        return (
            "the enclave runs in debug mode, so KMS was shown zeros in PCR0 to PCR2, which match no image: start it"
            " without --debug-mode"
        )
    return (
        f"KMS was shown PCR0 {shown.pcrs.get(0, b'').hex()}: the key policy must allow it in"
        " kms:RecipientAttestation:ImageSha384 and name this role as a principal; kmstool-instance policy explain shows"
        " which condition fails"
    )
