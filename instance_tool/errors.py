"""The errors of the parent instance, in addition to those of ``vsock_wire``."""

from __future__ import annotations

import enum

from vsock_wire.errors import CredentialsError, ExitCode, InputError, ToolError, TransportError, WireError
from vsock_wire.protocol.messages import ErrorReply, call_details
from vsock_wire.protocol.vocabulary import (
    DRY_RUN_PASSED,
    EXPIRED_TOKEN,
    EnclaveCode,
    KmstoolText,
    Service,
)

MAX_REPLY_TEXT_CHARS = 4_096
"""Maximum length of an enclave's error text; the rest is cut off. KMS's own texts fit."""

INSTANCE_SERVICE = "instance"
"""The Service of an error reply that reports a failure of ``kmstool-instance serve`` itself."""

INVALID_INPUT = "InvalidInput"
"""The code, in JSON output, of a line that is not a ciphertext. No reply has it."""


class InstanceCode(enum.StrEnum):
    """Codes of errors that occur in ``kmstool-instance serve`` itself, not in the enclave."""

    ENCLAVE_UNREACHABLE = "EnclaveUnreachable"
    ENCLAVE_UNREADABLE = "EnclaveUnreadable"
    NO_CREDENTIALS = "NoCredentials"
    UNSUPPORTED = "UnsupportedByEnclave"


_INSTANCE_EXIT_CODES: dict[str, ExitCode] = {
    InstanceCode.ENCLAVE_UNREACHABLE: ExitCode.UNREACHABLE,
    InstanceCode.NO_CREDENTIALS: ExitCode.NO_CREDENTIALS,
}
_ENCLAVE_EXIT_CODES: dict[str, ExitCode] = {
    EnclaveCode.PROXY_UNREACHABLE: ExitCode.UNREACHABLE,
    EnclaveCode.KMS_UNREACHABLE: ExitCode.UNREACHABLE,
    EnclaveCode.UNKNOWN_REGION: ExitCode.USAGE,
}
_REASONLESS_HINT = (
    "this enclave gives no reason (kmstool in C never does): read its console, or run this project's kmstool-enclave"
)
_UNKNOWN_OPERATION_HINT = (
    "this enclave runs kmstool in C, whose only operation is Decrypt: run this project's kmstool-enclave"
)


class RoleError(CredentialsError):
    """The instance metadata service answers, but has no usable role credentials."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, provider="IMDS", hint=hint)


class NoCredentialsError(CredentialsError):
    """Neither the instance metadata service nor the credential chain has credentials.

    Attributes:
        imds: why the instance metadata service has none.
        chain: why the credential chain has none; None if nothing in it is configured.
    """

    def __init__(self, imds: CredentialsError, chain: CredentialsError | None = None) -> None:
        blamed = chain or imds
        super().__init__(
            f"no AWS credentials: none in the environment; {imds}; {chain or 'none in the credential chain'}",
            provider=blamed.provider,
            variable=blamed.variable,
            hint=blamed.hint,
        )
        self.imds = imds
        self.chain = chain


class EnclaveError(ToolError):
    """The enclave answered a request with an error.

    Attributes:
        reply: the whole error reply.
    """

    def __init__(self, reply: ErrorReply) -> None:
        message = reply.message[:MAX_REPLY_TEXT_CHARS] or "the enclave refused the request without giving a reason"
        super().__init__(message + call_details(reply.http_status, reply.request_id, reply.tries), hint=_hint(reply))
        self.reply = reply
        self.exit_code = _exit_code(reply)

    @property
    def says_credentials_ended(self) -> bool:
        """Whether KMS rejected the credentials as expired; kmstool in C never reports that."""
        return self.reply.service == Service.KMS and self.reply.code == EXPIRED_TOKEN

    @property
    def says_dry_run_passed(self) -> bool:
        """Whether KMS would perform the request, which asked for a dry run."""
        return self.reply.service == Service.KMS and self.reply.code == DRY_RUN_PASSED

    @property
    def says_region_is_set(self) -> bool:
        """Whether the enclave refused a region because it was started with one; kmstool in C sends only the text."""
        if self.reply.code is None:
            return self.reply.message == KmstoolText.REGION_CONFLICT
        return self.reply.code == EnclaveCode.REGION_CONFLICT

    @property
    def says_operation_unknown(self) -> bool:
        """Whether the peer does not know the operation; kmstool in C sends no error codes."""
        return self.reply.code in (None, EnclaveCode.UNKNOWN_OPERATION)


class LegacyPeerError(ToolError):
    """The enclave runs kmstool in C, which cannot perform the request as asked.

    Neither the credentials nor the request were sent.
    """


class BusyError(ToolError):
    """All connections to the enclave stayed in use for as long as the caller would wait."""


_CODES: dict[type[ToolError], str] = {
    InputError: INVALID_INPUT,
    CredentialsError: InstanceCode.NO_CREDENTIALS,
    TransportError: InstanceCode.ENCLAVE_UNREACHABLE,
    WireError: InstanceCode.ENCLAVE_UNREADABLE,
    BusyError: EnclaveCode.BUSY,
    LegacyPeerError: InstanceCode.UNSUPPORTED,
}


def error_code(error: ToolError) -> str | None:
    """Return the code for programs of an error: the enclave's own, or one of InstanceCode; None if it has none.

    kmstool in C sends errors without a code.
    """
    if isinstance(error, EnclaveError):
        return error.reply.code
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), None)


def _hint(reply: ErrorReply) -> str | None:
    if reply.hint:
        return reply.hint[:MAX_REPLY_TEXT_CHARS]
    if reply.code is None and reply.message == KmstoolText.UNKNOWN_OPERATION:
        return _UNKNOWN_OPERATION_HINT
    if reply.service == Service.KMS and reply.code is not None:
        from vsock_wire.protocol.refusals.table import find_refusal, parse_reason  # noqa: PLC0415 - rarely needed

        row = find_refusal(reply.code, parse_reason(reply.reason))
        return None if row is None else row.hint
    return _REASONLESS_HINT if reply.message == KmstoolText.DECRYPT_FAILED else None


def _exit_code(reply: ErrorReply) -> ExitCode:
    if reply.service == Service.KMS and reply.code is not None:
        from vsock_wire.protocol.refusals.table import parse_reason, refusal_exit_code  # noqa: PLC0415 - as above

        return refusal_exit_code(reply.code, parse_reason(reply.reason))
    if reply.service == Service.ENCLAVE:
        return _ENCLAVE_EXIT_CODES.get(reply.code or "", ExitCode.FAILED)
    if reply.service == INSTANCE_SERVICE:
        return _INSTANCE_EXIT_CODES.get(reply.code or "", ExitCode.FAILED)
    return ExitCode.FAILED
