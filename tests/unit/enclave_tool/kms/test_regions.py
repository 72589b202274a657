from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest

from enclave_tool.kms import regions as kms_regions
from enclave_tool.kms.client import proxied_kms_client
from enclave_tool.kms.options import KmsOptions
from enclave_tool.kms.regional import Attempts
from enclave_tool.kms.regions import KmsRegions, UnknownRegionError, known_regions
from enclave_tool.recipient.attested_key import Recipient, RecipientKey
from tests.support.enclave.attested_calls import CREDENTIALS, PLAINTEXT, REGION, sealing
from tests.support.enclave.scripted_nsm import ScriptedNsm
from tests.support.kms.canned_kms import CannedKms
from tests.support.kms.decrypting import decrypt_request
from vsock_wire.errors import ExitCode
from vsock_wire.protocol.messages import Credentials
from vsock_wire.protocol.vocabulary import EnclaveCode, RequestError

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

REQUEST = decrypt_request(b"c")
pytestmark = pytest.mark.usefixtures("no_pauses", "made")


def test_every_region_in_which_botocore_has_a_kms_is_known() -> None:
    session = botocore.session.Session()
    names = {
        name
        for partition in session.get_available_partitions()
        for name in session.get_available_regions("kms", partition)
    }
    known = known_regions(session.get_component("data_loader"))
    assert len(names) > 30
    assert names <= known
    assert not any(name.endswith("-global") for name in known)


class TestCallers:
    def test_connections_are_shared_by_all_credentials_of_a_region(
        self, regions: KmsRegions, kms: CannedKms, recipient_key: RecipientKey, made: list[KMSClient]
    ) -> None:
        kms.answer = sealing(recipient_key)
        for number in range(5):
            credentials = Credentials(f"AKID{number}", "theSecretAccessKey", None)
            regions.caller(credentials, REGION).call_kms(REQUEST, Attempts())
        assert kms.connections == 1
        assert len(made) == 1

    def test_each_signs_with_its_own_credentials(
        self, regions: KmsRegions, kms: CannedKms, recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(recipient_key)
        callers = [regions.caller(Credentials(name, "s", f"token of {name}"), REGION) for name in ("AKIDA", "AKIDB")]
        for caller in (*callers, *reversed(callers)):
            caller.call_kms(REQUEST, Attempts())
        signers = [call.headers["authorization"].partition("Credential=")[2][:5] for call in kms.calls]
        assert signers == ["AKIDA", "AKIDB", "AKIDB", "AKIDA"]
        assert [call.headers["x-amz-security-token"][-5:] for call in kms.calls] == signers

    def test_least_recently_used_region_is_dropped(
        self, regions: KmsRegions, monkeypatch: pytest.MonkeyPatch, made: list[KMSClient]
    ) -> None:
        monkeypatch.setattr(kms_regions, "MAX_REGIONS", 2)
        for region in (REGION, "eu-west-1", REGION, "eu-west-2", REGION, "eu-west-1"):
            regions.caller(CREDENTIALS, region)
        assert [client.meta.region_name for client in made] == [REGION, "eu-west-1", "eu-west-2", "eu-west-1"]

    def test_caller_of_a_dropped_region_still_works(
        self, regions: KmsRegions, kms: CannedKms, recipient_key: RecipientKey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kms_regions, "MAX_REGIONS", 1)
        kms.answer = sealing(recipient_key)
        first = regions.caller(CREDENTIALS, REGION)
        regions.caller(CREDENTIALS, "eu-west-1")
        assert first.call_kms(REQUEST, Attempts())["Plaintext"] == PLAINTEXT

    @pytest.mark.parametrize(
        ("region", "nearest"),
        [
            ("us-est-1", '"us-east-1" or "us-west-1"'),
            ("us-eats-1", '"us-east-1"'),
            ("us-east-1a", '"us-east-1"'),
            ("US-EAST-1", '"us-east-1"'),
            ("eu-west1", '"eu-west-1"'),
            ("us-gov-west", '"us-gov-west-1"'),
            ("aws-global", None),
            ("s3", None),
            ("", None),
            ("a b", None),
            ("us-east-1.evil.example", None),
            ("us-east-1/", '"us-east-1"'),
            ("x\r\ny", None),
            ("\u00e9", None),
            ("a" * 500, None),
        ],
    )
    @pytest.mark.parametrize("method", ["caller", "endpoint_url"])
    def test_unknown_region_is_refused_with_the_nearest_known_name(
        self, regions: KmsRegions, region: str, nearest: str | None, method: str
    ) -> None:
        with pytest.raises(UnknownRegionError, match=r"^Could not create new client: unknown region \"") as caught:
            regions.caller(CREDENTIALS, region) if method == "caller" else regions.endpoint_url(region)
        assert caught.value.code is EnclaveCode.UNKNOWN_REGION
        assert caught.value.exit_code is ExitCode.USAGE
        guess = f"did you mean {nearest}?" if nearest else "expected the name of an AWS region"
        assert (caught.value.hint or "").startswith(guess)
        assert "--allow-region" in (caught.value.hint or "")

    def test_allowed_region_is_accepted_and_leads_to_its_own_host(
        self, kms: CannedKms, bundle: Path, recipient_key: RecipientKey, scripted_nsm: ScriptedNsm
    ) -> None:
        options = KmsOptions(proxy=kms.address, ca_file=bundle, allowed_regions=("xx-new-1",))
        regions = KmsRegions(Recipient(scripted_nsm, key=recipient_key), options)
        assert regions.endpoint_url("xx-new-1") == "https://kms.xx-new-1.amazonaws.com"
        with pytest.raises(UnknownRegionError):
            regions.endpoint_url("xx-new-2")

    def test_refused_region_leaves_existing_ones_in_place(
        self, regions: KmsRegions, monkeypatch: pytest.MonkeyPatch, made: list[KMSClient]
    ) -> None:
        monkeypatch.setattr(kms_regions, "MAX_REGIONS", 2)
        regions.caller(CREDENTIALS, REGION)
        for region in ("a b", "c d", "e f"):
            with pytest.raises(RequestError):
                regions.caller(CREDENTIALS, region)
        regions.caller(CREDENTIALS, REGION)
        assert len(made) == 1

    def test_existing_caller_is_returned_while_another_is_being_created(
        self, regions: KmsRegions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        regions.caller(CREDENTIALS, REGION)
        is_making, may_go_on = threading.Event(), threading.Event()

        def make_slowly(*args: Any, **options: Any) -> KMSClient:
            is_making.set()
            assert may_go_on.wait(5)
            return proxied_kms_client(*args, **options)

        monkeypatch.setattr(kms_regions, "proxied_kms_client", make_slowly)
        thread = threading.Thread(target=regions.caller, args=(CREDENTIALS, "eu-west-1"))
        thread.start()
        assert is_making.wait(5)
        regions.caller(CREDENTIALS, REGION)
        assert thread.is_alive()
        may_go_on.set()
        thread.join()

    def test_concurrent_threads_share_one(self, regions: KmsRegions, made: list[KMSClient]) -> None:
        start = threading.Barrier(6)

        def ask() -> None:
            start.wait()
            regions.caller(CREDENTIALS, REGION)

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made) == 1
