from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import HTTPConnection

import pytest
from botocore.utils import InstanceMetadataFetcher

from nitro_simulator.http_server import HttpRequest
from nitro_simulator.identities import Identities
from nitro_simulator.imds import CREDENTIALS_PATH, TOKEN_HEADER, TOKEN_TTL_HEADER, Imds, ImdsMode, ImdsServer
from tests.support.kms.world import ACCOUNT_ID, ROLE, FakeClock

NOW = datetime(2025, 1, 1, tzinfo=UTC)


class Instance:
    """An instance, its clock, and a client's view of it."""

    def __init__(self, *, lifetime_s: float = 3600) -> None:
        self.clock = FakeClock(NOW)
        self.identities = Identities(clock=self.clock)
        self.imds = Imds(
            self.identities, role_name=ROLE, region="eu-west-1", credentials_lifetime_s=lifetime_s, clock=self.clock
        )

    def ask(self, target: str, *, method: str = "GET", headers: dict[str, str] | None = None) -> tuple[int, str]:
        answer = self.imds.answer(HttpRequest(method, target, tuple((headers or {}).items())))
        assert answer is not None
        return answer.status, answer.body.decode()

    def token(self, ttl: str = "60") -> str:
        status, token = self.ask("/latest/api/token", method="PUT", headers={TOKEN_TTL_HEADER: ttl})
        assert status == 200
        return token

    def get(self, target: str, token: str | None = None) -> tuple[int, str]:
        return self.ask(target, headers={TOKEN_HEADER: token or self.token()})

    def credentials(self) -> dict[str, str]:
        document = json.loads(self.get(CREDENTIALS_PATH + ROLE)[1])
        assert isinstance(document, dict)
        return document


@pytest.fixture
def instance() -> Instance:
    return Instance()


@pytest.mark.parametrize("ttl", ["1", "60", "21600"])
def test_token_gives_access_only_until_its_ttl(instance: Instance, ttl: str) -> None:
    token = instance.token(ttl)

    instance.clock.advance(int(ttl) - 0.5)
    assert instance.get("/latest/meta-data/placement/region", token) == (200, "eu-west-1")
    instance.clock.advance(0.5)
    assert instance.get("/latest/meta-data/placement/region", token)[0] == 401


@pytest.mark.parametrize("ttl", ["0", "21601", "-1", "", "x", "1.5", "999999", "\u0663"])
def test_token_with_bad_ttl_is_refused(instance: Instance, ttl: str) -> None:
    assert instance.ask("/latest/api/token", method="PUT", headers={TOKEN_TTL_HEADER: ttl})[0] == 400


def test_token_without_ttl_is_refused(instance: Instance) -> None:
    assert instance.ask("/latest/api/token", method="PUT")[0] == 400


def test_token_must_be_put(instance: Instance) -> None:
    for method in ("GET", "POST"):
        assert instance.ask("/latest/api/token", method=method, headers={TOKEN_TTL_HEADER: "60"})[0] == 405


def test_request_through_a_forwarder_is_forbidden(instance: Instance) -> None:
    headers = {TOKEN_TTL_HEADER: "60", "X-Forwarded-For": "10.0.0.9"}

    assert instance.ask("/latest/api/token", method="PUT", headers=headers)[0] == 403


@pytest.mark.parametrize("headers", [{}, {TOKEN_HEADER: ""}, {TOKEN_HEADER: "other"}])
def test_imdsv1_request_is_unauthorized(instance: Instance, headers: dict[str, str]) -> None:
    instance.token()

    for target in (CREDENTIALS_PATH, CREDENTIALS_PATH + ROLE, "/latest/meta-data/placement/region", "/none"):
        assert instance.ask(target, headers=headers)[0] == 401


def test_tokens_differ(instance: Instance) -> None:
    assert instance.token() != instance.token()


def test_role_is_discovered_with_and_without_a_trailing_slash(instance: Instance) -> None:
    assert instance.get(CREDENTIALS_PATH) == (200, ROLE)
    assert instance.get(CREDENTIALS_PATH.rstrip("/")) == (200, ROLE)


def test_credentials_have_the_fields_of_ec2_and_are_known_to_the_identities(instance: Instance) -> None:
    document = instance.credentials()

    assert set(document) == {
        "Code",
        "LastUpdated",
        "Type",
        "AccessKeyId",
        "SecretAccessKey",
        "Token",
        "Expiration",
    }
    assert (document["Code"], document["Type"]) == ("Success", "AWS-HMAC")
    assert (document["LastUpdated"], document["Expiration"]) == ("2025-01-01T00:00:00Z", "2025-01-01T01:00:00Z")
    identity = instance.identities.find(document["AccessKeyId"])
    assert identity is not None
    assert identity.credentials.secret_access_key == document["SecretAccessKey"]
    assert identity.credentials.session_token == document["Token"]


@pytest.mark.parametrize(("lifetime_s", "kept_s"), [(3600, 3300), (600, 300), (60, 30), (2, 1)])
def test_credentials_are_kept_for_a_while_and_replaced_before_they_expire(lifetime_s: float, kept_s: float) -> None:
    instance = Instance(lifetime_s=lifetime_s)
    first = instance.credentials()

    instance.clock.advance(kept_s - 0.1)
    assert instance.credentials() == first
    instance.clock.advance(0.1)
    second = instance.credentials()

    assert second["AccessKeyId"] != first["AccessKeyId"]
    assert second["Expiration"] > first["Expiration"]
    identity = instance.identities.find(first["AccessKeyId"])
    assert identity is not None
    assert instance.clock() < identity.expires_at


@pytest.mark.parametrize(
    "target", [CREDENTIALS_PATH + "Other", "/", "/latest/meta-data/none", CREDENTIALS_PATH + ROLE + "/"]
)
def test_unknown_path_is_not_found(instance: Instance, target: str) -> None:
    assert instance.get(target)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_metadata_can_be_read_only(instance: Instance, method: str) -> None:
    headers = {TOKEN_HEADER: instance.token()}

    assert instance.ask("/latest/meta-data/placement/region", method=method, headers=headers)[0] == 405


def test_instance_without_role_has_tokens_and_no_credentials(instance: Instance) -> None:
    instance.imds.mode = ImdsMode.NO_ROLE

    for target in (CREDENTIALS_PATH, CREDENTIALS_PATH.rstrip("/"), CREDENTIALS_PATH + ROLE):
        assert instance.get(target)[0] == 404
    assert instance.get("/latest/meta-data/placement/region")[0] == 200


def test_identity_document_names_account_and_region(instance: Instance) -> None:
    document = json.loads(instance.get("/latest/dynamic/instance-identity/document")[1])

    assert (document["accountId"], document["region"]) == (ACCOUNT_ID, "eu-west-1")
    assert document["instanceId"] == instance.get("/latest/meta-data/instance-id")[1]
    assert instance.get("/latest/meta-data/placement/availability-zone")[1] == "eu-west-1a"


def test_turned_off_endpoint_forbids_everything(instance: Instance) -> None:
    instance.imds.mode = ImdsMode.DISABLED

    assert instance.ask("/latest/api/token", method="PUT", headers={TOKEN_TTL_HEADER: "60"})[0] == 403


# over HTTP


@pytest.fixture
def server() -> Iterator[ImdsServer]:
    with ImdsServer(Imds(Identities(), role_name=ROLE)) as server:
        yield server


def _fetch(server: ImdsServer, timeout_s: int = 5) -> dict[str, str]:
    fetcher = InstanceMetadataFetcher(timeout=timeout_s, num_attempts=1, base_url=f"http://127.0.0.1:{server.port}/")
    fetched: dict[str, str] = fetcher.retrieve_iam_role_credentials()
    return fetched


def test_botocore_fetches_credentials(server: ImdsServer) -> None:
    fetched = _fetch(server)

    assert fetched["role_name"] == ROLE
    assert fetched["access_key"].startswith("ASIA")


def test_botocore_finds_none_without_role(server: ImdsServer) -> None:
    server.imds.mode = ImdsMode.NO_ROLE

    assert _fetch(server) == {}


def test_silent_service_takes_the_request_and_never_answers(server: ImdsServer) -> None:
    server.imds.mode = ImdsMode.SILENT
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(b"PUT /latest/api/token HTTP/1.1\r\n\r\n")
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(1)


def test_token_answer_repeats_the_ttl(server: ImdsServer) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("PUT", "/latest/api/token", headers={TOKEN_TTL_HEADER: "77"})
    response = connection.getresponse()
    token = response.read().decode()

    assert (response.status, response.getheader(TOKEN_TTL_HEADER)) == (200, "77")
    assert response.getheader("Content-Type") == "text/plain"
    connection.request("GET", "/latest/meta-data/placement/region", headers={TOKEN_HEADER: token})
    assert connection.getresponse().read() == b"us-east-1"
    connection.close()
