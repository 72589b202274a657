"""The examples, run as they stand in ``kmstool-sim run``."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from nitro_simulator.account import SimulatedAccount
from nitro_simulator.deployment import command_lines as commands
from nitro_simulator.deployment import processes
from tests.support.deployment.deployment import Deployment, deploy
from vsock_wire.protocol.json_codec import encode_base64

EXAMPLES = Path(__file__).parents[2] / "examples"
TIMEOUT_S = 120.0


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [processes.tool_path("kmstool-sim"), "run", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=processes.clean_environment({}),
        timeout=TIMEOUT_S,
        check=False,
    )


def test_pipeline_decrypts_with_xargs_and_batch_and_openssl(tmp_path: Path) -> None:
    done = run("sh", str(EXAMPLES / "pipeline.sh"), cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "db-password\napi-token\n" * 2, "")


def test_envelope_opens_what_it_sealed_and_keeps_no_plaintext(tmp_path: Path) -> None:
    content = "line\n" * 10_000
    tmp_path.joinpath("big").write_text(content)
    script = f"sh {EXAMPLES}/envelope.sh seal big && rm big && sh {EXAMPLES}/envelope.sh open big"
    done = run("sh", "-c", script, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, content, "")
    assert {path.name for path in tmp_path.iterdir()} == {"big.key", "big.enc"}
    assert b"line\nline" not in tmp_path.joinpath("big.enc").read_bytes()


def test_server_gets_its_secret_by_descriptor_and_nowhere_else(tmp_path: Path) -> None:
    server = "import os; print(open('/dev/fd/3').read()); print('tls-key' in ''.join(os.environ.values()))"
    tmp_path.joinpath("server.py").write_text(server)
    script = (
        'printf %s tls-key | kmstool-instance encrypt --key-id "$KMSTOOL_SIM_KEY_ID" > key.b64\n'
        f"exec sh {EXAMPLES}/secret_at_start.sh key.b64 {sys.executable} server.py"
    )
    done = run("sh", "-c", script, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "tls-key\n\nFalse\n", "")


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with deploy() as started:
        yield started


def _connect(path: Path) -> socket.socket:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(str(path))
        except OSError:
            sock.close()
            assert time.monotonic() < deadline, "the application does not listen"
            time.sleep(0.05)
        else:
            sock.settimeout(TIMEOUT_S)
            return sock


def _setup(account: SimulatedAccount) -> bytes:
    credentials = account.issue_credentials()
    setup = {
        "AccessKeyId": credentials.access_key_id,
        "SecretAccessKey": credentials.secret_access_key,
        "Token": credentials.session_token,
        "Region": account.region,
        "KeyId": account.key.arn,
        "Ciphertext": encode_base64(account.key.seal(b"signing secret", encryption_context={})),
    }
    return json.dumps(setup).encode() + b"\n"


def test_enclave_application_signs_with_a_secret_that_it_keeps(deployment: Deployment) -> None:
    account, path = deployment.account, deployment.account.directory / "app.sock"
    arguments = [
        str(EXAMPLES / "enclave_application.py"), f"unix:{path}", str(account.enclave.nsm_address),
        str(commands.proxy_address(account)), str(account.ca_file),
    ]  # fmt: skip
    process = subprocess.Popen([sys.executable, *arguments], env=processes.clean_environment({}))
    try:
        with _connect(path) as sock, sock.makefile("rb") as answers:
            sock.sendall(_setup(account) + b"pay 5\n")
            answer = answers.readline().strip().decode()
        assert process.wait(TIMEOUT_S) == 0
    finally:
        process.kill()
        process.wait()
    assert answer == hmac.new(b"signing secret", b"pay 5", hashlib.sha256).hexdigest()


def test_compose_file_starts_the_commands_that_the_simulator_would(deployment: Deployment) -> None:
    services = yaml.safe_load((EXAMPLES / "docker-compose.yaml").read_text("utf-8"))["services"]
    enclave = " ".join(services["enclave"]["command"]).replace("=", " ")
    ours = " ".join(commands.enclave_command(deployment.account))
    assert enclave.replace("/state", str(deployment.account.directory)) == ours
    assert services["simulator"]["command"] == ["kmstool-sim", "up", "--state", "/state"]
    shell_word = services["proxy"]["command"][2].partition('"')[2].replace("$$", "$").rstrip('"')
    script = f'echo "{shell_word}"'.replace("/state", str(deployment.account.directory))
    port = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    assert port == str(deployment.account.kms_server.port)
