"""--explain with every operation and real processes: what it prints, and that it changes nothing else."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from nitro_simulator.deployment import processes
from tests.support.deployment.deployment import CONTEXT_OPTIONS, Deployment, deploy
from tests.support.enclave.scripted_enclave import Peer, ScriptedEnclave

PLAINTEXT = b"p1aintext-that-explains-itself"
TITLE = "trace of {}"
ATTESTED_STEPS = [
    "Nitro Security Module -> enclave: attestation document",
    "enclave -> KMS: TLSv1.3 through unix:",
    "enclave <-> KMS: ",
    "enclave: opened CiphertextForRecipient",
    "enclave -> this instance: reply to ",
    "this instance -> standard output: ",
]
Arguments = Callable[[Deployment], list[str]]


@pytest.fixture(scope="module")
def shared() -> Iterator[Deployment]:
    with deploy() as started:
        yield started


def _derive(deployment: Deployment) -> list[str]:
    policy = json.loads(deployment.account.key.policy_text)
    policy["Statement"][2]["Action"].append("kms:DeriveSharedSecret")
    key = deployment.account.kms.create_key(spec="ECC_NIST_P256", policy=json.dumps(policy))
    file = deployment.account.directory / "peer.der"
    peer = ec.generate_private_key(ec.SECP256R1()).public_key()
    file.write_bytes(peer.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return ["derive", "--key-id", key.arn, "--public-key", str(file)]


OPERATIONS: dict[str, Arguments] = {
    "Decrypt": lambda deployment: [*CONTEXT_OPTIONS, deployment.encrypt(PLAINTEXT)],
    "GenerateDataKey": lambda deployment: ["genkey", "--key-id", deployment.account.key.arn],
    "GenerateDataKeyPair": lambda deployment: [
        "genkeypair", "--key-pair-spec", "ECC_NIST_P256", "--key-id", deployment.account.key.arn,
    ],
    "DeriveSharedSecret": _derive,
}  # fmt: skip


def _steps(stderr: bytes) -> list[str]:
    """Return the headings without marks and milliseconds; they must be numbered from 1 without gaps."""
    found = re.findall(r"^ ?(\d+)[* ] (.*?)(?: +[\d.,]+ ms)?$", stderr.decode(), re.MULTILINE)
    assert [int(number) for number, _ in found] == list(range(1, len(found) + 1))
    return [heading for _, heading in found]


def _has_steps(done: subprocess.CompletedProcess[bytes], expected: list[str]) -> None:
    """Fail unless the last headings start with ``expected``, in this order."""
    headings = _steps(done.stderr)[-len(expected) :]
    assert [heading[: len(start)] for heading, start in zip(headings, expected, strict=True)] == expected


@pytest.mark.parametrize("operation", OPERATIONS)
def test_attested_operation_is_explained_step_by_step(shared: Deployment, operation: str) -> None:
    done = shared.instance("--explain", *OPERATIONS[operation](shared))
    assert done.returncode == 0, done.stderr
    assert done.stdout
    text = done.stderr.decode()
    assert text.startswith(TITLE.format(operation))
    _has_steps(done, ATTESTED_STEPS)
    assert f"standard output: {len(done.stdout):,} bytes" in text
    (in_document,) = re.findall(r"public key in the document: SHA-256\s+([0-9a-f]{64})", text)
    (opened_by,) = re.findall(r"private key used: SHA-256\s+([0-9a-f]{64})\s+= the public key in the document", text)
    assert in_document == opened_by == json.loads(shared.instance("describe", region=False).stdout)["RecipientKeyId"]


def test_explain_changes_nothing_but_standard_error(shared: Deployment) -> None:
    arguments = [*CONTEXT_OPTIONS, shared.encrypt(PLAINTEXT)]
    silent, telling = shared.instance(*arguments), shared.instance(*arguments, "--explain")
    assert (silent.returncode, silent.stdout, silent.stderr) == (0, PLAINTEXT + b"\n", b"")
    assert (telling.returncode, telling.stdout) == (0, PLAINTEXT + b"\n")
    assert PLAINTEXT not in telling.stderr


def test_encrypt_is_explained_without_attestation(shared: Deployment) -> None:
    done = shared.instance("--explain", "--key-id", shared.account.key.arn, "encrypt", stdin=b"x")
    assert done.returncode == 0
    assert b"the response to Encrypt, which KMS does not encrypt for the enclave" in done.stderr
    assert b"attestation document," not in done.stderr


def test_attest_and_describe_are_explained_too(shared: Deployment) -> None:
    root = str(shared.account.attestation_root_file)
    attested = shared.instance("--explain", "attest", "--root", root, region=False)
    assert attested.returncode == 0, attested.stderr
    _has_steps(attested, [ATTESTED_STEPS[0], "enclave -> this instance: reply to GetAttestationDocument"])
    described = shared.instance("--explain", "describe", region=False)
    assert json.loads(described.stdout)["Protocol"] == 2
    assert "Evidence" not in json.loads(described.stdout)
    _has_steps(described, ["this instance -> enclave: Describe", "enclave -> this instance: reply to Describe"])


class TestFailures:
    def test_denial_by_kms_is_explained_before_the_error(self, shared: Deployment) -> None:
        shared.start_enclave("other", "--nsm", str(shared.account.other_enclave.nsm_address))
        done = shared.instance("--explain", *CONTEXT_OPTIONS, shared.encrypt(PLAINTEXT), enclave="other")
        assert (done.returncode, done.stdout) == (5, b"")
        _has_steps(done, [*ATTESTED_STEPS[:3], "enclave -> this instance: error reply to Decrypt"])
        text = done.stderr.decode()
        assert shared.account.other_enclave.pcr0.hex() in text
        assert "carried: an error" in text
        assert text.index("error reply to Decrypt") < text.index("kmstool-instance: error: ")

    def test_plaintext_from_kms_is_never_called_a_ciphertext_for_recipient(self, shared: Deployment) -> None:
        shared.account.kms.rewrite_answer = lambda _, answer: {**answer, "Plaintext": "bGVha2Vk"}
        try:
            done = shared.instance("--explain", *CONTEXT_OPTIONS, shared.encrypt(PLAINTEXT))
        finally:
            shared.account.kms.rewrite_answer = None
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"carried: a response that the enclave did not accept" in done.stderr

    def test_without_a_proxy_the_document_is_the_enclaves_last_step(self, shared: Deployment) -> None:
        shared.start_enclave("no-proxy", proxy_name="nobody")
        done = shared.instance("--explain", *CONTEXT_OPTIONS, shared.encrypt(PLAINTEXT), enclave="no-proxy")
        assert (done.returncode, done.stdout) == (3, b"")
        _has_steps(done, [ATTESTED_STEPS[0], "enclave -> this instance: error reply to Decrypt"])

    def test_without_an_enclave_only_the_error_is_printed(self, shared: Deployment) -> None:
        done = shared.instance("--explain", shared.encrypt(PLAINTEXT), enclave="nobody")
        assert (done.returncode, done.stdout) == (3, b"")
        assert _steps(done.stderr) == []
        assert b"kmstool-instance: error: connect to unix:" in done.stderr


def test_serve_passes_on_the_steps_of_a_success_and_of_an_error(shared: Deployment) -> None:
    shared.start_serve()
    good = shared.instance(
        "--explain", *CONTEXT_OPTIONS, shared.encrypt(PLAINTEXT), enclave="serve", region=False, environment={}
    )
    assert (good.returncode, good.stdout) == (0, PLAINTEXT + b"\n")
    _has_steps(good, ATTESTED_STEPS)
    refused = shared.instance("--explain", shared.encrypt(PLAINTEXT), enclave="serve", region=False, environment={})
    assert (refused.returncode, refused.stdout) == (1, b"")
    _has_steps(refused, [ATTESTED_STEPS[2], "enclave -> this instance: error reply to Decrypt"])


def test_explain_says_that_kmstool_in_c_reports_no_steps(shared: Deployment) -> None:
    def converse(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            is_known = request["Operation"] in ("SetClient", "Decrypt")
            message = {"Message": "SGVsbG8="} if request["Operation"] == "Decrypt" else {}
            peer.send({"Status": "Ok", **message} if is_known else {"Status": "Error"})

    folder = shared.account.directory / "c"
    folder.mkdir()
    with ScriptedEnclave(folder, converse) as enclave:
        done = processes.run_instance(
            ["--enclave", str(enclave.address), "--explain", "AQID"], environment=shared.account.imds_environment
        )
    assert (done.returncode, done.stdout) == (0, b"Hello\n")
    assert b"The enclave reported no steps of its own; kmstool in C never does." in done.stderr


@pytest.mark.parametrize(
    ("options", "fate", "result"),
    [
        (["--deliver", "digest"], b"stayed in the enclave; Digest", hashlib.sha256(PLAINTEXT).hexdigest().encode()),
        (["--deliver", "exec", "--deliver-exec", "/usr/bin/wc", "--", "-c"], b"went to a program", b"30\n"),
    ],
)
def test_secret_that_stays_inside_is_explained_and_never_shown(
    shared: Deployment, options: list[str], fate: bytes, result: bytes
) -> None:
    name = options[1]
    shared.start_enclave(name, *options)
    done = shared.instance("--explain", *CONTEXT_OPTIONS, "-n", shared.encrypt(PLAINTEXT), enclave=name)
    assert (done.returncode, done.stdout) == (0, result)
    assert fate in b" ".join(done.stderr.split())
    assert PLAINTEXT not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--explain", "--batch"], b"--explain cannot be used with --batch: it explains a single call"),
        (["--explain", "serve", "--socket", "/nowhere"], b"error: serve: no such option '--explain'"),
        (["--explain", "genrandom", "--length", "16"], b"error: genrandom: no such option '--explain'"),
        (["genrandom", "--length", "16", "--explain"], b"error: genrandom: no such option '--explain'"),
    ],
)
def test_explain_is_refused_where_there_is_no_single_call(
    shared: Deployment, arguments: list[str], words: bytes
) -> None:
    done = shared.instance(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert words in done.stderr
