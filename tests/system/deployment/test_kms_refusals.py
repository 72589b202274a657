"""What users of both programs meet when the simulated KMS refuses: KMS's text, one hint, and the exit code.

tests/docs/test_kms_refusals.py makes the whole table, for every operation and reason, in one process.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nitro_simulator.kms.access.policies import AccountPolicies
from tests.support.deployment.deployment import CONTEXT_OPTIONS, Deployment, deploy
from tests.support.deployment.refusals import Command, Done, check_refusal, hint_for, run_both
from tools.reference.refusal_page import WORDS
from vsock_wire.protocol.kms_operations import KMS_OPERATIONS
from vsock_wire.protocol.refusals.row import Reason
from vsock_wire.protocol.vocabulary import Operation


@pytest.fixture(scope="module")
def shared() -> Iterator[Deployment]:
    with deploy() as started:
        yield started


@pytest.fixture(autouse=True)
def _refuses_nothing_afterwards(shared: Deployment) -> Iterator[None]:
    yield
    shared.account.kms.stop_failing()
    policies = shared.account.kms.policies
    policies.put_identity_policy(shared.account.role_arn, None)
    policies.put_service_control_policy(None)
    policies.put_vpc_endpoint_policy(None)
    policies.names_policies = False


def command_for(shared: Deployment, operation: Operation) -> Command:
    key = ("--key-id", shared.account.key.arn)
    peer = shared.account.directory / "peer.der"
    peer.write_bytes(b"\x30\x00")
    decrypt = (shared.encrypt(b"x"), *CONTEXT_OPTIONS)
    pair = ("genkeypair", *key, "--key-pair-spec", "ECC_NIST_P256")
    commands: dict[Operation, Command] = {
        Operation.DECRYPT: Command(decrypt, ("decrypt", "--ciphertext", *decrypt)),
        Operation.ENCRYPT: Command(("encrypt", *key), ("encrypt", *key), b"x"),
        Operation.GENERATE_DATA_KEY: Command(("genkey", *key), ("genkey", *key, "--key-spec", "AES-256")),
        Operation.GENERATE_DATA_KEY_PAIR: Command(pair, pair),
        Operation.GENERATE_RANDOM: Command(("genrandom", "--length", "8"), ("genrandom", "--length", "8")),
        Operation.DERIVE_SHARED_SECRET: Command(
            ("derive", *key, "--public-key", str(peer)),
            ("derive", *key, "--public-key", b64encode(peer.read_bytes()).decode()),
        ),
    }  # fmt: skip
    return commands[operation]


CODES = {
    "AccessDeniedException": (Operation.DECRYPT, 5),
    "CustomKeyStoreInvalidStateException": (Operation.GENERATE_RANDOM, 1),
    "CustomKeyStoreNotFoundException": (Operation.GENERATE_RANDOM, 1),
    "DependencyTimeoutException": (Operation.GENERATE_DATA_KEY, 1),
    "DisabledException": (Operation.GENERATE_DATA_KEY_PAIR, 1),
    "DryRunOperationException": (Operation.ENCRYPT, 1),
    "ExpiredTokenException": (Operation.DECRYPT, 5),
    "IncompleteSignatureException": (Operation.DECRYPT, 5),
    "IncorrectKeyException": (Operation.DECRYPT, 1),
    "InternalFailure": (Operation.DERIVE_SHARED_SECRET, 1),
    "InvalidCiphertextException": (Operation.DECRYPT, 1),
    "InvalidGrantTokenException": (Operation.ENCRYPT, 1),
    "InvalidKeyUsageException": (Operation.DERIVE_SHARED_SECRET, 1),
    "InvalidSignatureException": (Operation.GENERATE_RANDOM, 5),
    "KMSInternalException": (Operation.DECRYPT, 1),
    "KMSInvalidStateException": (Operation.DECRYPT, 1),
    "KeyUnavailableException": (Operation.DECRYPT, 1),
    "MissingAuthenticationTokenException": (Operation.DECRYPT, 5),
    "NotFoundException": (Operation.GENERATE_DATA_KEY, 1),
    "OptInRequired": (Operation.DECRYPT, 5),
    "RequestExpired": (Operation.DECRYPT, 5),
    "RequestTimeoutException": (Operation.DECRYPT, 1),
    "ServiceUnavailableException": (Operation.DECRYPT, 1),
    "ThrottlingException": (Operation.DECRYPT, 1),
    "UnrecognizedClientException": (Operation.DECRYPT, 5),
    "UnsupportedOperationException": (Operation.GENERATE_DATA_KEY_PAIR, 1),
    "ValidationException": (Operation.DECRYPT, 5),
}
"""Every error that KMS documents, an operation that has it, and the exit code."""


RETRIED = {
    "DependencyTimeoutException",
    "InternalFailure",
    "KMSInternalException",
    "KeyUnavailableException",
    "RequestTimeoutException",
    "ServiceUnavailableException",
    "ThrottlingException",
}
"""What another attempt may resolve, by botocore's standard rules."""


class TestPlannedErrors:
    @pytest.mark.parametrize("code", CODES)
    def test_both_programs_give_the_same_exit_code_and_hint(self, shared: Deployment, code: str) -> None:
        operation, exit_code = CODES[code]
        reason = Reason.CLOCK if code == "RequestExpired" else None
        texts = set()
        for program, done in self._refused(shared, code, operation):
            check_refusal(program, done, exit_code=exit_code, code=code, hint=hint_for(code, reason, operation))
            error = done.stderr.decode().replace(program, "PROGRAM").partition("\nhint: ")[0]
            texts.add(re.sub(r"request id [\w-]+", "request id ...", error))
        (text,) = texts
        assert ("after 3 attempts" in text) is (code in RETRIED)

    def test_documented_errors_of_every_operation_are_among_them(self, shared: Deployment) -> None:
        client = shared.account.unattested_client()
        model = client.meta.service_model
        documented = {shape.name for name in KMS_OPERATIONS for shape in model.operation_model(name).error_shapes}
        assert len(documented) >= 14
        assert documented - CODES.keys() == set()

    @pytest.mark.parametrize("operation", KMS_OPERATIONS)
    def test_every_operation_has_its_own_hint(self, shared: Deployment, operation: Operation) -> None:
        code = "ValidationException"
        message = "1 validation error detected: Value 'x' at 'keyId' failed to satisfy constraint: x"
        for program, done in self._refused(shared, code, operation, message=message):
            check_refusal(program, done, exit_code=1, code=code, hint=hint_for(code, Reason.PARAMETER, operation))

    @staticmethod
    def _refused(shared: Deployment, code: str, operation: Operation, **options: str) -> Iterator[tuple[str, Done]]:
        """Run both programs while KMS fails every attempt at the operation."""
        shared.account.kms.fail(code, operation=operation, count=100, **options)
        yield from run_both(shared, command_for(shared, operation))


def _policy(effect: str, **more: object) -> str:
    statement = {"Effect": effect, "Action": "kms:*", "Resource": "*", **more}
    allow = {"Effect": "Allow", "Action": "kms:*", "Resource": "*", **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [allow, statement]})


NOTHING = json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}})
NOTHING_OF_ANYBODY = json.dumps(
    {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "*"}}
)
DENY = _policy("Deny")
DENY_ANYBODY = _policy("Deny", Principal="*")
POLICIES: dict[Reason, Callable[[AccountPolicies, str], None]] = {
    Reason.NO_IDENTITY_POLICY_ALLOWS: lambda policies, role: policies.put_identity_policy(role, NOTHING),
    Reason.DENY_IN_IDENTITY_POLICY: lambda policies, role: policies.put_identity_policy(role, DENY),
    Reason.NO_SERVICE_CONTROL_POLICY_ALLOWS: lambda policies, _: policies.put_service_control_policy(NOTHING),
    Reason.DENY_IN_SERVICE_CONTROL_POLICY: lambda policies, _: policies.put_service_control_policy(DENY),
    Reason.NO_VPC_ENDPOINT_POLICY_ALLOWS: lambda policies, _: policies.put_vpc_endpoint_policy(NOTHING_OF_ANYBODY),
    Reason.DENY_IN_VPC_ENDPOINT_POLICY: lambda policies, _: policies.put_vpc_endpoint_policy(DENY_ANYBODY),
}


class TestAccess:
    @pytest.mark.parametrize("names_policies", [False, True])
    @pytest.mark.parametrize("reason", POLICIES)
    def test_policy_of_each_kind_has_its_hint(
        self, shared: Deployment, reason: Reason, *, names_policies: bool
    ) -> None:
        shared.account.kms.policies.names_policies = names_policies
        POLICIES[reason](shared.account.kms.policies, shared.account.role_arn)
        self._check(shared, command_for(shared, Operation.GENERATE_RANDOM), reason, Operation.GENERATE_RANDOM)

    @pytest.mark.parametrize(
        ("statement", "reason"),
        [
            ({"Effect": "Allow", "Action": "kms:DescribeKey"}, Reason.NO_RESOURCE_POLICY_ALLOWS),
            ({"Effect": "Deny", "Action": "kms:*"}, Reason.DENY_IN_RESOURCE_POLICY),
        ],
    )
    @pytest.mark.parametrize("operation", [Operation.DECRYPT, Operation.ENCRYPT])
    def test_key_policy_has_its_hint(
        self, shared: Deployment, statement: dict[str, Any], reason: Reason, operation: Operation
    ) -> None:
        policy = {"Version": "2012-10-17", "Statement": {"Principal": "*", "Resource": "*", **statement}}
        key = shared.account.kms.create_key(policy=json.dumps(policy))
        ciphertext = b64encode(key.seal(b"x", encryption_context={})).decode()
        named = ("--key-id", key.arn)
        command = {
            Operation.DECRYPT: Command((ciphertext, *named), ("decrypt", "--ciphertext", ciphertext, *named)),
            Operation.ENCRYPT: Command(("encrypt", *named), ("encrypt", *named), b"x"),
        }[operation]
        self._check(shared, command, reason, operation)

    @pytest.mark.parametrize("reason", WORDS)
    def test_every_text_that_aws_documents_has_its_hint(self, shared: Deployment, reason: Reason) -> None:
        code, words = "AccessDeniedException", WORDS[reason].replace("...", "kms:Decrypt")
        text = (
            f"User: arn:aws:iam::111122223333:user/x is not authorized to perform: kms:Decrypt on resource: k {words}"
        )
        shared.account.kms.fail(code, operation="Decrypt", message=text)
        done = shared.instance(*command_for(shared, Operation.DECRYPT).instance)
        check_refusal("kmstool-instance", done, exit_code=5, code=code, hint=hint_for(code, reason, Operation.DECRYPT))

    @staticmethod
    def _check(shared: Deployment, command: Command, reason: Reason, operation: Operation) -> None:
        code = "AccessDeniedException"
        for program, done in run_both(shared, command):
            check_refusal(program, done, exit_code=5, code=code, hint=hint_for(code, reason, operation))

    def test_ciphertext_of_a_key_that_does_not_exist_here_has_the_hint_about_the_region(
        self, shared: Deployment
    ) -> None:
        with deploy(start=False) as elsewhere:
            ciphertext = elsewhere.encrypt(b"x")
        command = Command((ciphertext,), ("decrypt", "--ciphertext", ciphertext))
        self._check(shared, command, Reason.KEY_NOT_FOUND, Operation.DECRYPT)


class TestDocument:
    def test_document_that_kms_does_not_accept_exits_as_refused(self, shared: Deployment) -> None:
        """The document of an enclave whose root is another than the one that this KMS trusts."""
        hint = hint_for("ValidationException", Reason.ATTESTATION_DOCUMENT, Operation.DECRYPT)
        ciphertext = shared.encrypt(b"x")
        with deploy(start=False) as elsewhere:
            foreign = elsewhere.account.enclave
            shared.start_enclave("foreign", "--nsm", str(foreign.nsm_address))
            done = shared.instance(*CONTEXT_OPTIONS, ciphertext, enclave="foreign")
            check_refusal("kmstool-instance", done, exit_code=5, code="ValidationException", hint=hint)
            done = shared.enclave_cli("decrypt", "--ciphertext", ciphertext, *CONTEXT_OPTIONS, enclave=foreign)
            check_refusal("kmstool-enclave-cli", done, exit_code=5, code="ValidationException", hint=hint)


class TestOtherFronts:
    """A batch, a trace, errors in JSON, the local service and doctor use the same table."""

    HINT = hint_for("AccessDeniedException", Reason.DENY_IN_IDENTITY_POLICY, Operation.DECRYPT)

    @pytest.fixture(autouse=True)
    def _denied(self, shared: Deployment, _refuses_nothing_afterwards: None) -> None:
        shared.account.kms.policies.put_identity_policy(shared.account.role_arn, DENY)

    def test_failed_line_of_a_batch_has_the_hint(self, shared: Deployment) -> None:
        ciphertext = shared.encrypt(b"x").encode()
        done = shared.instance("--batch", *CONTEXT_OPTIONS, stdin=ciphertext + b"\n")
        assert done.returncode == 1
        assert f"hint: {self.HINT}\n" in done.stderr.decode()

    def test_traced_call_ends_with_the_hint(self, shared: Deployment) -> None:
        done = shared.instance("--explain", *CONTEXT_OPTIONS, shared.encrypt(b"x"))
        assert done.returncode == 5
        assert done.stderr.decode().endswith(f"\nhint: {self.HINT}\n")

    def test_error_in_json_has_hint_reason_and_exit_code(self, shared: Deployment) -> None:
        done = shared.instance("--output", "json", *CONTEXT_OPTIONS, shared.encrypt(b"x"))
        fields = json.loads(done.stderr)
        assert (done.returncode, fields["ExitCode"], fields["Code"]) == (5, 5, "AccessDeniedException")
        assert (fields["Reason"], fields["Hint"]) == ("DenyInIdentityPolicy", self.HINT)

    def test_client_of_the_local_service_gets_the_same_exit_code_and_hint(self, shared: Deployment) -> None:
        shared.start_serve("refused-serve")
        done = shared.instance(*CONTEXT_OPTIONS, shared.encrypt(b"x"), enclave="refused-serve", region=False)
        check_refusal("kmstool-instance", done, exit_code=5, code="AccessDeniedException", hint=self.HINT)

    def test_doctor_shows_the_hint_of_the_reason(self, shared: Deployment) -> None:
        done = shared.instance("doctor", *CONTEXT_OPTIONS, "--ciphertext", shared.encrypt(b"x"))
        assert done.returncode == 1
        assert f"-> {self.HINT}\n" in done.stdout.decode()
