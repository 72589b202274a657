"""The call that gets an argument wrong reports a caller's mistake, and names the argument."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from enclave_tool.kms.client import attest_client, attested_kms_client, proxied_kms_client
from enclave_tool.kms.clock import KmsClock
from enclave_tool.kms.options import KmsOptions
from enclave_tool.kms.transport import ProxySession
from enclave_tool.recipient.attested_key import Recipient, RecipientKey
from tests.support.enclave.attested_calls import CREDENTIALS, PLAINTEXT, REGION, ClientWorld, sealing
from tests.support.enclave.scripted_nsm import ScriptedNsm


class TestAttestedKmsClient:
    @pytest.mark.parametrize(
        ("argument", "value", "text"),
        [
            ("recipient", "unix:/nsm", "recipient: expected a Recipient, got str"),
            ("region", None, "region: expected the name of an AWS region, got NoneType"),
            ("region", 1, "region: expected the name of an AWS region, got int"),
            ("credentials", ("AKID", "theSecret"), "credentials: expected enclave_tool.Credentials, got tuple"),
            (
                "credentials",
                {"SecretAccessKey": "theSecret"},
                "credentials: expected enclave_tool.Credentials, got dict",
            ),
            ("session", "profile", "session: expected a boto3.Session, got str"),
            ("options", {"proxy": "unix:/p"}, "options: expected KmsOptions, got dict"),
        ],
    )
    def test_wrong_type_is_a_type_error(self, argument: str, value: object, text: str) -> None:
        arguments: Any = {"region": REGION, "credentials": CREDENTIALS, argument: value}
        if argument == "session":
            del arguments["credentials"]
        with pytest.raises(TypeError) as caught:
            attested_kms_client(**arguments)
        assert str(caught.value) == text

    def test_missing_region_is_a_type_error(self, recipient: Recipient) -> None:
        without_region: Any = {"credentials": CREDENTIALS}
        with pytest.raises(TypeError, match="'region'"):
            attested_kms_client(recipient, **without_region)

    def test_empty_region_is_a_value_error(self, recipient: Recipient) -> None:
        with pytest.raises(ValueError, match=r"^region: empty"):
            attested_kms_client(recipient, region="", credentials=CREDENTIALS)

    def test_credentials_together_with_a_session_are_a_value_error(self, recipient: Recipient) -> None:
        with pytest.raises(ValueError, match="pass either credentials or session, not both") as caught:
            attested_kms_client(recipient, region=REGION, credentials=CREDENTIALS, session=boto3.Session())
        assert CREDENTIALS.secret_access_key not in str(caught.value)

    @pytest.mark.parametrize("argument", ["proxy", "tls", "endpoint_host", "clock", "connect_timeout_s"])
    def test_field_of_the_options_is_not_an_argument(self, recipient: Recipient, argument: str) -> None:
        loose: Any = {argument: None}
        with pytest.raises(TypeError, match=argument):
            attested_kms_client(recipient, region=REGION, **loose)


class TestAttestClient:
    def test_returns_its_client_which_carries_the_recipient(self, world: ClientWorld) -> None:
        world.kms.answer = sealing(world.recipient.key)
        http = ProxySession(KmsOptions(proxy=world.kms.address, tls=world.tls))
        session = boto3.Session(aws_access_key_id="AKIDOTHER", aws_secret_access_key="x")
        client = proxied_kms_client(session, http, KmsClock(), region=REGION)
        assert attest_client(client, world.recipient) is client
        assert client.decrypt(CiphertextBlob=b"c")["Plaintext"] == PLAINTEXT
        assert world.kms.calls[0].document == b"document 1"
        client.close()

    def test_twice_on_one_client_is_a_value_error_and_the_first_recipient_stays(
        self, recipient: Recipient, other_recipient_key: RecipientKey
    ) -> None:
        client = boto3.client("kms", region_name=REGION)
        attest_client(client, recipient)
        for second in (recipient, Recipient(ScriptedNsm(), key=other_recipient_key)):
            with pytest.raises(ValueError, match=r"^client: already attested"):
                attest_client(client, second)
        client.close()

    def test_on_a_client_that_is_attested_from_the_start_is_a_value_error(self, recipient: Recipient) -> None:
        client = attested_kms_client(recipient, region=REGION, credentials=CREDENTIALS)
        with pytest.raises(ValueError, match=r"^client: already attested"):
            attest_client(client, recipient)
        client.close()

    def test_on_a_client_of_another_service_is_a_type_error(self, recipient: Recipient) -> None:
        other: Any = boto3.client("s3", region_name=REGION)
        with pytest.raises(TypeError, match=r"^client: expected a boto3 client of KMS, got one of s3$"):
            attest_client(other, recipient)
        other.close()

    @pytest.mark.parametrize("client", [None, "kms", boto3, object()], ids=["none", "text", "module", "object"])
    def test_on_anything_but_a_client_is_a_type_error(self, recipient: Recipient, client: Any) -> None:
        with pytest.raises(TypeError, match=r"^client: expected a boto3 client of KMS, got "):
            attest_client(client, recipient)

    def test_for_anything_but_a_recipient_is_a_type_error_and_leaves_the_client_unchanged(
        self, recipient: Recipient
    ) -> None:
        client = boto3.client("kms", region_name=REGION)
        key: Any = recipient.key
        with pytest.raises(TypeError, match=r"^recipient: expected a Recipient, got RecipientKey$"):
            attest_client(client, key)
        assert attest_client(client, recipient) is client
        client.close()
