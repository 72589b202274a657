"""Translates botocore's exceptions into errors that say which hop failed and what to do about it (pure)."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ParamValidationError,
    SSLError,
)

from enclave_tool.errors import KmsError, KmsUnreachableError, ProxyUnreachableError, TlsError
from enclave_tool.kms.clock_skew import CLOCK_OFFSET, MAX_CLOCK_OFFSET_S, SIGNATURE_TOLERANCE_S
from enclave_tool.kms.reasons import refusal_reason
from vsock_wire.errors import ToolError, TransportError, TunnelError, printable
from vsock_wire.net.address import Address
from vsock_wire.protocol.refusals.table import find_refusal
from vsock_wire.protocol.vocabulary import RequestError

MAX_KMS_TEXT_CHARS = 4_096
"""Maximum length of KMS's text. KMS's texts are much shorter, and kmstool in C accepts a reply of 8,192 bytes."""
HOSTNAME_MISMATCH = 62
"""The verify_code for a certificate of other hosts. Source: OpenSSL, <openssl/x509_vfy.h>."""
MAX_KMS_CODE_CHARS = 128
"""Maximum length of error codes (KMS's longest has 33 characters) and of request IDs (which are UUIDs)."""


def kms_failure(error: BotoCoreError | ClientError, proxy: Address, secrets: Sequence[str] = ()) -> ToolError:
    """Return this project's error for a botocore exception.

    Args:
        error: what a call of the attested client raised.
        proxy: the address of the proxy, for the text.
        secrets: the secret parts of the credentials, which are removed from KMS's text.
    """
    if isinstance(error, ClientError):
        return _refusal(error, secrets)
    if isinstance(error, ParamValidationError):
        # Its text may quote the parameter's value.
        return RequestError(
            "the request was not sent: a parameter is not valid",
            hint="check the lengths of the fields against KMS's limits",
        )
    cause = error.kwargs.get("error")
    if isinstance(error, (EndpointConnectionError, ConnectTimeoutError)):
        return _proxy_unreachable(cause, proxy)
    if isinstance(error, SSLError):
        return _tls_failure(error, cause, proxy)
    return KmsUnreachableError(
        "reach KMS through proxy",
        proxy,
        str(cause) if isinstance(cause, TransportError) else f"the connection failed ({type(error).__name__})",
        hint="the proxy answers but KMS does not: check the proxy's log for DNS, allowlist and network errors",
    )


def _refusal(error: ClientError, secrets: Sequence[str]) -> KmsError:
    details: dict[str, Any] = dict(error.response.get("Error", {}))
    metadata: dict[str, Any] = dict(error.response.get("ResponseMetadata", {}))
    code = printable(str(details.get("Code", "Unknown")))[:MAX_KMS_CODE_CHARS]
    text = str(details.get("Message") or "")
    reason = refusal_reason(error.operation_name, code, text)
    row = find_refusal(code, reason, error.operation_name)
    return KmsError(
        code,
        printable(_without(secrets, text))[:MAX_KMS_TEXT_CHARS],
        reason=reason,
        http_status=metadata.get("HTTPStatusCode"),
        request_id=printable(str(metadata.get("RequestId") or ""))[:MAX_KMS_CODE_CHARS] or None,
        hint=_clock_hint(metadata.get(CLOCK_OFFSET)) or (row and row.hint),
    )


def _without(secrets: Sequence[str], text: str) -> str:
    for secret in secrets:
        text = text.replace(secret, "(left out)")
    return text


def _clock_hint(offset_s: int | None) -> str | None:
    """Return a hint with the offset of the enclave's clock, if that is why KMS refused a signature."""
    if offset_s is None or abs(offset_s) <= SIGNATURE_TOLERANCE_S:
        return None
    relation = "behind KMS's" if offset_s > 0 else "ahead of KMS's"
    return (
        f"the enclave's clock is {abs(offset_s)} s {relation}; up to"
        f" {MAX_CLOCK_OFFSET_S} s are corrected automatically: set the enclave's clock, or restart the enclave"
    )


def _proxy_unreachable(cause: object, proxy: Address) -> ToolError:
    dialled = getattr(cause, "__cause__", None)  # the TransportError that connection.py wrapped for urllib3
    if isinstance(dialled, TunnelError):
        return KmsUnreachableError(dialled.operation, dialled.address, dialled.reason, hint=dialled.hint)
    return ProxyUnreachableError(
        "connect to proxy",
        proxy,
        dialled.reason if isinstance(dialled, TransportError) else "no answer in time",
        hint="check that vsock-proxy is running on the parent instance and uses this port",
    )


def _tls_failure(error: SSLError, cause: object, proxy: Address) -> ToolError:
    original = cause.args[0] if isinstance(cause, Exception) and cause.args else cause
    host = str(error.kwargs.get("endpoint_url", "")).removeprefix("https://").partition("/")[0]
    if isinstance(original, ssl.SSLCertVerificationError):
        return TlsError(
            f"TLS with {host}: certificate rejected: {original.verify_message.rstrip('.')}",
            wrong_host=host if getattr(original, "verify_code", None) == HOSTNAME_MISMATCH else None,
            hint=(
                "the peer behind the proxy is not that host (check that vsock-proxy forwards to the same region), or"
                " its authority is not in the enclave's CA bundle"
            ),
        )
    if isinstance(original, (ssl.SSLEOFError, ssl.SSLZeroReturnError, OSError)) and not _is_protocol_error(original):
        return KmsUnreachableError(
            f"start TLS with {host} through proxy",
            proxy,
            "the connection was closed",
            hint="the proxy refused or could not reach KMS: check its log for DNS, allowlist and network errors",
        )
    return TlsError(
        f"TLS with {host}: {printable(str(original))[:200]}",
        hint=(
            "the host behind the proxy does not speak TLS as KMS does: check the proxy's remote host and port, and pass"
            " --proxy-connect if the proxy's port is a CONNECT route"
        ),
    )


def _is_protocol_error(error: OSError) -> bool:
    return isinstance(error, ssl.SSLError) and not isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
