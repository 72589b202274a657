"""Checks the AWS Signature Version 4 of a request by computing it again with botocore's signer.

Source: IAM user guide, "AWS Signature Version 4 for API requests".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from nitro_simulator.errors import KmsFault
from nitro_simulator.http_server import HttpRequest
from nitro_simulator.identities import Identity
from vsock_wire.protocol.messages import Credentials

ALLOWED_SKEW = timedelta(minutes=5)
"""KMS states this in the text of its error."""
REQUIRED_SIGNED_HEADERS = ("host", "x-amz-date", "x-amz-target", "x-amz-security-token")
"""Headers that must be signed if present; Host always must. An unsigned one could be changed on the way."""

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^\s/,]+)/([0-9]{8})/([^\s/,]+)/([^\s/,]+)/aws4_request"
    r",\s*SignedHeaders=([a-z0-9;_-]+),\s*Signature=([0-9a-f]{64})",
    re.ASCII,
)
_BAD_SIGNATURE_TEXT = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
_INVALID_TOKEN_TEXT = "The security token included in the request is invalid."  # noqa: S105 - AWS's error text
_EXPIRED_TOKEN_TEXT = "The security token included in the request is expired"  # noqa: S105 - AWS's error text


@dataclass(frozen=True)
class _Authorization:
    access_key_id: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str


def verify_signature(
    request: HttpRequest, *, find: Callable[[str], Identity | None], region: str, service: str, now: datetime
) -> Identity:
    """Verify who sent ``request``.

    It supports signatures in the Authorization header only, not in the query. It does not remember requests: a recorded
    one can be replayed within the allowed clock skew.

    Args:
        request: as received over TLS.
        find: returns the identity with an access key id, expired or not, or None.
        region: the only region that the credential scope may name.
        service: the only service that the credential scope may name.
        now: the current time, with a time zone.

    Returns:
        The identity with the credentials that signed it.

    Raises:
        KmsFault: with AWS's code and text: MissingAuthenticationTokenException,
            IncompleteSignatureException, UnrecognizedClientException, ExpiredTokenException or
            InvalidSignatureException.
    """
    authorization = _parse_authorization(request)
    identity = find(authorization.access_key_id)
    if identity is None or not _is_equal(request.header("X-Amz-Security-Token"), identity.credentials.session_token):
        raise KmsFault("UnrecognizedClientException", _INVALID_TOKEN_TEXT)
    if now >= identity.expires_at:
        raise KmsFault("ExpiredTokenException", _EXPIRED_TOKEN_TEXT)
    if not request.target.startswith("/"):
        raise KmsFault("InvalidSignatureException", _BAD_SIGNATURE_TEXT)
    timestamp = _verify_scope(request, authorization, region, service)
    _verify_age(timestamp, now)
    if not _is_equal(_sign_again(request, authorization, identity.credentials, timestamp), authorization.signature):
        raise KmsFault("InvalidSignatureException", _BAD_SIGNATURE_TEXT)
    return identity


def claimed_region(request: HttpRequest) -> str | None:
    """Return the region that a request's signature names; nothing verifies it here."""
    match = _AUTHORIZATION.fullmatch((request.header("Authorization") or "").strip())
    return None if match is None else match[3]


def _parse_authorization(request: HttpRequest) -> _Authorization:
    header = request.header("Authorization")
    if header is None:
        raise KmsFault("MissingAuthenticationTokenException", "Missing Authentication Token")
    match = _AUTHORIZATION.fullmatch(header.strip())
    if match is None:  # AWS's texts say which part is missing; this one does not quote the header
        raise KmsFault(
            "IncompleteSignatureException",
            "Authorization header: expected AWS4-HMAC-SHA256 with Credential, SignedHeaders and Signature",
        )
    return _Authorization(match[1], match[2], match[3], match[4], tuple(match[5].split(";")), match[6])


def _verify_scope(request: HttpRequest, authorization: _Authorization, region: str, service: str) -> str:
    """Verify region, service, headers and date of the signature, and return the request's timestamp."""
    if authorization.region != region:
        text = f"Credential should be scoped to a valid region, not '{authorization.region[:64]}'. "
        raise KmsFault("InvalidSignatureException", text)
    if authorization.service != service:
        raise KmsFault("InvalidSignatureException", f"Credential should be scoped to correct service: '{service}'. ")
    for name in REQUIRED_SIGNED_HEADERS:
        is_needed = name == "host" or request.header(name) is not None
        if is_needed and (name not in authorization.signed_headers or request.header(name) is None):
            text = f"'{name}' must be a 'SignedHeader' in the AWS Authorization."
            raise KmsFault("InvalidSignatureException", text)
    timestamp = request.header("X-Amz-Date") or ""
    if not re.fullmatch(r"[0-9]{8}T[0-9]{6}Z", timestamp, re.ASCII):
        raise KmsFault("IncompleteSignatureException", "X-Amz-Date: expected a date and time such as 20250131T120000Z")
    if timestamp[:8] != authorization.date:
        text = f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date: {timestamp}"
        raise KmsFault("InvalidSignatureException", text)
    return timestamp


def _verify_age(timestamp: str, now: datetime) -> None:
    try:
        signed_at = datetime.strptime(timestamp, SIGV4_TIMESTAMP).replace(tzinfo=UTC)
    except ValueError:
        raise KmsFault("IncompleteSignatureException", "X-Amz-Date: expected a date that exists") from None
    present = now.astimezone(UTC).strftime(SIGV4_TIMESTAMP)
    if signed_at < now - ALLOWED_SKEW:
        limit = (now - ALLOWED_SKEW).astimezone(UTC).strftime(SIGV4_TIMESTAMP)
        text = f"Signature expired: {timestamp} is now earlier than {limit} ({present} - 5 min.)"
        raise KmsFault("InvalidSignatureException", text)
    if signed_at > now + ALLOWED_SKEW:
        limit = (now + ALLOWED_SKEW).astimezone(UTC).strftime(SIGV4_TIMESTAMP)
        text = f"Signature not yet current: {timestamp} is still later than {limit} ({present} + 5 min.)"
        raise KmsFault("InvalidSignatureException", text)


def _sign_again(request: HttpRequest, authorization: _Authorization, credentials: Credentials, timestamp: str) -> str:
    signer = SigV4Auth(
        BotocoreCredentials(credentials.access_key_id, credentials.secret_access_key, credentials.session_token),
        authorization.service,
        authorization.region,
    )
    again = AWSRequest(request.method, f"https://host{request.target}", data=request.body)  # only the path counts
    for name, value in request.headers:
        if name.lower() in authorization.signed_headers:
            again.headers[name] = value
    if "X-Amz-Content-SHA256" in again.headers:  # botocore would trust the client's value
        again.headers.replace_header("X-Amz-Content-SHA256", hashlib.sha256(request.body).hexdigest())
    again.context["timestamp"] = timestamp
    return str(signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again))


def _is_equal(got: str | None, wanted: str | None) -> bool:
    return hmac.compare_digest((got or "").encode("utf-8", "replace"), (wanted or "").encode("utf-8", "replace"))
