"""The table of failures in docs/how-to/troubleshoot.md, row by row against the real programs."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nitro_simulator.deployment import command_lines as commands
from nitro_simulator.deployment import processes
from nitro_simulator.imds import ImdsMode
from nitro_simulator.kms.server import KmsServer
from nitro_simulator.pki.tls import TlsAuthority
from tests.support.deployment.deployment import CONTEXT_OPTIONS, Deployment, credential_variables, deploy
from tests.support.deployment.raw_client import RawClient
from vsock_wire.protocol.json_codec import JsonObject, encode_base64

PAGE = Path(__file__).parents[3] / "docs/how-to/troubleshoot.md"
Done = subprocess.CompletedProcess[bytes]


@dataclass(frozen=True)
class Row:
    situation: str
    exit_code: int
    message: str
    hint: str


def rows_of_the_page() -> list[Row]:
    """Read the page's first table."""
    section = PAGE.read_text("utf-8").partition("\n| situation |")[2].partition("\n\n")[0]
    section = f"| situation |{section}"
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return [Row(name, int(code), message.strip("`"), hint.strip("`")) for name, code, message, hint in cells[2:]]


ROWS = {row.situation: row for row in rows_of_the_page()}
SITUATIONS: dict[str, Callable[[Deployment], Done]] = {}


def situation(name: str) -> Callable[[Callable[[Deployment], Done]], Callable[[Deployment], Done]]:
    def register(function: Callable[[Deployment], Done]) -> Callable[[Deployment], Done]:
        SITUATIONS[name] = function
        return function

    return register


@pytest.fixture(scope="module")
def shared() -> Iterator[Deployment]:
    with deploy() as started:
        yield started


@pytest.mark.parametrize("name", ROWS)
def test_page_says_what_happens(shared: Deployment, name: str) -> None:
    row = ROWS[name]
    done = SITUATIONS[name](shared)
    stderr = done.stderr.decode()
    assert done.returncode == row.exit_code, stderr
    if row.exit_code == 0:
        assert (done.stdout, stderr) == (b"the plaintext\n", "")
        return
    assert done.stdout == b""
    lines = [line for line in stderr.splitlines() if re.match(r"[a-z-]+: error: |hint: ", line)]
    expected = [f"PROGRAM: error: {row.message}"] if row.message else []
    expected += [f"hint: {row.hint}"] if row.hint else []
    assert len(lines) == len(expected), stderr
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(_as_regex(pattern), line), f"{line!r} is not {pattern!r}"


def test_rows_and_situations_match() -> None:
    assert set(ROWS) == set(SITUATIONS)
    assert len(ROWS) >= 20


def _as_regex(text: str) -> str:
    """Return a pattern in which ``...`` matches text that differs between runs."""
    return re.escape(text).replace(r"\.\.\.", ".*").replace("PROGRAM", "kmstool-(instance|enclave)")


def _decrypt(shared: Deployment, *options: str, enclave: str = "enclave") -> Done:
    return shared.instance(*CONTEXT_OPTIONS, *options, shared.encrypt(b"the plaintext"), enclave=enclave)


def _only_client(shared: Deployment, name: str) -> RawClient:
    """Return the only connection that the server accepts, once the one that checked for readiness is closed."""
    for _ in range(1_000):
        client = shared.connect(name)
        if client.ask(b'{"Operation":"Describe"}')["Status"] == "Ok":
            return client
        client.sock.close()
    raise AssertionError("the server accepts no connection")


def _with_imds_mode(shared: Deployment, mode: ImdsMode) -> Done:
    with shared.imds_mode(mode):
        return _decrypt(shared)


def _with_answer(
    shared: Deployment, rewrite: Callable[[str, JsonObject], JsonObject], *, enclave: str = "enclave"
) -> Done:
    shared.account.kms.rewrite_answer = rewrite
    try:
        return _decrypt(shared, enclave=enclave)
    finally:
        shared.account.kms.rewrite_answer = None


def _with_certificate(shared: Deployment, name: str, authority: TlsAuthority, host: str) -> Done:
    with shared.enclave_before_kms_with(name, authority, host):
        return _decrypt(shared, enclave=name)


@situation("success")
def _(shared: Deployment) -> Done:
    return _decrypt(shared)


@situation("a ciphertext of 6,144 bytes, the most KMS takes")
def _(shared: Deployment) -> Done:
    blob = shared.account.key.seal(b"the plaintext", encryption_context={}, blob_bytes=6_144)
    return shared.instance("-", stdin=encode_base64(blob).encode())


@situation("no ciphertext given")
def _(shared: Deployment) -> Done:
    return shared.instance()


@situation("no `--cid`")
def _(shared: Deployment) -> Done:
    return processes.run_instance(["QUFB"], environment=shared.account.imds_environment)


@situation("bad base64")
def _(shared: Deployment) -> Done:
    return shared.instance("not/base64!")


@situation("empty standard input")
def _(shared: Deployment) -> Done:
    return shared.instance("-", stdin=b"\n")


@situation("a ciphertext of more than 6,144 bytes")
def _(shared: Deployment) -> Done:
    return shared.instance("-", stdin=encode_base64(bytes(6_145)).encode())


@situation("65 KiB of base64 text")
def _(shared: Deployment) -> Done:
    return shared.instance("-", stdin=b"A" * 66_560)


@situation("an `--encryption-context` without `=`")
def _(shared: Deployment) -> Done:
    return shared.instance("--encryption-context", "purpose", "QUFB")


@situation("no enclave")
def _(shared: Deployment) -> Done:
    return shared.instance("QUFB", enclave="nobody")


@situation("no proxy on the parent")
def _(shared: Deployment) -> Done:
    shared.start_enclave("no-proxy", proxy_name="nobody")
    return _decrypt(shared, enclave="no-proxy")


@situation("the proxy cannot reach KMS")
def _(shared: Deployment) -> Done:
    with KmsServer(shared.account.kms, tls=shared.account.tls.server_certificate("x")) as gone:
        port = gone.port
    shared.start_proxy("blind", kms_port=port)
    shared.start_enclave("of-blind", proxy_name="blind")
    return _decrypt(shared, enclave="of-blind")


@situation("`kmstool-enclave` starts without a Nitro Security Module")
def _(_: Deployment) -> Done:
    return subprocess.run(
        [processes.tool_path("kmstool-enclave"), "--nsm", "/dev/no-such-nsm"],
        capture_output=True,
        env=processes.clean_environment({}),
        check=False,
    )


@situation("no role on the instance")
def _(shared: Deployment) -> Done:
    return _with_imds_mode(shared, ImdsMode.NO_ROLE)


@situation("IMDS does not respond")
def _(shared: Deployment) -> Done:
    return _with_imds_mode(shared, ImdsMode.SILENT)


@situation("half of the credentials in the environment")
def _(shared: Deployment) -> Done:
    return shared.instance("QUFB", environment={"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE"})


@situation("expired credentials")
def _(shared: Deployment) -> Done:
    expired = shared.account.issue_credentials(lifetime_s=-1)
    return shared.instance(shared.encrypt(b"x"), environment=credential_variables(expired))


@situation("the key policy does not allow this enclave")
def _(shared: Deployment) -> Done:
    arguments = commands.enclave_command(shared.account, shared.account.other_enclave, name="other")
    log_file = shared.account.directory / "other.log"
    address = commands.enclave_address(shared.account, "other")
    with processes.running(arguments, listens_on=address, log_file=log_file):
        return _decrypt(shared, enclave="other")


@situation("an encryption context that differs from the one used to encrypt")
def _(shared: Deployment) -> Done:
    return shared.instance("--encryption-context", "purpose=other", shared.encrypt(b"x"))


@situation("both sides set a region")
def _(shared: Deployment) -> Done:
    shared.start_enclave("regional", "--region", shared.account.region)
    return _decrypt(shared, enclave="regional")


@situation("more clients than `--max-connections`")
def _(shared: Deployment) -> Done:
    shared.start_enclave("crowded", "--max-connections", "1")
    with _only_client(shared, "crowded"):
        return _decrypt(shared, enclave="crowded")


@situation("KMS, or a server in its place, responds with `Plaintext`")
def _(shared: Deployment) -> Done:
    return _with_answer(shared, lambda _, answer: {**answer, "Plaintext": "bGVha2Vk"})


@situation("KMS encrypts to a key that is not the enclave's")
def _(shared: Deployment) -> Done:
    shared.start_enclave("donor")
    answers: list[JsonObject] = []

    def keep(_operation: str, answer: JsonObject) -> JsonObject:
        answers.append(answer)
        return answer

    _with_answer(shared, keep)
    return _with_answer(shared, lambda *_: answers[0], enclave="donor")


@situation("KMS's CiphertextForRecipient is damaged")
def _(shared: Deployment) -> Done:
    damaged = "MIAGCSqGSIb3DQEHA6CA"
    return _with_answer(shared, lambda _, answer: {**answer, "CiphertextForRecipient": damaged})


@situation("the TLS certificate is for another host")
def _(shared: Deployment) -> Done:
    return _with_certificate(shared, "other-host", shared.account.tls, "kms.eu-west-1.amazonaws.com")


@situation("the TLS certificate is from an authority the enclave does not trust")
def _(shared: Deployment) -> Done:
    return _with_certificate(shared, "other-ca", TlsAuthority.create(), shared.account.kms_host)


@situation("the peer at the enclave's address speaks another protocol")
def _(shared: Deployment) -> Done:
    return processes.run_instance(
        ["--enclave", f"tcp://127.0.0.1:{shared.account.imds_server.port}", "--timeout", "1", "QUFB"],
        environment=shared.account.imds_environment,
    )


@situation("Ctrl-C")
def _(_: Deployment) -> Done:
    process = subprocess.Popen(
        [processes.tool_path("kmstool-instance"), "--enclave", "unix:/nobody", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=processes.clean_environment({}),
    )
    _await_reading(process.pid)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    return subprocess.CompletedProcess([], process.returncode, stdout, stderr)


def _await_reading(pid: int) -> None:
    """Wait until the process blocks in a read of its standard input, file descriptor 0."""
    for _ in range(20_000):
        syscall = Path(f"/proc/{pid}/syscall").read_text("ascii")
        if syscall.startswith("0 0x0 "):
            return
    raise AssertionError("the process does not read its standard input")
