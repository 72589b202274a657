"""Real processes of every tool around a simulated account, over unix sockets and real TLS."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nitro_simulator.account import Enclave, SimulatedAccount
from nitro_simulator.clock import Clock, utc_now
from nitro_simulator.deployment import command_lines as commands
from nitro_simulator.deployment import processes
from nitro_simulator.imds import ImdsMode
from nitro_simulator.kms.server import KmsServer
from nitro_simulator.pki.tls import TlsAuthority
from tests.support.deployment.raw_client import RawClient
from vsock_wire.protocol.json_codec import encode_base64
from vsock_wire.protocol.messages import Credentials

CONTEXT = {"purpose": "test"}
CONTEXT_OPTIONS = ["--encryption-context", "purpose=test"]


def credential_variables(credentials: Credentials) -> dict[str, str]:
    """Return credentials as the environment variables that every AWS tool reads."""
    return {
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
        "AWS_SESSION_TOKEN": credentials.session_token or "",
    }


@dataclass
class Deployment:
    """A simulated account with a running proxy and enclave server. Tests can start more."""

    account: SimulatedAccount
    stack: contextlib.ExitStack
    tools: dict[str, processes.Tool] = field(default_factory=dict)

    def start_proxy(self, name: str = "proxy", *options: str, kms_port: int | None = None) -> processes.Tool:
        if kms_port is not None:
            self.account.write_allowlist(self.account.kms_server.port, kms_port)
        return self._start(
            name,
            [*commands.proxy_command(self.account, name=name, kms_port=kms_port), *options],
            listens_on=commands.proxy_address(self.account, name),
        )

    def start_enclave(
        self,
        name: str = "enclave",
        *options: str,
        proxy_name: str = "proxy",
        environment: dict[str, str] | None = None,
    ) -> processes.Tool:
        return self._start(
            name,
            [*commands.enclave_command(self.account, name=name, proxy_name=proxy_name), *options],
            listens_on=commands.enclave_address(self.account, name),
            environment=environment,
        )

    def start_serve(
        self, name: str = "serve", *options: str, enclave: str = "enclave", environment: dict[str, str] | None = None
    ) -> processes.Tool:
        """Start kmstool-instance serve, by default with the credentials of the simulated IMDS."""
        address = commands.enclave_address(self.account, name)
        return self._start(
            name,
            [
                "kmstool-instance", *commands.instance_arguments(self.account, name=enclave),
                "serve", "--socket", address.path, *options,
            ],
            listens_on=address,
            environment=self.account.imds_environment if environment is None else environment,
        )  # fmt: skip

    @contextlib.contextmanager
    def imds_mode(self, mode: ImdsMode) -> Iterator[None]:
        """Switch the metadata service to ``mode`` inside a with statement."""
        self.account.imds.mode = mode
        try:
            yield
        finally:
            self.account.imds.mode = ImdsMode.NORMAL

    @contextlib.contextmanager
    def enclave_before_kms_with(self, name: str, authority: TlsAuthority, host: str) -> Iterator[str]:
        """Start an enclave server called ``name``, whose proxy leads to a KMS with the given certificate."""
        with KmsServer(self.account.kms, tls=authority.server_certificate(host)) as other:
            self.start_proxy(f"{name}-proxy", kms_port=other.port)
            self.start_enclave(name, proxy_name=f"{name}-proxy")
            yield name

    def _start(
        self, name: str, arguments: list[str], *, listens_on: Any, environment: dict[str, str] | None = None
    ) -> processes.Tool:
        log_file = self.account.directory / f"{name}.log"
        tool = self.stack.enter_context(
            processes.running(arguments, listens_on=listens_on, log_file=log_file, environment=environment)
        )
        self.tools[name] = tool
        return tool

    def encrypt(self, plaintext: bytes, context: dict[str, str] | None = None) -> str:
        """Return a base64 ciphertext that the key's owner made inside the simulator."""
        return encode_base64(
            self.account.key.seal(plaintext, encryption_context=CONTEXT if context is None else context)
        )

    def instance(
        self,
        *arguments: str,
        stdin: bytes = b"",
        enclave: str = "enclave",
        region: bool = True,
        environment: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run kmstool-instance with the enclave server of that name."""
        options = ["--enclave", str(commands.enclave_address(self.account, enclave))]
        if region:
            options += ["--region", self.account.region]
        return processes.run_instance(
            [*options, *arguments],
            environment=self.account.imds_environment if environment is None else environment,
            stdin=stdin,
        )

    def enclave_cli(
        self,
        *arguments: str,
        enclave: Enclave | None = None,
        environment: dict[str, str] | None = None,
        stdin: bytes = b"",
        proxy: str = "proxy",
        pass_fds: tuple[int, ...] = (),
        name: str = "kmstool-enclave-cli",
    ) -> subprocess.CompletedProcess[bytes]:
        """Run kmstool-enclave-cli in an enclave, by default the one that the key's policy trusts."""
        if environment is None:
            environment = credential_variables(self.account.issue_credentials())
        kms = [
            "--region", self.account.region, "--proxy", str(commands.proxy_address(self.account, proxy)),
            "--ca-file", str(self.account.ca_file),
        ]  # fmt: skip
        return subprocess.run(
            [
                processes.tool_path(name), *arguments, *(kms if arguments[0] != "attest" else ()),
                "--nsm", str((enclave or self.account.enclave).nsm_address), "--allow-non-vsock",
            ],
            input=stdin,
            capture_output=True,
            env=processes.clean_environment(environment),
            pass_fds=pass_fds,
            timeout=60.0,
            check=False,
        )  # fmt: skip

    def secrets(self) -> dict[str, bytes]:
        """Return every secret that the simulator has issued, and its KMS key, in all forms that a log can contain."""
        material = self.account.key.material
        assert isinstance(material, bytes)
        secrets = {"the KMS key": material.hex().encode(), "the KMS key in base64": b64encode(material)}
        for number, identity in enumerate(self.account._identities._identities.values()):
            token = (identity.credentials.session_token or "").encode()
            secrets |= {
                f"access key id {number}": identity.credentials.access_key_id.encode(),
                f"secret access key {number}": identity.credentials.secret_access_key.encode(),
                f"session token {number}": token,
                f"a part of session token {number}": token[40:80],
            }
        for number, imds_token in enumerate(self.account.imds._tokens):
            secrets[f"IMDS token {number}"] = imds_token.encode()
        return {**secrets, "a private key": b"PRIVATE KEY"}

    def connect(self, enclave: str = "enclave") -> RawClient:
        """Open a raw connection to the enclave's server."""
        return RawClient(commands.enclave_address(self.account, enclave).path)


@contextlib.contextmanager
def deploy(
    *, credentials_lifetime_s: float = 21_600, start: bool = True, clock: Clock = utc_now, debug: bool = False
) -> Iterator[Deployment]:
    directory = Path(tempfile.mkdtemp(prefix="kms-"))  # pytest's own paths are too long for unix sockets
    try:
        with contextlib.ExitStack() as stack:
            account = stack.enter_context(
                SimulatedAccount(directory, credentials_lifetime_s=credentials_lifetime_s, clock=clock, debug=debug)
            )
            deployment = Deployment(account, stack)
            if start:
                deployment.start_proxy()
                deployment.start_enclave()
            yield deployment
    finally:
        shutil.rmtree(directory)
