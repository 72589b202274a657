from __future__ import annotations

import os
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import (
    ConnectionClosedError,
    EndpointConnectionError,
    SSLError,
)

from enclave_tool.kms.client import attest_client, attested_kms_client
from enclave_tool.kms.options import KmsOptions
from enclave_tool.kms.transport import ProxySession
from enclave_tool.recipient.attested_key import Recipient, RecipientKey
from tests.support.enclave.attested_calls import (
    CREDENTIALS,
    PLAINTEXT,
    REGION,
    sealing,
)
from tests.support.kms.canned_kms import CannedKms, ThrowawayAuthority
from vsock_wire.errors import TransportError
from vsock_wire.net.address import UnixAddress, VsockAddress

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient


@pytest.fixture
def environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    variables: dict[str, str] = request.param
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


class TestEndpoint:
    def test_request_is_signed_with_the_given_credentials(
        self, client: KMSClient, kms: CannedKms, recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(recipient_key)
        client.decrypt(CiphertextBlob=b"c")
        headers = kms.calls[0].headers
        assert "Credential=AKIDEXAMPLE/" in headers["authorization"]
        assert "/us-east-1/kms/aws4_request" in headers["authorization"]
        assert headers["x-amz-security-token"] == "theSessionToken"
        assert b"theSecretAccessKey" not in kms.calls[0].raw

    @pytest.mark.parametrize(
        ("region", "host"),
        [
            ("eu-central-1", "kms.eu-central-1.amazonaws.com"),
            ("cn-north-1", "kms.cn-north-1.amazonaws.com.cn"),
            ("us-gov-west-1", "kms.us-gov-west-1.amazonaws.com"),
        ],
    )
    def test_host_follows_the_region_and_its_partition(
        self, authority: ThrowawayAuthority, tls: ssl.SSLContext, recipient: Recipient, region: str, host: str
    ) -> None:
        with (
            tempfile.TemporaryDirectory(prefix="kt-") as folder,
            CannedKms(UnixAddress(f"{folder}/r"), authority.server_context(host)) as kms,
        ):
            kms.answer = sealing(recipient.key)
            client = attested_kms_client(
                recipient, region=region, credentials=CREDENTIALS, options=KmsOptions(proxy=kms.address, tls=tls)
            )
            assert client.generate_random(NumberOfBytes=1)["Plaintext"] == PLAINTEXT
            client.close()
            assert kms.server_names == [host]

    @pytest.mark.parametrize(
        "environment",
        [
            {"AWS_ENDPOINT_URL": "https://evil.example"},
            {"AWS_ENDPOINT_URL_KMS": "https://evil.example"},
            {"HTTPS_PROXY": "http://127.0.0.1:1"},
            {"AWS_ACCESS_KEY_ID": "AKIDOTHER", "AWS_SECRET_ACCESS_KEY": "other"},
            {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_REGION": "eu-west-1"},
            {"AWS_CA_BUNDLE": "/dev/null"},
        ],
        indirect=True,
    )
    def test_environment_changes_neither_endpoint_nor_credentials(
        self, kms: CannedKms, tls: ssl.SSLContext, recipient: Recipient, environment: dict[str, str]
    ) -> None:
        assert environment.items() <= os.environ.items()
        kms.answer = sealing(recipient.key)
        client = attested_kms_client(
            recipient, region=REGION, credentials=CREDENTIALS, options=KmsOptions(proxy=kms.address, tls=tls)
        )
        assert client.generate_random(NumberOfBytes=1)["Plaintext"] == PLAINTEXT
        client.close()
        assert kms.calls[0].headers["host"] == "kms.us-east-1.amazonaws.com"
        assert "Credential=AKIDEXAMPLE/" in kms.calls[0].headers["authorization"]

    def test_endpoint_host_replaces_the_regions(
        self, short_dir: Path, authority: ThrowawayAuthority, tls: ssl.SSLContext, recipient: Recipient
    ) -> None:
        with CannedKms(UnixAddress(str(short_dir / "r")), authority.server_context("kms.local")) as kms:
            kms.answer = sealing(recipient.key)
            client = attested_kms_client(
                recipient,
                region=REGION,
                credentials=CREDENTIALS,
                options=KmsOptions(proxy=kms.address, endpoint_host="kms.local:4443", tls=tls),
            )
            assert client.generate_random(NumberOfBytes=1)["Plaintext"] == PLAINTEXT
            client.close()
            assert kms.calls[0].headers["host"] == "kms.local:4443"

    def test_peer_that_cannot_prove_it_is_kms_gets_no_request(
        self, kms: CannedKms, tls: ssl.SSLContext, recipient: Recipient
    ) -> None:
        client = attested_kms_client(
            recipient, region="eu-west-1", credentials=CREDENTIALS, options=KmsOptions(proxy=kms.address, tls=tls)
        )
        with pytest.raises(SSLError):
            client.decrypt(CiphertextBlob=b"c")
        client.close()
        assert kms.calls == []

    def test_missing_proxy_is_an_endpoint_error_that_names_it(
        self, short_dir: Path, tls: ssl.SSLContext, recipient: Recipient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
        options = KmsOptions(proxy=UnixAddress(str(short_dir / "nobody")), tls=tls)
        client = attested_kms_client(recipient, region=REGION, credentials=CREDENTIALS, options=options)
        with pytest.raises(EndpointConnectionError) as caught:
            client.decrypt(CiphertextBlob=b"c")
        client.close()
        assert str(caught.value) == (
            'Could not connect to the endpoint URL: "https://kms.us-east-1.amazonaws.com/",'
            f" through the proxy {options.proxy}: no such file or directory"
        )

    @pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
    def test_proxy_that_is_down_is_named_and_tried_as_often_as_any_endpoint(
        self, tls: ssl.SSLContext, recipient: Recipient, monkeypatch: pytest.MonkeyPatch, mode: Any
    ) -> None:
        """The exception is botocore's own, so that it is retried in every retry mode."""
        dialled: list[object] = []

        def refuse(address: object, **_: object) -> None:
            dialled.append(address)
            raise TransportError("connect to", address, "connection reset by peer")

        monkeypatch.setattr("enclave_tool.kms.connection.connect_socket", refuse)
        monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
        session = boto3.Session(aws_access_key_id="AKIDOTHER", aws_secret_access_key="x")
        config = Config(retries={"mode": mode, "total_max_attempts": 4})
        client = session.client("kms", region_name=REGION, config=config)
        http: Any = ProxySession(KmsOptions(tls=tls))
        client._endpoint.http_session = http  # type: ignore[attr-defined]
        with pytest.raises(EndpointConnectionError, match=r"vsock://3:8000: connection reset by peer$"):
            attest_client(client, recipient).decrypt(CiphertextBlob=b"c")
        client.close()
        assert dialled == [VsockAddress(3, 8_000)] * 4

    def test_connection_closed_in_mid_request_ends(
        self, client: KMSClient, kms: CannedKms, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
        kms.answer = lambda _: None
        with pytest.raises(ConnectionClosedError):
            client.decrypt(CiphertextBlob=b"c")
        assert len(kms.calls) == 3

    def test_session_of_the_application_gives_the_credentials(
        self, kms: CannedKms, tls: ssl.SSLContext, recipient: Recipient
    ) -> None:
        kms.answer = sealing(recipient.key)
        session = boto3.Session(aws_access_key_id="AKIDSESSION", aws_secret_access_key="x")
        client = attested_kms_client(
            recipient, region=REGION, session=session, options=KmsOptions(proxy=kms.address, tls=tls)
        )
        client.generate_random(NumberOfBytes=1)
        client.close()
        assert "Credential=AKIDSESSION/" in kms.calls[0].headers["authorization"]
