from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from enclave_tool.recipient.attested_key import RecipientKey
from tests.support.enclave.scripted_nsm import ScriptedNsm
from tests.support.kms.canned_kms import CannedKms, ThrowawayAuthority
from vsock_wire.net.address import UnixAddress

settings.register_profile("kmstool", max_examples=60, deadline=None)
settings.load_profile("kmstool")


@pytest.fixture(autouse=True)
def _no_aws_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Isolate botocore from the configuration of the machine that runs the tests."""
    import os

    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))


@pytest.fixture(scope="session")
def recipient_key() -> RecipientKey:
    return RecipientKey.generate()


@pytest.fixture(scope="session")
def other_recipient_key() -> RecipientKey:
    return RecipientKey.generate()


@pytest.fixture(scope="session")
def authority() -> ThrowawayAuthority:
    return ThrowawayAuthority()


@pytest.fixture
def scripted_nsm() -> ScriptedNsm:
    return ScriptedNsm()


@pytest.fixture
def kms(authority: ThrowawayAuthority, short_dir: Path) -> Iterator[CannedKms]:
    """A KMS with TLS on a unix socket, which stands in for the proxy."""
    with CannedKms(
        UnixAddress(str(short_dir / "kms")), authority.server_context("kms.us-east-1.amazonaws.com")
    ) as server:
        yield server
