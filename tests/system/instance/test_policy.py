"""``policy`` and ``policy explain`` as processes: KMS enforces what one prints, and the other explains denials."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nitro_simulator.account import ADMINISTRATOR_ROLE, ROLE, Enclave
from nitro_simulator.deployment import command_lines as commands
from nitro_simulator.deployment import processes
from nitro_simulator.kms.journal import OK
from tests.support.attestation.documents import ADMIN_ARN, POLICIES, ROLE_ARN, make_document, measurements
from tests.support.deployment.deployment import CONTEXT, CONTEXT_OPTIONS, Deployment, deploy

IMAGE = "kms:RecipientAttestation:ImageSha384"
FAILING = {
    "debug_zeros": (IMAGE, "which only enclaves in debug mode show"),
    "upper_case_under_string_equals": (IMAGE, "only the case differs"),
    "pcr8_of_an_unsigned_image": ("kms:RecipientAttestation:PCR8", "the image is not signed"),
    "another_image": (IMAGE, "another image"),
    "pcr1_as_the_image": (IMAGE, "the document's PCR1"),
    "misspelled_key": ("kms:RecipientAttestation:ImageSHA256", "KMS has no condition key"),
    "only_through_another_service": ("kms:ViaService", "never through another AWS service"),
    "denial_of_an_older_image": (IMAGE, "another image"),
}
"""For each policy, the condition that denies, and a part of the reason."""
MISMATCHES = {
    "another_role": ("Principal: does not name", "AnotherRole"),
    "another_action": ("Action: is not about kms:Decrypt", "kms:GenerateDataKey"),
}
GAPS = {
    "second_allow_without_attestation": ("statement 3 (LeftOverFromTesting)", "it has no condition on the attestation"),
    "account_root": ("statement 2 (EnableIamUserPermissions)", "IAM policies of account 111122223333"),
    "null_check_on_a_misspelled_key": ("Null kms:RecipientAttestation:ImageSha348", "KMS has no key of that name"),
    "if_exists": ("StringEqualsIgnoreCaseIfExists", "holds if the request has no such key"),
    "role_of_the_instance_only": ("from any enclave image", "hold for every image"),
}
"""Policies that allow more than the enclave, and parts of the warning."""


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("policy") / "document.cbor"
    path.write_bytes(make_document())
    return str(path)


def _run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return processes.run_instance(list(arguments), environment={}, stdin=stdin)


def _explain(name: str, document: str, *options: str) -> tuple[int, str, str]:
    path = str(POLICIES / f"{name}.json")
    done = _run("policy", "explain", "--policy", path, "--document", document, "--role", ROLE_ARN, *options)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def _write_policy(*options: str, pcrs: dict[int, bytes]) -> str:
    stdin = json.dumps(measurements(pcrs)).encode()
    done = _run("policy", "--measurements", "-", "--role", ROLE_ARN, "--admin", ADMIN_ARN, *options, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


def test_every_prepared_policy_has_its_case() -> None:
    assert {path.stem for path in POLICIES.glob("*.json")} == FAILING.keys() | MISMATCHES.keys() | GAPS.keys()


@pytest.mark.parametrize("name", FAILING)
def test_explain_names_the_condition_that_denies(name: str, document: str) -> None:
    key, why = FAILING[name]
    returncode, out, _ = _explain(name, document)
    lines = out.splitlines()
    at_fault = "holds" if name.startswith("denial") else "fails"
    places = [i for i, line in enumerate(lines) if line.startswith(f"  {at_fault}  ") and f" {key}:" in line]
    assert why in lines[places[-1] + 1]
    assert returncode == 5


@pytest.mark.parametrize("name", MISMATCHES)
def test_explain_names_the_principal_or_action_that_does_not_match(name: str, document: str) -> None:
    mismatch, named = MISMATCHES[name]
    returncode, out, _ = _explain(name, document, "--operation", "Decrypt")
    statement = out.partition("statement 2 (UseInTheEnclave), Allow: does not apply\n")[2].splitlines()
    assert mismatch in statement[0]
    assert named in statement[1]
    assert returncode == 5


@pytest.mark.parametrize("name", GAPS)
def test_explain_warns_about_ways_around_the_attestation(name: str, document: str) -> None:
    returncode, out, err = _explain(name, document)
    (warning,) = err.splitlines()
    assert warning.startswith("kmstool-instance: warning: ")
    assert all(part in warning for part in GAPS[name])
    assert "verdict    allow" in out
    assert returncode == 1


def test_explain_accepts_what_policy_prints(document: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(_write_policy(pcrs={0: bytes([0xA0]) * 48}))
    done = _run("policy", "explain", "--policy", str(path), "--document", document)
    assert (done.returncode, done.stderr) == (0, b"")
    debug = tmp_path / "debug.cbor"
    debug.write_bytes(make_document(debug=True))
    done = _run("--output", "json", "policy", "explain", "--policy", str(path), "--document", str(debug))
    explained = json.loads(done.stdout)
    assert (done.returncode, explained["Verdict"]) == (5, "explicit deny")
    assert any("debug mode" in str(condition["Why"]) for condition in explained["Statements"][1]["Conditions"])


def test_measurements_of_debug_mode_are_refused_with_a_hint() -> None:
    stdin = json.dumps(measurements({0: bytes(48), 1: bytes(48), 2: bytes(48)})).encode()
    done = _run("policy", "--measurements", "-", "--role", ROLE_ARN, "--admin", ADMIN_ARN, stdin=stdin)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"PCR0: all zeros, which is not a measurement\nhint: an enclave in debug mode shows zeros" in done.stderr


@pytest.fixture(scope="module")
def guarded() -> Iterator[Deployment]:
    """Start both enclaves, with a key whose policy was printed for the first."""
    with deploy() as started:
        _start_other(started, started.account.other_enclave)
        text = _write_policy(pcrs={0: started.account.enclave.pcr0})
        started.account.kms.call(
            "PutKeyPolicy",
            {"KeyId": started.account.key.key_id, "Policy": text},
            started.account.kms.identities.principal(ADMINISTRATOR_ROLE),
        )
        yield started


def _start_other(deployment: Deployment, enclave: Enclave) -> None:
    deployment.stack.enter_context(
        processes.running(
            commands.enclave_command(deployment.account, enclave, name="other"),
            listens_on=commands.enclave_address(deployment.account, "other"),
            log_file=deployment.account.directory / "other.log",
        )
    )


def test_printed_policy_lets_exactly_that_enclave_decrypt(guarded: Deployment) -> None:
    ciphertext = guarded.encrypt(b"for this enclave")
    right = guarded.instance(*CONTEXT_OPTIONS, ciphertext)
    assert (right.returncode, right.stdout) == (0, b"for this enclave\n")
    assert guarded.account.kms.journal.entries()[-1].verdict == OK
    wrong = guarded.instance(*CONTEXT_OPTIONS, ciphertext, enclave="other")
    assert (wrong.returncode, wrong.stdout) == (5, b"")
    assert b"AccessDeniedException" in wrong.stderr


@pytest.mark.parametrize("role", [ROLE, ADMINISTRATOR_ROLE, "SomebodyElse"])
def test_printed_policy_lets_nobody_decrypt_without_the_enclave(guarded: Deployment, role: str) -> None:
    account = guarded.account
    client = account.unattested_client(account.kms.identities.issue(role))
    blob = account.key.seal(b"secret", encryption_context=CONTEXT)
    with pytest.raises(client.exceptions.ClientError, match="AccessDeniedException"):
        client.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)
    client.close()


def test_printed_policy_lets_the_administrator_change_it_but_not_the_role(guarded: Deployment) -> None:
    account = guarded.account
    for role, is_allowed in ((ADMINISTRATOR_ROLE, True), (ROLE, False)):
        client = account.unattested_client(account.kms.identities.issue(role))
        if is_allowed:
            text = client.get_key_policy(KeyId=account.key.key_id)["Policy"]
            client.put_key_policy(KeyId=account.key.key_id, Policy=text)
        else:
            with pytest.raises(client.exceptions.ClientError, match="AccessDeniedException"):
                client.put_key_policy(KeyId=account.key.key_id, Policy=text)
        client.close()
