from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from enclave_tool.errors import (
    CmsError,
    KmsError,
    KmsUnreachableError,
    NsmError,
    ProxyUnreachableError,
    RecipientError,
    TlsError,
)
from enclave_tool.kms.options import KmsOptions
from enclave_tool.kms.regional import Attempts
from enclave_tool.kms.regions import KmsRegions
from enclave_tool.recipient.attested_key import Recipient, RecipientKey
from tests.support.enclave.attested_calls import CREDENTIALS, PLAINTEXT, REGION, sealing
from tests.support.enclave.scripted_nsm import ScriptedNsm
from tests.support.kms.canned_kms import Answer, CannedKms, ThrowawayAuthority
from tests.support.kms.decrypting import decrypt_answer, decrypt_request
from vsock_wire.errors import ToolError
from vsock_wire.net.address import UnixAddress

if TYPE_CHECKING:
    pass

REQUEST = decrypt_request(b"c")
pytestmark = pytest.mark.usefixtures("no_pauses", "made")


class TestDecrypt:
    def test_gives_plaintext_key_and_algorithm(
        self, regions: KmsRegions, kms: CannedKms, recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(recipient_key, KeyId="arn:key", EncryptionAlgorithm="SYMMETRIC_DEFAULT")
        result = regions.caller(CREDENTIALS, REGION).call_kms(REQUEST, Attempts())
        del result["ResponseMetadata"]
        assert result == decrypt_answer(PLAINTEXT, "arn:key", "SYMMETRIC_DEFAULT")

    def test_sends_only_the_fields_that_were_set(
        self, regions: KmsRegions, kms: CannedKms, recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(recipient_key)
        regions.caller(CREDENTIALS, REGION).call_kms(REQUEST, Attempts())
        assert set(kms.calls[0].fields) == {"CiphertextBlob", "Recipient"}

    def test_sends_every_field(self, regions: KmsRegions, kms: CannedKms, recipient_key: RecipientKey) -> None:
        kms.answer = sealing(recipient_key)
        request = decrypt_request(b"c", {"a": "1"}, "alias/k", "ANY_TEXT_FOR_KMS_TO_REFUSE", ("t1", "t2"))
        regions.caller(CREDENTIALS, REGION).call_kms(request, Attempts())
        fields = {name: value for name, value in kms.calls[0].fields.items() if name != "Recipient"}
        assert fields == {
            "CiphertextBlob": "Yw==",
            "EncryptionContext": {"a": "1"},
            "KeyId": "alias/k",
            "EncryptionAlgorithm": "ANY_TEXT_FOR_KMS_TO_REFUSE",
            "GrantTokens": ["t1", "t2"],
        }

    def test_refusal_of_kms_is_a_kms_error(self, regions: KmsRegions, kms: CannedKms) -> None:
        kms.answer = lambda _: Answer({"__type": "AccessDeniedException", "message": "no"}, 400)
        with pytest.raises(KmsError, match=r"^AccessDeniedException: no$") as caught:
            regions.caller(CREDENTIALS, REGION).call_kms(REQUEST, Attempts())
        assert caught.value.http_status == 400

    def test_plaintext_in_the_clear_is_a_recipient_error(self, regions: KmsRegions, kms: CannedKms) -> None:
        kms.answer = lambda _: Answer({"Plaintext": "c2VjcmV0"})
        with pytest.raises(RecipientError):
            regions.caller(CREDENTIALS, REGION).call_kms(REQUEST, Attempts())

    def test_message_for_another_key_is_a_cms_error(
        self, regions: KmsRegions, kms: CannedKms, other_recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(other_recipient_key)
        with pytest.raises(CmsError):
            regions.caller(CREDENTIALS, REGION).call_kms(REQUEST, Attempts())

    def test_silent_module_is_an_nsm_error(self, regions: KmsRegions, scripted_nsm: ScriptedNsm) -> None:
        scripted_nsm.carrier.answer = b""
        with pytest.raises(NsmError):
            regions.caller(CREDENTIALS, REGION).call_kms(REQUEST, Attempts())

    def test_closed_connection_means_that_kms_is_unreachable(self, regions: KmsRegions, kms: CannedKms) -> None:
        kms.answer = lambda _: None
        with pytest.raises(KmsUnreachableError):
            regions.caller(CREDENTIALS, REGION).call_kms(REQUEST, Attempts())

    def test_kms_that_closed_while_idle_is_called_again(
        self, regions: KmsRegions, kms: CannedKms, recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(recipient_key)
        caller = regions.caller(CREDENTIALS, REGION)
        caller.call_kms(REQUEST, Attempts())
        kms.drop_connections()
        assert caller.call_kms(REQUEST, Attempts())["Plaintext"] == PLAINTEXT
        assert kms.connections == 2

    def test_another_host_is_a_tls_error_that_names_it(self, regions: KmsRegions, kms: CannedKms) -> None:
        text = r"^TLS with kms\.eu-west-1\.amazonaws\.com: certificate rejected: Hostname"
        with pytest.raises(TlsError, match=text) as caught:
            regions.caller(CREDENTIALS, "eu-west-1").call_kms(REQUEST, Attempts())
        assert kms.calls == []
        assert str(caught.value).endswith(f"; the proxy leads to kms.{REGION}.amazonaws.com")
        assert (caught.value.hint or "").startswith("choose the region of the host that the proxy leads to")

    def test_another_authority_is_a_tls_error(
        self, kms: CannedKms, recipient_key: RecipientKey, tmp_path: Path
    ) -> None:
        other = ThrowawayAuthority().write_bundle(tmp_path / "other.pem")
        regions = KmsRegions(Recipient(ScriptedNsm(), key=recipient_key), KmsOptions(proxy=kms.address, ca_file=other))
        with pytest.raises(TlsError, match="certificate rejected"):
            regions.caller(CREDENTIALS, REGION).call_kms(REQUEST, Attempts())

    def test_missing_proxy_is_a_proxy_error(self, bundle: Path, recipient_key: RecipientKey, short_dir: Path) -> None:
        options = KmsOptions(proxy=UnixAddress(str(short_dir / "nobody")), ca_file=bundle)
        regions = KmsRegions(Recipient(ScriptedNsm(), key=recipient_key), options)
        with pytest.raises(ProxyUnreachableError, match=r"^connect to proxy unix:.*nobody: no such file or directory$"):
            regions.caller(CREDENTIALS, REGION).call_kms(REQUEST, Attempts())

    @pytest.mark.parametrize(
        "body", [b"[]", b'"text"', b"17", b"null", b"{", b"\xff\xfe", b'{"CiphertextForRecipient": "!"}']
    )
    def test_malformed_response_is_a_tool_error(self, regions: KmsRegions, kms: CannedKms, body: bytes) -> None:
        kms.answer = lambda _: Answer(body)
        with pytest.raises(ToolError):
            regions.caller(CREDENTIALS, REGION).call_kms(REQUEST, Attempts())
