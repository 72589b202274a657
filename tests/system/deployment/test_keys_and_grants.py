"""Asymmetric keys, long plaintexts, dry runs and grants, as both programs send them to the simulated KMS."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.support.deployment.deployment import CONTEXT_OPTIONS, Deployment, deploy
from tests.support.deployment.refusals import Command, check_refusal, hint_for, run_both
from vsock_wire.protocol.kms_operations import DATA_KEY_HINT
from vsock_wire.protocol.refusals.row import Reason
from vsock_wire.protocol.vocabulary import Operation

RSA = ("--encryption-algorithm", "RSAES_OAEP_SHA_256")


@pytest.fixture(scope="module")
def shared() -> Iterator[Deployment]:
    with deploy() as started:
        yield started


@pytest.fixture(scope="module")
def rsa(shared: Deployment) -> tuple[str, str]:
    """Return the ARN of an RSA key that everybody may use, and a ciphertext of it."""
    anybody = {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": anybody})
    key = shared.account.kms.create_key(spec="RSA_2048", policy=policy)
    sealed = key.seal(b"the plaintext", algorithm=RSA[1], encryption_context={})
    return key.arn, b64encode(sealed).decode()


class TestAsymmetricKeys:
    def decrypting(self, ciphertext: str, *options: str) -> Command:
        return Command((ciphertext, *options), ("decrypt", "--ciphertext", ciphertext, *options))

    def test_both_options_together_decrypt(self, shared: Deployment, rsa: tuple[str, str]) -> None:
        key, ciphertext = rsa
        by_instance, by_enclave_cli = (
            done.stdout for _, done in run_both(shared, self.decrypting(ciphertext, "--key-id", key, *RSA))
        )
        assert by_instance == b"the plaintext\n"
        assert by_enclave_cli == b"PLAINTEXT: " + b64encode(b"the plaintext") + b"\n"

    @pytest.mark.parametrize(
        ("with_key", "code"), [(False, "InvalidCiphertextException"), (True, "InvalidKeyUsageException")]
    )
    def test_hint_names_both_options_if_one_or_both_are_missing(
        self, shared: Deployment, rsa: tuple[str, str], *, with_key: bool, code: str
    ) -> None:
        key, ciphertext = rsa
        for program, done in run_both(shared, self.decrypting(ciphertext, *(("--key-id", key) if with_key else ()))):
            hint = hint_for(code, None, Operation.DECRYPT)
            assert "--key-id and --encryption-algorithm RSAES_OAEP_SHA_256" in hint
            check_refusal(program, done, exit_code=1, code=code, hint=hint)

    def test_algorithm_without_a_key_is_refused_before_kms_is_asked(
        self, shared: Deployment, rsa: tuple[str, str]
    ) -> None:
        asked = len(shared.account.kms.journal.entries())
        for program, done in run_both(shared, self.decrypting(rsa[1], *RSA)):
            assert (done.returncode, done.stdout) == (2, b"")
            assert done.stderr.decode() == (
                f"{program}: error: --encryption-algorithm: an asymmetric algorithm needs --key-id\n"
                "hint: pass --key-id with the asymmetric key: its ciphertexts do not name it\n"
            )
        assert len(shared.account.kms.journal.entries()) == asked

    @pytest.mark.parametrize(("size", "exit_code"), [(190, 0), (191, 1)])
    def test_plaintext_that_is_too_long_for_an_rsa_key_has_a_hint_about_data_keys(
        self, shared: Deployment, rsa: tuple[str, str], size: int, exit_code: int
    ) -> None:
        arguments = ("encrypt", "--key-id", rsa[0], *RSA)
        for program, done in run_both(shared, Command(arguments, arguments, bytes(size))):
            if exit_code == 0:
                assert done.returncode == 0
                continue
            hint = hint_for("ValidationException", Reason.PARAMETER, Operation.ENCRYPT)
            assert "generate a data key with genkey" in hint
            check_refusal(program, done, exit_code=1, code="ValidationException", hint=hint)


def test_plaintext_of_5000_bytes_is_refused_before_kms_is_asked_with_a_hint_about_data_keys(shared: Deployment) -> None:
    asked = len(shared.account.kms.journal.entries())
    arguments = ("encrypt", "--key-id", shared.account.key.arn)
    for program, done in run_both(shared, Command(arguments, arguments, bytes(5_000))):
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.decode() == (
            f"{program}: error: standard input: longer than 4096 bytes, the most that KMS encrypts\n"
            f"hint: {DATA_KEY_HINT}\n"
        )
    assert len(shared.account.kms.journal.entries()) == asked


def test_dry_run_asks_kms_and_gives_nothing(shared: Deployment) -> None:
    ciphertext = shared.encrypt(b"x")
    command = Command(
        (*CONTEXT_OPTIONS, "--dry-run", ciphertext),
        ("decrypt", "--ciphertext", ciphertext, *CONTEXT_OPTIONS, "--dry-run"),
    )
    for program, done in run_both(shared, command):
        assert (done.returncode, done.stdout) == (0, b"")
        assert done.stderr.decode() == f"{program}: dry run: KMS would perform Decrypt\n"
        assert shared.account.kms.journal.entries()[-1].verdict == "DryRunOperationException"


def test_token_of_a_new_grant_lets_a_caller_in_whom_no_policy_allows(
    shared: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = {"Effect": "Allow", "Principal": "*", "Action": "kms:DescribeKey", "Resource": "*"}
    kms = shared.account.kms
    monkeypatch.setattr(kms, "grant_delay", timedelta(minutes=5))
    key = kms.create_key(policy=json.dumps({"Version": "2012-10-17", "Statement": policy}))
    token = kms.create_grant(key, grantee=shared.account.role_arn, operations=["Decrypt"])
    ciphertext = b64encode(key.seal(b"the plaintext", encryption_context={})).decode()
    hint = hint_for("AccessDeniedException", Reason.NO_RESOURCE_POLICY_ALLOWS, Operation.DECRYPT)
    for program, done in run_both(shared, Command((ciphertext,), ("decrypt", "--ciphertext", ciphertext))):
        check_refusal(program, done, exit_code=5, code="AccessDeniedException", hint=hint)
    options = (ciphertext, "--grant-token", token)
    examined = shared.instance("doctor", "--ciphertext", *options)
    assert (examined.returncode, b"NOT OK" in examined.stdout) == (0, False), examined.stdout
    by_instance, by_enclave_cli = (
        done.stdout for _, done in run_both(shared, Command(options, ("decrypt", "--ciphertext", *options)))
    )
    assert by_instance == b"the plaintext\n"
    assert by_enclave_cli == b"PLAINTEXT: " + b64encode(b"the plaintext") + b"\n"
