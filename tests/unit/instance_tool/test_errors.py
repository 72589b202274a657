from __future__ import annotations

import pytest

from instance_tool.errors import BusyError, EnclaveError, RoleError, error_code
from vsock_wire.errors import CredentialsError, ExitCode, InputError, ToolError, TransportError, WireError
from vsock_wire.protocol.messages import ErrorReply
from vsock_wire.protocol.vocabulary import EnclaveCode


@pytest.mark.parametrize(
    ("service", "code", "exit_code"),
    [
        ("kms", "AccessDeniedException", 5),
        ("kms", "ExpiredTokenException", 5),
        ("kms", "UnrecognizedClientException", 5),
        ("kms", "InvalidSignatureException", 5),
        ("kms", "IncompleteSignatureException", 5),
        ("kms", "MissingAuthenticationTokenException", 5),
        ("kms", "InvalidCiphertextException", 1),
        ("kms", "NotFoundException", 1),
        ("kms", "ThrottlingException", 1),
        ("kms", "ProxyUnreachable", 1),
        ("kms", None, 1),
        ("enclave", EnclaveCode.PROXY_UNREACHABLE, 3),
        ("enclave", EnclaveCode.KMS_UNREACHABLE, 3),
        ("enclave", EnclaveCode.TLS_FAILED, 1),
        ("enclave", EnclaveCode.RECIPIENT_MISSING, 1),
        ("enclave", EnclaveCode.RECIPIENT_UNREADABLE, 1),
        ("enclave", EnclaveCode.REGION_CONFLICT, 1),
        ("enclave", EnclaveCode.BUSY, 1),
        ("enclave", EnclaveCode.INTERNAL, 1),
        ("enclave", "AccessDeniedException", 1),
        ("nsm", "InvalidArgument", 1),
        (None, None, 1),
        (None, "AccessDeniedException", 1),
        ("unheard of", "ProxyUnreachable", 1),
    ],
)
def test_exit_code_follows_service_and_code(service: str | None, code: str | None, exit_code: int) -> None:
    assert EnclaveError(ErrorReply("text", code, service)).exit_code == exit_code


@pytest.mark.parametrize(
    ("service", "reason", "exit_code"),
    [
        ("kms", "AttestationDocument", 5),
        ("kms", "Parameter", 1),
        ("kms", None, 5),
        ("kms", "SomethingNew", 5),
        ("enclave", "AttestationDocument", 1),
    ],
)
def test_exit_code_of_a_value_that_is_not_valid_follows_the_reason(
    service: str, reason: str | None, exit_code: int
) -> None:
    reply = ErrorReply("text", "ValidationException", service, reason=reason)
    assert EnclaveError(reply).exit_code == exit_code


def test_refusal_without_a_hint_gets_that_of_the_table() -> None:
    denied = ErrorReply("text", "AccessDeniedException", "kms", reason="NoSessionPolicyAllows")
    assert "a session policy" in (EnclaveError(denied).hint or "")
    assert EnclaveError(denied._replace(hint="its own")).hint == "its own"
    assert EnclaveError(denied._replace(service="enclave")).hint is None
    assert EnclaveError(denied._replace(code="SomethingNewException")).hint is None


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (ErrorReply("text"), "text"),
        (ErrorReply(""), "the enclave refused the request without giving a reason"),
        (ErrorReply("text", http_status=400), "text (HTTP 400)"),
        (ErrorReply("text", request_id="r-1"), "text (request id r-1)"),
        (ErrorReply("text", http_status=400, request_id="r-1"), "text (HTTP 400, request id r-1)"),
        (ErrorReply("text", tries=1), "text"),
        (ErrorReply("text", http_status=503, tries=3), "text (HTTP 503, after 3 attempts)"),
    ],
)
def test_text_carries_what_support_asks_for(reply: ErrorReply, text: str) -> None:
    assert str(EnclaveError(reply)) == text


def test_reply_of_kmstool_in_c_gets_a_hint_about_the_missing_reason() -> None:
    error = EnclaveError(ErrorReply("Could not decrypt ciphertext"))
    assert "kmstool in C" in (error.hint or "")
    assert EnclaveError(ErrorReply("Could not decrypt ciphertext: CmsError")).hint is None
    assert EnclaveError(ErrorReply("Could not decrypt ciphertext", hint="its own")).hint == "its own"


def test_long_text_and_hint_of_a_peer_are_truncated() -> None:
    error = EnclaveError(ErrorReply("A" * 60_000, hint="B" * 60_000, request_id="C" * 60_000))
    assert len(str(error)) < 4_300
    assert len(error.hint or "") <= 4_096


def test_credentials_error_has_its_exit_code() -> None:
    assert CredentialsError("x").exit_code is ExitCode.NO_CREDENTIALS


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EnclaveError(ErrorReply("x", "AccessDeniedException", "kms")), "AccessDeniedException"),
        (EnclaveError(ErrorReply("x")), None),
        (InputError("x"), "InvalidInput"),
        (RoleError("x"), "NoCredentials"),
        (TransportError("read from", "unix:/x", "closed"), "EnclaveUnreachable"),
        (WireError("x"), "EnclaveUnreadable"),
        (BusyError("x"), "TooManyConnections"),
        (ToolError("x"), None),
    ],
)
def test_error_has_a_code_for_programs(error: ToolError, code: str | None) -> None:
    assert error_code(error) == code
