"""Fetching the role credentials of this EC2 instance by IMDSv2.

Uses the standard library only, because every decrypt comes through here and loading an AWS SDK takes longer than the
rest of a decrypt. Source: Amazon EC2 user guide, "Use the Instance Metadata Service to access instance metadata".
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from instance_tool.credentials.dial import NotConnectedError
from instance_tool.credentials.expiration import parse_expiration
from instance_tool.credentials.http_exchange import HttpError, HttpResponse, exchange_http
from instance_tool.errors import RoleError
from vsock_wire.errors import CredentialsError, quoted
from vsock_wire.protocol.json_codec import decode_json
from vsock_wire.protocol.messages import Credentials

ENDPOINT_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
MODE_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"
DISABLED_VARIABLE = "AWS_EC2_METADATA_DISABLED"
"""Source of these variables: AWS SDKs and Tools reference guide, "IMDS client"."""
ENDPOINTS = {"ipv4": "http://169.254.169.254", "ipv6": "http://[fd00:ec2::254]"}
"""The endpoint for each value of MODE_VARIABLE; the first is the default."""
TIMEOUT_S = 2.0
"""For all requests of one fetch together, from the first connection to the last byte. IMDS answers within milliseconds,
or never if the hop limit is too low."""
TOKEN_TTL_S = 60
"""A run needs the token for less than a second; IMDS accepts 1 to 21,600."""

TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path, not a token
ROLES_PATH = "/latest/meta-data/iam/security-credentials/"
_OK, _FORBIDDEN, _NOT_FOUND = 200, 403, 404
_HTTP_PORT = 80

_HOP_LIMIT_HINT = (
    "in a container, IMDS responds only if the instance's hop limit is 2 or more: aws ec2"
    " modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit 2"
)
_FORBIDDEN_HINT = (
    "if IMDS is off: aws ec2 modify-instance-metadata-options --instance-id ID --http-endpoint enabled; otherwise, a"
    " network policy or agent forbids it to this program"
)
_ELSEWHERE_HINT = "IMDS exists only on EC2 instances: elsewhere, set AWS_PROFILE or AWS_ACCESS_KEY_ID"


class RoleCredentials(NamedTuple):
    """The name of an instance role, and its credentials."""

    role: str
    credentials: Credentials


def fetch_role_credentials(environ: Mapping[str, str], *, timeout_s: float = TIMEOUT_S) -> RoleCredentials:
    """Fetch a session token, the name of the instance's role, and the role's credentials.

    Args:
        environ: where ENDPOINT_VARIABLE, MODE_VARIABLE and DISABLED_VARIABLE are looked up.
        timeout_s: seconds for everything together, however the peer spreads its bytes.

    Raises:
        CredentialsError: IMDS is disabled, or does not answer in time.
        RoleError: IMDS answers, but the instance has no role or the role's credentials are not usable.
    """
    imds = ImdsSession(environ, timeout_s=timeout_s)
    role = _read_role(imds.get(ROLES_PATH))
    return RoleCredentials(role, _read_credentials(imds.get(ROLES_PATH + quote(role, safe=""))))


class ImdsSession:
    """A session with IMDS: fetches a token when created, and sends it with each request.

    Args:
        environ: where ENDPOINT_VARIABLE, MODE_VARIABLE and DISABLED_VARIABLE are looked up.
        timeout_s: seconds for all requests of the session together.

    Raises:
        CredentialsError: IMDS is disabled, or does not give a token in time.
    """

    def __init__(self, environ: Mapping[str, str], *, timeout_s: float = TIMEOUT_S) -> None:
        if environ.get(DISABLED_VARIABLE, "").lower() == "true":
            raise CredentialsError(
                f"IMDS: disabled by {DISABLED_VARIABLE}", provider="IMDS", variable=DISABLED_VARIABLE
            )
        self._variable = ENDPOINT_VARIABLE if environ.get(ENDPOINT_VARIABLE) else None
        self._endpoint, self._host, self._port = _parse_endpoint(_endpoint(environ))
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        answer = self._request("PUT", TOKEN_PATH, ("X-aws-ec2-metadata-token-ttl-seconds", str(TOKEN_TTL_S)))
        token = answer.body.decode("latin-1")
        if answer.status != _OK or re.fullmatch(r"[!-~]+", token) is None:
            raise self._error(
                f"expected a session token, got HTTP {answer.status}", "the server at this address is not IMDSv2"
            )
        self._token = token

    def get(self, path: str) -> HttpResponse:
        """Return the response to a GET of ``path``, whatever its status.

        Raises:
            CredentialsError: IMDS does not answer in time, or forbids the request.
        """
        return self._request("GET", path, ("X-aws-ec2-metadata-token", self._token))

    def _request(self, method: str, path: str, header: tuple[str, str]) -> HttpResponse:
        try:
            answer = exchange_http(self._host, self._port, method, path, (header,), deadline=self._deadline)
        except NotConnectedError as error:
            raise self._error(f"no connection within {self._timeout_s:.3g} s", self._address_hint()) from error
        except TimeoutError as error:
            hint = _HOP_LIMIT_HINT if method == "PUT" else "IMDS is overloaded, or another server has its address"
            raise self._error(f"no response within {self._timeout_s:.3g} s", hint) from error
        except HttpError as error:
            raise self._error(f"not a valid response: {error}", self._address_hint()) from error
        except OSError as error:
            raise self._error((error.strerror or str(error)).lower(), self._address_hint()) from error
        if answer.status == _FORBIDDEN:
            raise self._error(f"HTTP {_FORBIDDEN}: IMDS is off or forbidden", _FORBIDDEN_HINT)
        return answer

    def _error(self, problem: str, hint: str) -> CredentialsError:
        return CredentialsError(
            f"IMDS {self._endpoint}: {problem}", provider="IMDS", variable=self._variable, hint=hint
        )

    def _address_hint(self) -> str:
        return f"check {self._variable}, which sets this address" if self._variable else _ELSEWHERE_HINT


def _endpoint(environ: Mapping[str, str]) -> str:
    mode = (environ.get(MODE_VARIABLE) or next(iter(ENDPOINTS))).lower()
    if environ.get(ENDPOINT_VARIABLE):
        return environ[ENDPOINT_VARIABLE]
    if mode not in ENDPOINTS:
        raise CredentialsError(
            f"{MODE_VARIABLE}: expected IPv4 or IPv6, got {quoted(mode)}", provider="IMDS", variable=MODE_VARIABLE
        )
    return ENDPOINTS[mode]


def _parse_endpoint(endpoint: str) -> tuple[str, str, int]:
    """Return an endpoint without its path, its host, and its port."""
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname or "", parts.port or _HTTP_PORT
    except ValueError:
        host = ""
    if re.fullmatch(r"[0-9A-Za-z._:-]+", host) is None or parts.scheme != "http" or "@" in parts.netloc:
        raise CredentialsError(
            f"{ENDPOINT_VARIABLE}: expected http://HOST[:PORT], got {quoted(endpoint)}",
            provider="IMDS",
            variable=ENDPOINT_VARIABLE,
        )
    return f"http://{parts.netloc}", host, port


def _read_role(answer: HttpResponse) -> str:
    role = answer.body.decode("utf-8", "replace").partition("\n")[0].strip()
    if answer.status == _NOT_FOUND or (answer.status == _OK and not role):
        raise RoleError(
            "IMDS: the instance has no role",
            hint="attach an instance profile: aws ec2 associate-iam-instance-profile",
        )
    if answer.status != _OK or re.fullmatch(r"[\w+=,.@-]{1,64}", role, re.ASCII) is None:
        raise RoleError(f"IMDS: expected a role name, got HTTP {answer.status} {quoted(role)}")
    return role


def _read_credentials(answer: HttpResponse) -> Credentials:
    """Return the credentials in a response; no error quotes any part of it."""
    try:
        fields = decode_json(answer.body.decode("utf-8", "replace"))
    except ValueError:
        fields = None
    if answer.status != _OK or not isinstance(fields, dict):
        raise RoleError(f"IMDS: the response has no JSON object with the role's credentials (HTTP {answer.status})")
    if fields.get("Code", "Success") != "Success":
        raise RoleError(
            f"IMDS: the role's credentials are not available: {quoted(str(fields['Code']))}",
            hint="check the role's trust policy: it must let EC2 assume the role",
        )
    credentials = Credentials(
        access_key_id=_text(fields, "AccessKeyId"),
        secret_access_key=_text(fields, "SecretAccessKey"),
        session_token=_text(fields, "Token"),
        expiration=_text(fields, "Expiration"),
    )
    _refuse_expired(credentials)
    return credentials


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if isinstance(value, str) and value:
        return value
    raise RoleError(f"IMDS: the role's credentials have no valid {name}")


def _refuse_expired(credentials: Credentials) -> None:
    expiration = parse_expiration(credentials.expiration)
    if expiration is None:
        raise RoleError("IMDS: the Expiration of the role's credentials is not an ISO 8601 time")
    if expiration <= datetime.now(UTC):
        raise RoleError(
            f"IMDS: the role's credentials expired at {credentials.expiration}",
            hint="IMDS renews them minutes before they expire: check this instance's clock",
        )
