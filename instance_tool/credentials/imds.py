"""Fetching the role credentials of this EC2 instance by IMDSv2.

Uses the standard library only, because every decrypt comes through here and loading an AWS SDK takes longer than the
rest of a decrypt. Source: Amazon EC2 user guide, "Use the Instance Metadata Service to access instance metadata".
"""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from instance_tool.credentials.expiration import parse_expiration
from instance_tool.errors import RoleError
from vsock_wire.errors import CredentialsError, quoted
from vsock_wire.protocol.json_codec import decode_json
from vsock_wire.protocol.messages import Credentials

DEFAULT_ENDPOINT = "http://169.254.169.254"
ENDPOINT_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
DISABLED_VARIABLE = "AWS_EC2_METADATA_DISABLED"
"""Source of both variables: AWS SDKs and Tools reference guide, "IMDS client"."""
TIMEOUT_S = 2.0
"""For each of the three requests. IMDS answers within milliseconds, or never if the hop limit is too low."""
TOKEN_TTL_S = 60
"""A run needs the token for less than a second; IMDS accepts 1 to 21,600."""
MAX_ANSWER_BYTES = 65_536
"""Role credentials are about 1,500 bytes; a session token has no published limit."""

TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path, not a token
ROLES_PATH = "/latest/meta-data/iam/security-credentials/"

_HOP_LIMIT_HINT = (
    "in a container, IMDS answers only if the instance's hop limit is 2 or more: aws ec2"
    " modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit 2"
)


class RoleCredentials(NamedTuple):
    """The name of an instance role, and its credentials."""

    role: str
    credentials: Credentials


def fetch_role_credentials(environ: Mapping[str, str], *, timeout_s: float = TIMEOUT_S) -> RoleCredentials:
    """Fetch a session token, the name of the instance's role, and the role's credentials.

    Args:
        environ: where ENDPOINT_VARIABLE and DISABLED_VARIABLE are looked up.
        timeout_s: seconds for each of the three requests.

    Raises:
        CredentialsError: IMDS is disabled or does not answer.
        RoleError: IMDS answers, but the instance has no role or the role's credentials are not usable.
    """
    if environ.get(DISABLED_VARIABLE, "").lower() == "true":
        raise CredentialsError(f"IMDS: disabled by {DISABLED_VARIABLE}", provider="IMDS", variable=DISABLED_VARIABLE)
    imds = _Imds(environ.get(ENDPOINT_VARIABLE) or DEFAULT_ENDPOINT, timeout_s)
    headers = {"X-aws-ec2-metadata-token": imds.fetch_token()}
    role = _read_role(imds.request("GET", ROLES_PATH, headers))
    answer = imds.request("GET", ROLES_PATH + quote(role, safe=""), headers)
    return RoleCredentials(role, _read_credentials(answer))


@dataclass(frozen=True)
class _Answer:
    status: int
    body: str


class _Imds:
    def __init__(self, endpoint: str, timeout_s: float) -> None:
        try:
            parts = urlsplit(endpoint)
            host, port = parts.hostname or "", parts.port or http.client.HTTP_PORT
        except ValueError:
            host = ""
        if re.fullmatch(r"[0-9A-Za-z._:-]+", host) is None or parts.scheme != "http":
            raise CredentialsError(
                f"{ENDPOINT_VARIABLE}: expected http://HOST[:PORT], got {quoted(endpoint)}",
                provider="IMDS",
                variable=ENDPOINT_VARIABLE,
            )
        self._endpoint = f"http://{parts.netloc}"
        self._host, self._port, self._timeout_s = host, port, timeout_s

    def fetch_token(self) -> str:
        answer = self.request("PUT", TOKEN_PATH, {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_TTL_S)})
        if answer.status != http.client.OK or re.fullmatch(r"[!-~]+", answer.body) is None:
            raise CredentialsError(
                f"IMDS {self._endpoint}: expected a session token, got HTTP {answer.status}",
                hint=_HOP_LIMIT_HINT,
                provider="IMDS",
            )
        return answer.body

    def request(self, method: str, path: str, headers: dict[str, str]) -> _Answer:
        connection = _Connection(self._host, self._port, timeout=self._timeout_s)
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            body = response.read(MAX_ANSWER_BYTES + 1)
        except TimeoutError as error:
            raise CredentialsError(
                f"IMDS {self._endpoint}: no answer within {self._timeout_s:.3g} s",
                hint=_HOP_LIMIT_HINT,
                provider="IMDS",
            ) from error
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise CredentialsError(
                f"IMDS {self._endpoint}: {reason}",
                hint="IMDS exists only on EC2 instances: elsewhere, set AWS_PROFILE or AWS_ACCESS_KEY_ID",
                provider="IMDS",
            ) from error
        except http.client.HTTPException as error:
            raise CredentialsError(
                f"IMDS {self._endpoint}: the response is not HTTP ({type(error).__name__})", provider="IMDS"
            ) from error
        finally:
            connection.close()
        if len(body) > MAX_ANSWER_BYTES:
            raise CredentialsError(
                f"IMDS {self._endpoint}: the response is larger than {MAX_ANSWER_BYTES} bytes", provider="IMDS"
            )
        return _Answer(response.status, body.decode("utf-8", "replace"))


class _Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        # Given text, Python loads its tables for non-ASCII host names, which takes longer than the request itself.
        address: tuple[Any, int] = (self.host.encode("ascii"), self.port)
        self.sock = socket.create_connection(address, self.timeout)


def _read_role(answer: _Answer) -> str:
    role = answer.body.partition("\n")[0].strip()
    if answer.status == http.client.NOT_FOUND or (answer.status == http.client.OK and not role):
        raise RoleError(
            "IMDS: the instance has no role",
            hint="attach an instance profile: aws ec2 associate-iam-instance-profile",
        )
    if answer.status != http.client.OK or re.fullmatch(r"[\w+=,.@-]{1,64}", role, re.ASCII) is None:
        raise RoleError(f"IMDS: expected a role name, got HTTP {answer.status} {quoted(role)}")
    return role


def _read_credentials(answer: _Answer) -> Credentials:
    """Return the credentials in a response; no error quotes any part of it."""
    try:
        fields = decode_json(answer.body)
    except ValueError:
        fields = None
    if answer.status != http.client.OK or not isinstance(fields, dict):
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
