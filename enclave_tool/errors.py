"""Errors of the enclave's programs and library."""

from __future__ import annotations

from vsock_wire.errors import ToolError, TransportError
from vsock_wire.protocol.refusals.row import Reason
from vsock_wire.protocol.refusals.table import refusal_exit_code


class NsmError(ToolError):
    """The Nitro Security Module refused a request, or its response is not valid.

    Attributes:
        request: the name of the NSM request, such as "Attestation".
        code: the NSM's own error code, or None if it sent none.
    """

    def __init__(self, request: str, reason: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(f"NSM {request}: {reason}", hint=hint)
        self.request = request
        self.code = code


class CmsError(ToolError):
    """A CiphertextForRecipient is malformed, is not of a kind that KMS sends, or cannot be opened with this key."""


class RecipientError(ToolError):
    """KMS's response to an attested call has no CiphertextForRecipient, or is otherwise not what was asked for."""


class KmsError(ToolError):
    """KMS refused a call.

    Attributes:
        code: KMS's error code, such as "AccessDeniedException".
        text: KMS's own text, possibly empty.
        reason: why, if the code leaves that open and the text says it.
        http_status: HTTP status of the response.
        request_id: request ID of the response, for AWS support.
    """

    def __init__(
        self,
        code: str,
        text: str,
        *,
        http_status: int | None,
        request_id: str | None,
        reason: Reason | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(f"{code}: {text}" if text else code, hint=hint)
        self.exit_code = refusal_exit_code(code, reason)
        self.code = code
        self.text = text
        self.reason = reason
        self.http_status = http_status
        self.request_id = request_id


class TlsError(ToolError):
    """The TLS peer behind the proxy could not prove that it is KMS.

    Attributes:
        wrong_host: the host that was asked for, if the peer's certificate is for others; None for any other reason.
    """

    def __init__(self, message: str, *, wrong_host: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.wrong_host = wrong_host


class ProxyUnreachableError(TransportError):
    """The vsock-proxy on the parent could not be reached."""


class KmsUnreachableError(TransportError):
    """The proxy was reached, but KMS could not be reached through it, or stopped answering."""


class DeliveryError(ToolError):
    """The program that receives a secret failed. The secret and the program's output are dropped."""
