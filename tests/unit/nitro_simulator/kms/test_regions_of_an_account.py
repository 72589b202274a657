"""Several regions of one account: their keys, multi-Region keys, and one server for all of them."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from nitro_simulator.kms.keys.key import KeyState, KmsKey
from nitro_simulator.kms.server import KmsServer
from nitro_simulator.kms.service import SimulatedKms
from nitro_simulator.pki.tls import TlsAuthority
from tests.support.kms.world import (
    ACCOUNT_ID,
    ROLE,
    ROLE_ARN,
    Enclave,
    KmsWorld,
    allow,
    attested_policy,
    boto_client,
    code_and_text,
    policy,
)
from vsock_wire.protocol.json_codec import encode_base64

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

OTHER = "eu-west-1"
SECRET = b"attack at dawn"
MANAGEMENT = ["kms:Decrypt", "kms:ReplicateKey", "kms:ScheduleKeyDeletion"]


@pytest.fixture
def other(world: KmsWorld) -> SimulatedKms:
    return world.kms.add_region(OTHER)


@pytest.fixture
def key(world: KmsWorld) -> KmsKey:
    return world.kms.create_key(policy=policy(allow(MANAGEMENT)), is_multi_region=True)


def call(world: KmsWorld, kms: SimulatedKms, operation: str, **request: object) -> dict[str, Any]:
    return kms.call(operation, dict(request), world.identities.principal(ROLE))


class TestMultiRegionKey:
    def test_id_and_arns_show_what_it_is(self, world: KmsWorld, other: SimulatedKms, key: KmsKey) -> None:
        replica = world.kms.replicate_key(key, OTHER)
        assert key.key_id.startswith("mrk-")
        assert len(key.key_id) == len("mrk-") + 32
        assert key.arn == f"arn:aws:kms:us-east-1:{ACCOUNT_ID}:key/{key.key_id}"
        assert replica.arn == f"arn:aws:kms:eu-west-1:{ACCOUNT_ID}:key/{key.key_id}"
        family = {
            "PrimaryKey": {"Arn": key.arn, "Region": "us-east-1"},
            "ReplicaKeys": [{"Arn": replica.arn, "Region": "eu-west-1"}],
        }
        for kms, each, kind in ((world.kms, key, "PRIMARY"), (other, replica, "REPLICA")):
            metadata = call(world, kms, "DescribeKey", KeyId=each.arn)["KeyMetadata"]
            assert metadata["MultiRegion"] is True
            assert metadata["MultiRegionConfiguration"] == {"MultiRegionKeyType": kind, **family}

    def test_ciphertext_of_one_region_opens_in_the_other(
        self, world: KmsWorld, other: SimulatedKms, key: KmsKey
    ) -> None:
        blob = encode_base64(key.seal(SECRET, encryption_context={"a": "b"}))
        request = {"CiphertextBlob": blob, "EncryptionContext": {"a": "b"}}
        with pytest.raises(Exception, match="does not exist in this region"):
            call(world, other, "Decrypt", **request)
        replica = world.kms.replicate_key(key, OTHER)
        assert call(world, other, "Decrypt", **request) == {
            "KeyId": replica.arn,
            "Plaintext": encode_base64(SECRET),
            "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        }
        back = encode_base64(replica.seal(SECRET))
        assert world.call("Decrypt", CiphertextBlob=back, KeyId=key.arn)["KeyId"] == key.arn

    def test_policy_state_and_grants_are_each_regions_own(
        self, world: KmsWorld, other: SimulatedKms, key: KmsKey
    ) -> None:
        replica = world.kms.replicate_key(key, OTHER)
        request = {"CiphertextBlob": encode_base64(key.seal(SECRET))}
        replica.state = KeyState.DISABLED
        world.call("Decrypt", **request)
        with pytest.raises(Exception, match=f"{replica.arn} is disabled"):
            call(world, other, "Decrypt", **request)
        replica.state = KeyState.ENABLED
        other.put_key_policy(replica, policy())
        world.call("Decrypt", **request)
        with pytest.raises(Exception, match="no resource-based policy allows"):
            call(world, other, "Decrypt", **request)
        token = other.create_grant(replica, grantee=ROLE_ARN, operations=["Decrypt"])
        call(world, other, "Decrypt", **request, GrantTokens=[token])
        assert world.fault("Decrypt", **request, GrantTokens=[token]).code == "InvalidGrantTokenException"

    @pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P256"])
    def test_asymmetric_replica_has_the_same_public_key(self, world: KmsWorld, other: SimulatedKms, spec: str) -> None:
        key = world.kms.create_key(spec=spec, is_multi_region=True)
        assert world.kms.replicate_key(key, OTHER).public_key_der() == key.public_key_der()
        assert other.keys.list_keys()[0].usage == key.usage

    @pytest.mark.parametrize(
        ("condition", "is_primary", "is_replica"),
        [
            ({"Bool": {"kms:MultiRegion": "true"}}, True, True),
            ({"Bool": {"kms:MultiRegion": "false"}}, False, False),
            ({"StringEquals": {"kms:MultiRegionKeyType": "PRIMARY"}}, True, False),
            ({"StringEquals": {"kms:MultiRegionKeyType": "REPLICA"}}, False, True),
            ({"StringEquals": {"aws:RequestedRegion": OTHER}}, False, True),
        ],
    )
    def test_conditions_see_it(
        self, world: KmsWorld, other: SimulatedKms, *, condition: dict[str, Any], is_primary: bool, is_replica: bool
    ) -> None:
        text = policy(allow("kms:Decrypt", condition=condition))
        key = world.kms.create_key(policy=text, is_multi_region=True)
        world.kms.replicate_key(key, OTHER)
        for kms, is_allowed in ((world.kms, is_primary), (other, is_replica)):
            request = {"CiphertextBlob": encode_base64(key.seal(SECRET))}
            if is_allowed:
                call(world, kms, "Decrypt", **request)
            else:
                with pytest.raises(Exception, match="no resource-based policy allows"):
                    call(world, kms, "Decrypt", **request)

    def test_other_keys_have_no_replicas(self, world: KmsWorld, other: SimulatedKms) -> None:
        with pytest.raises(ValueError, match="is not a multi-Region key"):
            world.kms.replicate_key(world.kms.create_key(), OTHER)
        assert other.keys.list_keys() == []


class TestReplicateKey:
    def test_replica_has_the_default_policy_unless_another_is_given(
        self, world: KmsWorld, other: SimulatedKms, key: KmsKey
    ) -> None:
        answer = world.call("ReplicateKey", KeyId=key.key_id, ReplicaRegion=OTHER, Description="d")
        metadata = answer["ReplicaKeyMetadata"]
        assert (metadata["Arn"], metadata["Description"]) == (key.arn.replace("us-east-1", OTHER), "d")
        assert metadata["MultiRegionConfiguration"]["MultiRegionKeyType"] == "REPLICA"
        assert json.loads(answer["ReplicaPolicy"])["Id"] == "key-default-1"
        assert answer["ReplicaTags"] == []
        call(world, other, "Encrypt", KeyId=key.key_id, Plaintext="AAAA")

    @pytest.mark.parametrize(
        ("request_", "code"),
        [
            ({"ReplicaRegion": "eu-west-2"}, "UnsupportedOperationException"),
            ({"ReplicaRegion": "us-east-1"}, "AlreadyExistsException"),
            ({"ReplicaRegion": "!"}, "ValidationException"),
            ({"Policy": "{}"}, "MalformedPolicyDocumentException"),
            ({"Tags": [{"TagKey": "a", "TagValue": "b"}]}, "UnsupportedOperationException"),
        ],
    )
    def test_impossible_replica_is_refused(
        self, world: KmsWorld, other: SimulatedKms, key: KmsKey, *, request_: dict[str, object], code: str
    ) -> None:
        whole = {"KeyId": key.key_id, "ReplicaRegion": OTHER, **request_}
        assert world.fault("ReplicateKey", **whole).code == code
        assert other.keys.list_keys() == []

    def test_only_the_primary_key_is_copied_and_only_once(
        self, world: KmsWorld, other: SimulatedKms, key: KmsKey
    ) -> None:
        world.kms.add_region("eu-west-2")
        request = {"KeyId": key.key_id, "ReplicaRegion": OTHER}
        single = world.kms.create_key(policy=policy(allow(MANAGEMENT)))
        fault = world.fault("ReplicateKey", KeyId=single.key_id, ReplicaRegion=OTHER)
        text = f"{single.arn} is not a multi-region primary key."
        assert code_and_text(fault) == ("UnsupportedOperationException", text)
        world.call("ReplicateKey", **request, Policy=policy(allow(MANAGEMENT)))
        assert world.fault("ReplicateKey", **request).code == "AlreadyExistsException"
        with pytest.raises(Exception, match="is not a multi-region primary key"):
            call(world, other, "ReplicateKey", KeyId=key.key_id, ReplicaRegion="eu-west-2")

    def test_both_the_key_policy_and_identity_policies_must_allow_it(
        self, world: KmsWorld, other: SimulatedKms, key: KmsKey
    ) -> None:
        condition = {"StringEquals": {"kms:ReplicaRegion": "eu-west-2"}}
        world.kms.put_key_policy(key, policy(allow("kms:ReplicateKey", condition=condition)))
        request = {"KeyId": key.key_id, "ReplicaRegion": OTHER}
        assert "kms:ReplicateKey" in (world.fault("ReplicateKey", **request).message or "")
        world.kms.put_key_policy(key, policy(allow("kms:ReplicateKey")))
        nothing = json.dumps({"Statement": {"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}})
        world.kms.policies.put_identity_policy(ROLE_ARN, nothing)
        assert "kms:CreateKey on resource: *" in (world.fault("ReplicateKey", **request).message or "")
        assert other.keys.list_keys() == []

    def test_replica_goes_before_its_primary(self, world: KmsWorld, other: SimulatedKms, key: KmsKey) -> None:
        replica = world.kms.replicate_key(key, OTHER)
        assert world.fault("ScheduleKeyDeletion", KeyId=key.key_id).code == "UnsupportedOperationException"
        call(world, other, "ScheduleKeyDeletion", KeyId=replica.key_id, PendingWindowInDays=7)
        world.clock.advance(7 * 86_400)
        assert call(world, other, "ListKeys")["Keys"] == []
        world.call("ScheduleKeyDeletion", KeyId=key.key_id)


class TestRegions:
    def test_caller_policies_and_journal_are_one_for_all(self, world: KmsWorld, other: SimulatedKms) -> None:
        assert other.policies is world.kms.policies
        call(world, other, "ListKeys")
        assert [entry.operation for entry in world.kms.journal.entries()] == ["ListKeys"]
        assert list(world.kms.regions) == list(other.regions) == ["us-east-1", OTHER]

    @pytest.mark.parametrize("region", ["us-east-1", "cn-north-1"])
    def test_region_must_be_new_and_in_the_same_partition(self, world: KmsWorld, region: str) -> None:
        with pytest.raises(ValueError, match=r"^region: "):
            world.kms.add_region(region)

    def test_key_of_another_region_is_not_found(self, world: KmsWorld, other: SimulatedKms) -> None:
        key = other.create_key()
        assert code_and_text(world.fault("DescribeKey", KeyId=key.arn)) == (
            "NotFoundException",
            f"Invalid arn {OTHER}",
        )
        fault = world.fault("Decrypt", CiphertextBlob=encode_base64(key.seal(SECRET)))
        assert fault.message == (
            "The ciphertext refers to a customer master key that does not exist, does not exist in this region, "
            "or you are not allowed to access."
        )


class TestServer:
    @pytest.fixture
    def client(self, world: KmsWorld, kms_server: KmsServer, tls_ca_file: Path) -> Iterator[KMSClient]:
        client = boto_client(kms_server, tls_ca_file, world.identities.issue(ROLE), region=OTHER)
        yield client
        client.close()

    @pytest.mark.usefixtures("other")
    def test_signature_chooses_the_region_under_another_name(
        self, client: KMSClient, kms_client: KMSClient, world: KmsWorld, enclave: Enclave
    ) -> None:
        key = world.kms.create_key(policy=attested_policy(), is_multi_region=True)
        replica = world.kms.replicate_key(key, OTHER)
        for each, kms_key in ((kms_client, key), (client, replica)):
            answer = each.decrypt(CiphertextBlob=key.seal(SECRET), Recipient=enclave.recipient())
            assert answer["KeyId"] == kms_key.arn
            assert enclave.open(answer["CiphertextForRecipient"]) == SECRET

    def test_region_that_the_account_does_not_have_is_refused(
        self, world: KmsWorld, kms_server: KmsServer, tls_ca_file: Path
    ) -> None:
        client = boto_client(kms_server, tls_ca_file, world.identities.issue(ROLE), region="eu-west-3")
        with pytest.raises(ClientError, match="Credential should be scoped to a valid region, not 'eu-west-3'"):
            client.list_keys()
        client.close()

    @pytest.mark.usefixtures("other")
    def test_host_chooses_the_region_and_the_signature_must_fit(
        self, world: KmsWorld, tls_authority: TlsAuthority, tls_ca_file: Path
    ) -> None:
        issued = world.identities.issue(ROLE)
        signer = Credentials(issued.access_key_id, issued.secret_access_key, issued.session_token)
        context = ssl.create_default_context(cafile=str(tls_ca_file))
        found: dict[tuple[str, str], tuple[int, dict[str, Any]]] = {}
        with KmsServer(world.kms, tls=tls_authority.server_certificate("localhost")) as server:
            for host in ("us-east-1", OTHER):
                for scope in ("us-east-1", OTHER):
                    url = f"https://kms.{host}.amazonaws.com/"
                    headers = {"X-Amz-Target": "TrentService.ListKeys", "Content-Type": "application/x-amz-json-1.1"}
                    request = AWSRequest("POST", url, data=b"{}", headers=headers)
                    request.headers["Host"] = f"kms.{host}.amazonaws.com"
                    SigV4Auth(signer, "kms", scope).add_auth(request)
                    connection = HTTPSConnection("localhost", server.port, context=context, timeout=10)
                    connection.request("POST", "/", b"{}", dict(request.headers.items()))
                    answer = connection.getresponse()
                    found[host, scope] = answer.status, json.loads(answer.read())
                    connection.close()
        world.call("ListKeys")
        assert [found[name, name][0] for name in ("us-east-1", OTHER)] == [200, 200]
        for host, scope in (("us-east-1", OTHER), (OTHER, "us-east-1")):
            assert found[host, scope][1] == {
                "__type": "InvalidSignatureException",
                "message": f"Credential should be scoped to a valid region, not '{scope}'. ",
            }

    def test_boto3_copies_a_key(self, kms_client: KMSClient, other: SimulatedKms) -> None:
        key_id = kms_client.create_key(MultiRegion=True)["KeyMetadata"]["KeyId"]
        answer = kms_client.replicate_key(KeyId=key_id, ReplicaRegion=OTHER)
        assert answer["ReplicaKeyMetadata"]["MultiRegionConfiguration"]["ReplicaKeys"][0]["Region"] == OTHER
        assert [key.key_id for key in other.keys.list_keys()] == [key_id]
