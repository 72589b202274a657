from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from nitro_simulator.errors import KmsFault
from nitro_simulator.http_server import HttpRequest
from nitro_simulator.identities import Identities, Identity
from nitro_simulator.kms.sigv4 import verify_signature
from tests.support.kms.world import ROLE, SESSION_ARN, FakeClock

NOW = datetime(2025, 1, 31, 12, 0, 0, tzinfo=UTC)
BODY = b'{"NumberOfBytes": 32}'
INVALID_TOKEN = ("UnrecognizedClientException", "The security token included in the request is invalid.")
BAD_SIGNATURE_TEXT = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
BAD_SIGNATURE = ("InvalidSignatureException", BAD_SIGNATURE_TEXT)


class Signer:
    """Issues credentials and signs requests with them as boto3 would, at NOW or at another time."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.identities = Identities(clock=self.clock)
        self.credentials = self.identities.issue(ROLE, lifetime_s=3600)

    def sign(
        self,
        *,
        at: datetime = NOW,
        region: str = "us-east-1",
        service: str = "kms",
        secret: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> HttpRequest:
        credentials = BotocoreCredentials(
            self.credentials.access_key_id,
            secret or self.credentials.secret_access_key,
            self.credentials.session_token,
        )
        request = AWSRequest(
            "POST",
            "https://kms.us-east-1.amazonaws.com/",
            data=BODY,
            headers={"Host": "kms.us-east-1.amazonaws.com", "X-Amz-Target": "TrentService.GenerateRandom"}
            | (headers or {}),
        )
        with patch("botocore.auth.get_current_datetime", return_value=at.replace(tzinfo=None)):
            SigV4Auth(credentials, service, region).add_auth(request)
        return HttpRequest("POST", "/", tuple(request.headers.items()), BODY)

    def verify(self, request: HttpRequest) -> Identity:
        return verify_signature(request, find=self.identities.find, region="us-east-1", service="kms", now=self.clock())

    def refusal(self, request: HttpRequest) -> tuple[str, str | None]:
        with pytest.raises(KmsFault) as fault:
            self.verify(request)
        assert fault.value.http_status == 400
        return fault.value.code, fault.value.message


@pytest.fixture
def signer() -> Signer:
    return Signer()


def _changed(request: HttpRequest, **headers: str | None) -> HttpRequest:
    names = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    kept = [(name, value) for name, value in request.headers if name.lower() not in names]
    added = [(name, value) for name, value in names.items() if value is not None]
    return HttpRequest(request.method, request.target, (*kept, *added), request.body)


def test_good_signature_identifies_the_signer(signer: Signer) -> None:
    assert signer.verify(signer.sign()).principal.arn == SESSION_ARN


def test_unsigned_headers_do_not_matter(signer: Signer) -> None:
    signer.verify(_changed(signer.sign(), x_extra="1", user_agent="other"))


def test_content_hash_header_is_accepted_if_it_is_correct(signer: Signer) -> None:
    signer.verify(signer.sign(headers={"X-Amz-Content-SHA256": hashlib.sha256(BODY).hexdigest()}))


@pytest.mark.parametrize("skew_s", [-299, 299])
def test_skew_within_five_minutes_is_tolerated(signer: Signer, skew_s: int) -> None:
    signer.verify(signer.sign(at=NOW + timedelta(seconds=skew_s)))


def test_missing_authorization_is_refused(signer: Signer) -> None:
    request = _changed(signer.sign(), authorization=None)

    assert signer.refusal(request) == ("MissingAuthenticationTokenException", "Missing Authentication Token")


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer x",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=A/20250131/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=00",
        "AWS4-HMAC-SHA256 Credential=A/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=" + "0" * 64,
    ],
)
def test_malformed_authorization_is_incomplete(signer: Signer, authorization: str) -> None:
    code, _ = signer.refusal(_changed(signer.sign(), authorization=authorization))

    assert code == "IncompleteSignatureException"


def test_unknown_key_id_is_refused(signer: Signer) -> None:
    other = Signer()

    assert signer.refusal(other.sign()) == INVALID_TOKEN


@pytest.mark.parametrize("token", [None, "", "other"])
def test_missing_or_other_session_token_is_refused(signer: Signer, token: str | None) -> None:
    assert signer.refusal(_changed(signer.sign(), x_amz_security_token=token)) == INVALID_TOKEN


def test_expired_credentials_are_refused_even_with_a_fresh_signature(signer: Signer) -> None:
    signer.clock.advance(3600)

    assert signer.refusal(signer.sign(at=signer.clock())) == (
        "ExpiredTokenException",
        "The security token included in the request is expired",
    )


def test_wrong_secret_is_refused(signer: Signer) -> None:
    assert signer.refusal(signer.sign(secret="x" * 40)) == BAD_SIGNATURE


def test_changed_body_target_or_signed_header_is_refused(signer: Signer) -> None:
    good = signer.sign()
    for request in (
        HttpRequest("POST", "/", good.headers, BODY + b" "),
        HttpRequest("PUT", "/", good.headers, BODY),
        HttpRequest("POST", "/?a=1", good.headers, BODY),
        _changed(good, x_amz_target="TrentService.Decrypt"),
        _changed(good, host="kms.eu-west-1.amazonaws.com"),
    ):
        assert signer.refusal(request) == BAD_SIGNATURE


def test_clients_hash_of_the_body_is_not_trusted(signer: Signer) -> None:
    request = signer.sign(headers={"X-Amz-Content-SHA256": hashlib.sha256(BODY).hexdigest()})

    assert signer.refusal(HttpRequest("POST", "/", request.headers, b"{}")) == BAD_SIGNATURE
    unsigned = signer.sign(headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    assert signer.refusal(unsigned) == BAD_SIGNATURE


@pytest.mark.parametrize("target", ["", "[", "http://[/", "*"])
def test_target_that_is_not_a_path_is_refused(signer: Signer, target: str) -> None:
    assert signer.refusal(HttpRequest("POST", target, signer.sign().headers, BODY)) == BAD_SIGNATURE


def test_request_without_host_is_refused(signer: Signer) -> None:
    code, message = signer.refusal(_changed(signer.sign(), host=None))

    assert (code, message) == (
        "InvalidSignatureException",
        "'host' must be a 'SignedHeader' in the AWS Authorization.",
    )


@pytest.mark.parametrize("name", ["host", "x-amz-target", "x-amz-date", "x-amz-security-token"])
def test_header_that_must_be_signed_and_is_not_is_refused(signer: Signer, name: str) -> None:
    request = signer.sign()
    authorization = (request.header("Authorization") or "").replace(f"{name};", "").replace(f";{name}", "")

    code, message = signer.refusal(_changed(request, authorization=authorization))

    assert (code, message) == (
        "InvalidSignatureException",
        f"'{name}' must be a 'SignedHeader' in the AWS Authorization.",
    )


def test_old_signature_is_refused_in_the_words_of_aws(signer: Signer) -> None:
    assert signer.refusal(signer.sign(at=NOW - timedelta(minutes=6))) == (
        "InvalidSignatureException",
        "Signature expired: 20250131T115400Z is now earlier than 20250131T115500Z (20250131T120000Z - 5 min.)",
    )


def test_signature_from_the_future_is_refused_in_the_words_of_aws(signer: Signer) -> None:
    assert signer.refusal(signer.sign(at=NOW + timedelta(minutes=6))) == (
        "InvalidSignatureException",
        "Signature not yet current: 20250131T120600Z is still later than 20250131T120500Z (20250131T120000Z + 5 min.)",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"region": "eu-west-1"}, "Credential should be scoped to a valid region, not 'eu-west-1'. "),
        ({"service": "s3"}, "Credential should be scoped to correct service: 'kms'. "),
    ],
)
def test_scope_of_another_region_or_service_is_refused(signer: Signer, options: Any, message: str) -> None:
    assert signer.refusal(signer.sign(**options)) == ("InvalidSignatureException", message)


def test_scope_of_another_day_is_refused(signer: Signer) -> None:
    request = signer.sign()
    authorization = (request.header("Authorization") or "").replace("/20250131/", "/20250130/")

    code, message = signer.refusal(_changed(request, authorization=authorization))

    assert code == "InvalidSignatureException"
    assert "Date in Credential scope" in (message or "")


@pytest.mark.parametrize("date", ["yesterday", "20251331T120000Z", None])
def test_invalid_date_is_incomplete(signer: Signer, date: str | None) -> None:
    request = _changed(signer.sign(), x_amz_date=date)
    authorization = (request.header("Authorization") or "").replace("/20250131/", "/20251331/")
    if date and date.startswith("2025"):
        request = _changed(request, authorization=authorization)

    assert signer.refusal(request)[0] == "IncompleteSignatureException"


def test_signature_in_the_query_is_not_accepted(signer: Signer) -> None:
    credentials = BotocoreCredentials(signer.credentials.access_key_id, signer.credentials.secret_access_key)
    request = AWSRequest("GET", "https://kms.us-east-1.amazonaws.com/")
    SigV4QueryAuth(credentials, "kms", "us-east-1").add_auth(request)

    refused = signer.refusal(HttpRequest("GET", str(request.url).removeprefix("https://kms.us-east-1.amazonaws.com")))

    assert refused[0] == "MissingAuthenticationTokenException"
