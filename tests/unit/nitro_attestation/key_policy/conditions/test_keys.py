from __future__ import annotations

import pytest

from nitro_attestation.key_policy.conditions.keys import find_condition_key, is_wrong_key, nearest_key

ATTESTATION = "kms:RecipientAttestation:"


@pytest.mark.parametrize(
    "name",
    [
        f"{ATTESTATION}ImageSha384",
        f"{ATTESTATION}ImageSHA384",
        f"{ATTESTATION}PCR0",
        f"{ATTESTATION}PCR31",
        f"{ATTESTATION}NitroTPMPCR4",
        f"{ATTESTATION}PCR8:ServiceName",
        "KMS:calleraccount",
        "kms:EncryptionContext:purpose",
        "kms:EncryptionContext:aws:s3:arn",
        "kms:EncryptionContextKeys",
        "aws:PrincipalTag/team",
        "aws:SourceVpce",
        "aws:PrincipalARN",
    ],
)
def test_key_of_kms_or_aws_is_known_in_any_case(name: str) -> None:
    assert find_condition_key(name) is not None
    assert not is_wrong_key(name)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("kms:RecipientAttestation", f"{ATTESTATION}ImageSha384"),
        ("kms:RecipientAttestation:", f"{ATTESTATION}ImageSha384"),
        (f"{ATTESTATION}PCR00", f"{ATTESTATION}PCR0"),
        (f"{ATTESTATION}PCR01", f"{ATTESTATION}PCR1"),
        (f"{ATTESTATION}PCR", f"{ATTESTATION}PCR0"),
        (f"{ATTESTATION}PCR[3]", f"{ATTESTATION}PCR3"),
        (f"{ATTESTATION}Pcr0Sha384", f"{ATTESTATION}PCR0"),
        (f"{ATTESTATION}NitroTPMPCR004", f"{ATTESTATION}NitroTPMPCR4"),
        (f"{ATTESTATION}ImageSha256", f"{ATTESTATION}ImageSha384"),
        (f"{ATTESTATION}ImageSha348", f"{ATTESTATION}ImageSha384"),
        (f"{ATTESTATION}Image", f"{ATTESTATION}ImageSha384"),
        ("kms:RecipientAttestationPCR8", f"{ATTESTATION}PCR8"),
        ("kms:RecipientAttestion:PCR0", f"{ATTESTATION}PCR0"),
        ("kms:PCR0", f"{ATTESTATION}PCR0"),
        ("aws:RecipientAttestation:PCR0", f"{ATTESTATION}PCR0"),
        ("kms:ImageSha384", f"{ATTESTATION}ImageSha384"),
        ("kms:ViaServices", "kms:ViaService"),
        ("kms:CallerAcount", "kms:CallerAccount"),
        ("kms:EncryptionContext", "kms:EncryptionContext:NAME"),
        ("kms:EncryptionContextKey", "kms:EncryptionContextKeys"),
        ("aws:SourceVPCEndpoint", "aws:SourceVpce"),
        ("aws:PrincipalTag", "aws:PrincipalTag/TAG"),
    ],
)
def test_wrong_key_has_a_nearest_one(name: str, nearest: str) -> None:
    assert is_wrong_key(name)
    assert nearest_key(name) == nearest


@pytest.mark.parametrize("index", [32, 99])
def test_pcr_that_no_enclave_has_is_wrong(index: int) -> None:
    assert is_wrong_key(f"{ATTESTATION}PCR{index}")
    assert nearest_key(f"{ATTESTATION}PCR{index}").startswith("kms:RecipientAttestation:")


def test_key_of_another_service_is_not_judged() -> None:
    assert not is_wrong_key("ec2:SourceInstanceARN")
    assert find_condition_key("ec2:SourceInstanceARN") is None
