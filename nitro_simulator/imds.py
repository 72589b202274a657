"""An IMDSv2 that enforces its rules: tokens with a TTL, and credentials that expire.

Source: EC2 user guide, "Use the Instance Metadata Service to access instance metadata" and "IAM roles for Amazon EC2".
"""

from __future__ import annotations

import enum
import json
import secrets
import threading
from datetime import datetime, timedelta
from http import HTTPStatus

from nitro_simulator.clock import Clock, iso_time, utc_now
from nitro_simulator.http_server import HttpRequest, HttpResponse, HttpServer
from nitro_simulator.identities import DEFAULT_LIFETIME_S, INSTANCE_ID, Identities
from vsock_wire.protocol.messages import Credentials
from vsock_wire.protocol.vocabulary import DEFAULT_REGION

MAX_TOKEN_TTL_S = 21_600
TOKEN_TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"  # noqa: S105 - the name of a header
TOKEN_HEADER = "X-aws-ec2-metadata-token"  # noqa: S105 - the name of a header
MAX_TOKENS = 1_000
"""Beyond this the oldest token is forgotten."""
MAX_BODY_BYTES = 1_024
REISSUE_BEFORE_S = 300
"""EC2 has new credentials ready at least five minutes before the old ones expire. Here, with a lifetime of less than
ten minutes, they are ready after half of it."""
CREDENTIALS_PATH = "/latest/meta-data/iam/security-credentials/"


class ImdsMode(enum.Enum):
    """How the service behaves."""

    NORMAL = enum.auto()
    NO_ROLE = enum.auto()
    """The instance has no role: tokens work, everything under iam/ answers 404."""
    SILENT = enum.auto()
    """Requests are read but never answered, as when the hop limit stops the response."""
    DISABLED = enum.auto()
    """The HTTP endpoint is turned off: everything answers 403."""


class Imds:
    """The metadata of one instance. Thread-safe.

    Args:
        identities: issues the role's credentials.
        role_name: the instance's role.
        region: the instance's region.
        credentials_lifetime_s: how long each set of credentials lasts, in seconds.
        mode: how to behave; may be changed at any time.
        clock: gives the current time.

    Attributes:
        mode: see above.
    """

    def __init__(
        self,
        identities: Identities,
        *,
        role_name: str = "EnclaveInstanceRole",
        region: str = DEFAULT_REGION,
        credentials_lifetime_s: float = DEFAULT_LIFETIME_S,
        mode: ImdsMode = ImdsMode.NORMAL,
        clock: Clock = utc_now,
    ) -> None:
        self.mode = mode
        self.role_name = role_name
        self.region = region
        self.credentials_lifetime_s = credentials_lifetime_s
        self._identities = identities
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens: dict[str, datetime] = {}
        self._credentials: Credentials | None = None
        self._issued_at = clock()

    def answer(self, request: HttpRequest) -> HttpResponse | None:
        """Answer one request; None means no response, ever."""
        if self.mode is ImdsMode.SILENT:
            return None
        if self.mode is ImdsMode.DISABLED or request.header("X-Forwarded-For") is not None:
            return _refusal(HTTPStatus.FORBIDDEN)
        if request.target == "/latest/api/token":
            return self._answer_token(request) if request.method == "PUT" else _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
        if request.method not in ("GET", "HEAD"):
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
        if not self._is_valid_token(request.header(TOKEN_HEADER)):
            return _refusal(HTTPStatus.UNAUTHORIZED)
        body = self._read(request.target)
        return _refusal(HTTPStatus.NOT_FOUND) if body is None else _text(body)

    def _answer_token(self, request: HttpRequest) -> HttpResponse:
        ttl = request.header(TOKEN_TTL_HEADER) or ""
        if not (ttl.isascii() and ttl.isdigit() and len(ttl) <= 5 and 1 <= int(ttl) <= MAX_TOKEN_TTL_S):
            return _refusal(HTTPStatus.BAD_REQUEST)
        token = secrets.token_urlsafe(40) + "=="
        with self._lock:
            self._tokens[token] = self._clock() + timedelta(seconds=int(ttl))
            if len(self._tokens) > MAX_TOKENS:
                del self._tokens[next(iter(self._tokens))]
        return _text(token, (TOKEN_TTL_HEADER, ttl))

    def _is_valid_token(self, token: str | None) -> bool:
        with self._lock:
            expires_at = self._tokens.get(token or "")
        return expires_at is not None and self._clock() < expires_at

    def _read(self, target: str) -> str | None:
        """Return what is at ``target``, or None if there is nothing."""
        has_role = self.mode is not ImdsMode.NO_ROLE
        if target in (CREDENTIALS_PATH, CREDENTIALS_PATH.rstrip("/")):
            return self.role_name if has_role else None
        if target == CREDENTIALS_PATH + self.role_name:
            return self._credentials_document() if has_role else None
        if target == "/latest/dynamic/instance-identity/document":
            return self._identity_document()
        return {
            "/latest/meta-data/instance-id": INSTANCE_ID,
            "/latest/meta-data/placement/region": self.region,
            "/latest/meta-data/placement/availability-zone": f"{self.region}a",
        }.get(target)

    def _credentials_document(self) -> str:
        with self._lock:
            now = self._clock()
            lifetime = timedelta(seconds=self.credentials_lifetime_s)
            reissue_at = self._issued_at + lifetime - min(timedelta(seconds=REISSUE_BEFORE_S), lifetime / 2)
            if self._credentials is None or now >= reissue_at:
                self._credentials = self._identities.issue(self.role_name, lifetime_s=self.credentials_lifetime_s)
                self._issued_at = now
            credentials, issued_at = self._credentials, self._issued_at
        document = {
            "Code": "Success",
            "LastUpdated": iso_time(issued_at),
            "Type": "AWS-HMAC",
            "AccessKeyId": credentials.access_key_id,
            "SecretAccessKey": credentials.secret_access_key,
            "Token": credentials.session_token,
            "Expiration": credentials.expiration,
        }
        return json.dumps(document, indent=2)

    def _identity_document(self) -> str:
        document = {
            "accountId": self._identities.account_id,
            "architecture": "x86_64",
            "availabilityZone": f"{self.region}a",
            "imageId": "ami-0123456789abcdef0",
            "instanceId": INSTANCE_ID,
            "instanceType": "m5.xlarge",
            "pendingTime": "2025-01-01T00:00:00Z",
            "privateIp": "10.0.0.1",
            "region": self.region,
            "version": "2017-09-30",
        }
        return json.dumps(document, indent=2)


class ImdsServer(HttpServer):
    """Serves an Imds over HTTP from construction to ``close``.

    Args:
        imds: answers the requests.
        host: address to listen on.
        port: 0 lets the kernel choose.
    """

    def __init__(self, imds: Imds, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.imds = imds
        super().__init__(imds.answer, server_name="EC2ws", max_body_bytes=MAX_BODY_BYTES, host=host, port=port)


def _text(body: str, *headers: tuple[str, str]) -> HttpResponse:
    return HttpResponse(HTTPStatus.OK, body.encode("ascii"), (("Content-Type", "text/plain"), *headers))


def _refusal(status: HTTPStatus) -> HttpResponse:
    return HttpResponse(status, f"{status.value} - {status.phrase}".encode("ascii"), (("Content-Type", "text/plain"),))
