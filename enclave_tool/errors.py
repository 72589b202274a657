"""Errors of the enclave's side."""

from __future__ import annotations

from vsock_wire.errors import ExitCode, ToolError, TransportError
from vsock_wire.protocol.vocabulary import KMS_REFUSAL_CODES


class NsmError(ToolError):
    """The Nitro Security Module refused a request or did not answer it properly.

    Attributes:
        request: the name of the NSM request, such as "Attestation".
        code: the NSM's own error code, or None when it gave none.
    """

    def __init__(self, request: str, reason: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(f"NSM {request}: {reason}", hint=hint)
        self.request = request
        self.code = code


class CmsError(ToolError):
    """A CiphertextForRecipient is malformed, of a kind KMS does not send, or cannot be opened with this key."""


class RecipientError(ToolError):
    """KMS answered an attested call without the CiphertextForRecipient that was due."""


class KmsError(ToolError):
    """KMS refused a call; everything it said about it is kept.

    Attributes:
        code: KMS's error code, such as "AccessDeniedException".
        text: KMS's own text, possibly empty.
        http_status: of its answer.
        request_id: of its answer, for AWS support.
    """

    def __init__(
        self, code: str, text: str, *, http_status: int | None, request_id: str | None, hint: str | None = None
    ) -> None:
        super().__init__(f"{code}: {text}" if text else code, hint=hint)
        self.exit_code = ExitCode.REFUSED if code in KMS_REFUSAL_CODES else ExitCode.FAILED
        self.code = code
        self.text = text
        self.http_status = http_status
        self.request_id = request_id


class TlsError(ToolError):
    """The TLS peer behind the proxy could not show that it is KMS."""


class ProxyUnreachableError(TransportError):
    """The vsock-proxy on the parent could not be reached."""


class KmsUnreachableError(TransportError):
    """The proxy was reached, but KMS behind it was not, or stopped answering."""


class DeliveryError(ToolError):
    """The program that a secret is delivered to did not do its part; the secret and its output are dropped."""
