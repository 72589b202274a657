"""The server's connections to a canned KMS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from enclave_tool.kms import regions as kms_regions
from enclave_tool.kms.client import proxied_kms_client
from enclave_tool.kms.options import KmsOptions
from enclave_tool.kms.regions import KmsRegions
from enclave_tool.recipient.attested_key import Recipient, RecipientKey
from tests.support.enclave.scripted_nsm import ScriptedNsm
from tests.support.kms.canned_kms import CannedKms, ThrowawayAuthority

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server retry without a pause."""
    monkeypatch.setattr("enclave_tool.kms.regional.time.sleep", lambda _: None)


@pytest.fixture
def bundle(authority: ThrowawayAuthority, tmp_path: Path) -> Path:
    return authority.write_bundle(tmp_path / "authority.pem")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[KMSClient]]:
    """Every boto3 client that is created; all are closed at the end."""
    made: list[KMSClient] = []

    def record(*args: Any, **options: Any) -> KMSClient:
        made.append(proxied_kms_client(*args, **options))
        return made[-1]

    monkeypatch.setattr(kms_regions, "proxied_kms_client", record)
    yield made
    for client in made:
        client.close()


@pytest.fixture
def regions(
    kms: CannedKms, bundle: Path, recipient_key: RecipientKey, scripted_nsm: ScriptedNsm, made: list[KMSClient]
) -> KmsRegions:
    assert made == []
    return KmsRegions(Recipient(scripted_nsm, key=recipient_key), KmsOptions(proxy=kms.address, ca_file=bundle))
