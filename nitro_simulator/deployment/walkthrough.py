"""kmstool-sim demo: the whole flow on this machine, step by step, with each tool as a separate process.

Every step checks what it shows; the demonstration stops at the first that does not turn out as it should.
"""

from __future__ import annotations

import contextlib
import secrets
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError

from instance_tool.credentials.imds import fetch_role_credentials
from nitro_simulator.account import KEY_ALIAS, SimulatedAccount
from nitro_simulator.deployment import command_lines as commands
from nitro_simulator.deployment import processes
from nitro_simulator.deployment.tap import Tap
from nitro_simulator.errors import SimulatorError
from nitro_simulator.kms.journal import OK, JournalEntry
from vsock_wire.errors import ExitCode
from vsock_wire.net.address import TcpAddress
from vsock_wire.protocol.json_codec import encode_base64
from vsock_wire.protocol.messages import Credentials

CONTEXT = {"purpose": "demo"}
_CONTEXT_OPTIONS = ["--encryption-context", "purpose=demo"]


@dataclass(frozen=True)
class Narrator:
    """Shows the steps to the user.

    Attributes:
        step: takes the title of a step.
        say: takes a line of a step.
    """

    step: Callable[[str], None]
    say: Callable[[str], None]


def walk_through(narrator: Narrator, directory: Path) -> str:
    """Run the demonstration and return the plaintext as kmstool-instance printed it.

    Args:
        narrator: shows each step.
        directory: an empty folder for sockets and files.

    Raises:
        SimulatorError: a step did not turn out as it should.
    """
    plaintext = f"a secret made for this run: {secrets.token_hex(8)}"
    with contextlib.ExitStack() as stack:
        account = stack.enter_context(SimulatedAccount(directory))
        tap = stack.enter_context(Tap(TcpAddress(*account.kms_server.address)))
        account.write_allowlist(tap.port)
        _start_tools(stack, account, tap)
        steps = _Walkthrough(account, narrator)
        credentials = steps.fetch_credentials()
        ciphertext = steps.encrypt(plaintext)
        printed = steps.decrypt(ciphertext, plaintext)
        steps.refuse_without_document(ciphertext)
        steps.refuse_other_enclave(ciphertext)
        steps.refuse_wrong_context(ciphertext)
        steps.search(tap.captured(), plaintext, credentials)
        return printed


def _start_tools(stack: contextlib.ExitStack, account: SimulatedAccount, tap: Tap) -> None:
    start = [
        (commands.proxy_command(account, kms_port=tap.port), commands.proxy_address(account), "proxy.log"),
        (commands.enclave_command(account), commands.enclave_address(account), "enclave.log"),
        (
            commands.enclave_command(account, account.other_enclave, name="other"),
            commands.enclave_address(account, "other"),
            "other.log",
        ),
    ]
    for arguments, address, log_name in start:
        stack.enter_context(processes.running(arguments, listens_on=address, log_file=account.directory / log_name))


class _Walkthrough:
    def __init__(self, account: SimulatedAccount, narrator: Narrator) -> None:
        self._account = account
        self._step = narrator.step
        self._say = narrator.say

    def fetch_credentials(self) -> Credentials:
        """Show the role's credentials, fetched with a token as IMDSv2 demands, and return them."""
        self._step("Fetch the instance role's credentials from IMDSv2")
        found = fetch_role_credentials(self._account.imds_environment)
        self._say(f"role {found.role}, valid until {found.credentials.expiration}; kmstool-instance does the same")
        return found.credentials

    def encrypt(self, plaintext: str) -> str:
        """Encrypt, as anyone with the role may."""
        self._step("Encrypt with KMS outside the enclave")
        answer = self._account.unattested_client().encrypt(
            KeyId=KEY_ALIAS, Plaintext=plaintext.encode(), EncryptionContext=CONTEXT
        )
        self._say(f"{len(answer['CiphertextBlob'])} bytes under {answer['KeyId']}, encryption context {CONTEXT}")
        self._say(f"the key policy allows Decrypt only with PCR0 =  {_short(self._account.enclave.pcr0.hex())}")
        return encode_base64(answer["CiphertextBlob"])

    def decrypt(self, ciphertext_b64: str, plaintext: str) -> str:
        """Decrypt in the enclave, and show what KMS saw and returned."""
        self._step("Decrypt in the enclave")
        options = " ".join([*commands.instance_arguments(self._account), *_CONTEXT_OPTIONS])
        self._say(f"$ kmstool-instance {options} CIPHERTEXT")
        code, stdout, stderr = self._run_instance([*_CONTEXT_OPTIONS, "--verbose", ciphertext_b64])
        _expect("exit code of kmstool-instance", code, ExitCode.DONE, stderr)
        _check("kmstool-instance printed another plaintext than was encrypted", stderr, met=stdout == f"{plaintext}\n")
        source = stderr.partition("credentials: from ")[2].partition("\n")[0]
        _check("the credentials do not come from IMDSv2", stderr, met=source.startswith("IMDSv2"))
        self._say(f"kmstool-instance: credentials: from {source}")
        entry = self._last_entry()
        _expect("verdict of KMS", entry.verdict, OK, entry.reason)
        _check("KMS's response contains Plaintext", "", met="Plaintext" not in entry.answered_bytes)
        self._say("KMS verified the attestation document: signature, certificate chain, validity")
        self._say(f"  module id {entry.module_id}")
        self._say(f"  PCR0      {entry.pcr0}")
        self._say(
            f"KMS returned CiphertextForRecipient, {entry.answered_bytes['CiphertextForRecipient']} bytes, no Plaintext"
        )
        self._say(f"the enclave opened it with its private key: {stdout.rstrip()}")
        return stdout.rstrip("\n")

    def refuse_without_document(self, ciphertext_b64: str) -> None:
        """Ask KMS to decrypt with the same credentials, but without an enclave."""
        self._step("Decrypt with the same role, without an attestation document")
        try:
            self._account.unattested_client().decrypt(
                CiphertextBlob=b64decode(ciphertext_b64), EncryptionContext=CONTEXT
            )
        except ClientError as error:
            _expect("error code from KMS", error.response["Error"]["Code"], "AccessDeniedException", str(error))
            self._say(f"refused: {error.response['Error']['Code']}: {error.response['Error']['Message']}")
            return
        raise SimulatorError("KMS decrypted without an attestation document")

    def refuse_other_enclave(self, ciphertext_b64: str) -> None:
        """Decrypt in an enclave that runs another image."""
        self._step("Decrypt in an enclave with another PCR0")
        code, stdout, stderr = self._run_instance([*_CONTEXT_OPTIONS, ciphertext_b64], name="other")
        _expect("exit code of kmstool-instance", code, ExitCode.REFUSED, stderr)
        _check("kmstool-instance wrote to standard output after a refusal", stderr, met=not stdout)
        _expect("verdict of KMS", self._last_entry().verdict, "AccessDeniedException", stderr)
        self._say(f"PCR0 {_short(self._last_entry().pcr0 or '')} of {self._last_entry().module_id}")
        self._tell_refusal(stderr)

    def refuse_wrong_context(self, ciphertext_b64: str) -> None:
        """Decrypt with another encryption context than the one used to encrypt."""
        self._step("Decrypt with the wrong encryption context")
        code, stdout, stderr = self._run_instance(["--encryption-context", "purpose=other", ciphertext_b64])
        _expect("exit code of kmstool-instance", code, ExitCode.FAILED, stderr)
        _check("kmstool-instance wrote to standard output after a refusal", stderr, met=not stdout)
        _expect("verdict of KMS", self._last_entry().verdict, "InvalidCiphertextException", stderr)
        self._tell_refusal(stderr)

    def search(self, carried: bytes, plaintext: str, credentials: Credentials) -> None:
        """Look for every secret of this run in the bytes that the proxy carried."""
        self._step("Search all bytes that passed through the parent instance's proxy")
        self._say(f"{len(carried):,} bytes in both directions, over all connections")
        secrets_by_name = {
            "the plaintext": plaintext,
            "the plaintext in base64": encode_base64(plaintext.encode()),
            "the access key id": credentials.access_key_id,
            "the secret access key": credentials.secret_access_key,
            "the session token": credentials.session_token or "",
        }
        host = self._account.kms_host
        # finding the server name proves that the search works
        _check("the search does not find the server name", "", met=host.encode() in carried)
        self._say(f"found:     the server name {host}, as in every TLS handshake")
        for name, secret in secrets_by_name.items():
            _check(f"{name} is in the bytes that the proxy carried", "", met=secret.encode() not in carried)
        self._say(f"not found: {', '.join(secrets_by_name)}")

    def _run_instance(self, arguments: list[str], *, name: str = "enclave") -> tuple[int, str, str]:
        done = processes.run_instance(
            [*commands.instance_arguments(self._account, name=name), *arguments],
            environment=self._account.imds_environment,
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def _tell_refusal(self, stderr: str) -> None:
        for line in stderr.strip().splitlines():
            self._say(line)

    def _last_entry(self) -> JournalEntry:
        return self._account.kms.journal.entries()[-1]


def _short(pcr_hex: str) -> str:
    return f"{pcr_hex[:16]}...{pcr_hex[-8:]}"


def _expect(what: str, got: object, expected: object, details: str) -> None:
    if got != expected:
        raise SimulatorError(f"{what}: expected {expected!r}, got {got!r} {details.strip()}")


def _check(failure: str, details: str, *, met: bool) -> None:
    if not met:
        raise SimulatorError(f"{failure} {details.strip()}".rstrip())
