"""Hostile environment variables and user files do not change what an enclave does.

Variables that Python and OpenSSL themselves read (PYTHON..., LD_..., OPENSSL_CONF) are not tested: the image sets them.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES

from nitro_simulator.kms.journal import OK
from tests.support.deployment.deployment import CONTEXT_OPTIONS, Deployment

HOSTILE_REGION = "eu-hostile-1"
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
AUTHORITY_VARIABLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KMS", "AWS_EC2_METADATA_SERVICE_ENDPOINT")
CONTAINER_VARIABLES = ("AWS_CONTAINER_CREDENTIALS_FULL_URI",)
CREDENTIAL_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")
ROLE_VARIABLES = {"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/Hostile", "AWS_ROLE_SESSION_NAME": "hostile"}
"""Read by botocore besides its table of variables. Source: botocore.credentials, botocore.utils, urllib3."""


@dataclass
class Trap:
    """A server that every hostile setting points to; it counts connections."""

    port: int
    visits: list[object] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def trap() -> Iterator[Trap]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        trap = Trap(listener.getsockname()[1])

        def watch() -> None:
            with suppress(OSError):
                while True:
                    visitor, address = listener.accept()
                    trap.visits.append(address)
                    visitor.close()

        thread = threading.Thread(target=watch)
        thread.start()
        yield trap
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def home(tmp_path: Path, trap: Trap) -> Path:
    """Return a home folder with hostile versions of every file that botocore reads."""
    aws = tmp_path / ".aws"
    model = aws / "models" / "kms" / "2014-11-01"
    model.mkdir(parents=True)
    (aws / "config").write_text(
        f"[default]\nregion = {HOSTILE_REGION}\nendpoint_url = {trap.url}\nca_bundle = {tmp_path / 'ca.pem'}\n"
        f"credential_process = /usr/bin/touch {tmp_path / 'ran'}\nretry_mode = hostile\nmax_attempts = 1\n"
        "this line is none that botocore can parse\n"
    )
    (aws / "credentials").write_text("[default]\naws_access_key_id = AKIAHOSTILE\naws_secret_access_key = hostile\n")
    (model / "service-2.json").write_text(json.dumps({"metadata": {"endpointPrefix": "hostile"}, "operations": {}}))
    (aws / "models" / "endpoints.json").write_text(json.dumps({"version": 3, "partitions": []}))
    (tmp_path / ".boto").write_text("[Boto]\nproxy = 127.0.0.1\n")
    (tmp_path / ".netrc").write_text("default login hostile password hostile\n")
    (tmp_path / "ca.pem").write_text("no certificate\n")
    return tmp_path


def hostile_environment(home: Path, trap: Trap) -> dict[str, str]:
    """Return a hostile value for every variable that botocore, urllib3 and ssl read."""
    variables: dict[str, str] = {}
    for _, names, *_ in BOTOCORE_DEFAUT_SESSION_VARIABLES.values():
        for name in [names] if isinstance(names, str) else names or []:
            variables[name] = "hostile"
    return variables | {
        "HOME": str(home),
        "AWS_CONFIG_FILE": str(home / ".aws" / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / ".aws" / "credentials"),
        "AWS_DATA_PATH": str(home / ".aws" / "models"),
        "AWS_REGION": HOSTILE_REGION,
        "AWS_DEFAULT_REGION": HOSTILE_REGION,
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_CSM_ENABLED": "true",
        "AWS_CSM_HOST": "127.0.0.1",
        "AWS_CSM_PORT": str(trap.port),
        "AWS_MAX_ATTEMPTS": "0",
        "BOTO_CONFIG": str(home / ".boto"),
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(home / ".netrc"),
        "SSL_CERT_DIR": str(home),
        "SSLKEYLOGFILE": str(home / "tls-secrets"),
        "NO_PROXY": "",
        **ROLE_VARIABLES,
        **dict.fromkeys(PROXY_VARIABLES, trap.url),
        **dict.fromkeys(AUTHORITY_VARIABLES, str(home / "ca.pem")),
        **dict.fromkeys((*ENDPOINT_VARIABLES, *CONTAINER_VARIABLES), trap.url),
        **dict.fromkeys(CREDENTIAL_VARIABLES, "hostile"),
    }


def test_no_variable_and_no_user_file_changes_what_the_enclave_does(
    deployment: Deployment, home: Path, trap: Trap
) -> None:
    variables = hostile_environment(home, trap)
    assert len(variables) > 50
    ciphertext = deployment.encrypt(b"not to be steered")
    expected = deployment.instance("--output", "json", *CONTEXT_OPTIONS, ciphertext)
    deployment.start_enclave("steered", environment=variables)
    done = deployment.instance("--output", "json", *CONTEXT_OPTIONS, ciphertext, enclave="steered")
    assert (done.returncode, done.stdout, done.stderr) == (0, expected.stdout, b"")
    straight, steered = deployment.account.kms.journal.entries()[-2:]
    assert (steered.operation, steered.verdict, steered.pcr0) == (straight.operation, OK, straight.pcr0)
    assert trap.visits == []
    assert not (home / "ran").exists()
    # botocore creates an HTTP session that is never used; that opens the file and writes a comment.
    assert [line for line in (home / "tls-secrets").read_text().splitlines() if not line.startswith("#")] == []


def test_trap_counts_visits(trap: Trap) -> None:
    with socket.create_connection(("127.0.0.1", trap.port)) as visitor:
        visitor.recv(1)
    assert len(trap.visits) == 1
