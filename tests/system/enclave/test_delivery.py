"""What leaves the enclave's process with each --deliver, recorded on all its sockets and on its output."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import socket
import subprocess
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from zlib import crc32

import cbor2
import pytest

from nitro_simulator.deployment import command_lines as commands
from nitro_simulator.deployment import processes
from tests.support.deployment.deployment import CONTEXT, CONTEXT_OPTIONS, Deployment, deploy
from tests.support.deployment.raw_client import RawClient
from vsock_wire.net.address import UnixAddress
from vsock_wire.net.sockets import close_quietly, connect_socket, listen_socket

PLAINTEXT = b"p1aintext-that-must-stay-inside"
MARK = f"8{os.getpid()}.5"
"""A number of seconds for which only processes of these tests sleep."""
AMPLE_S = 20.0

DISPATCH = f"""
read -r mode
cat >/dev/null
case "$mode" in
hang) sleep {MARK} ;;
die) kill -SEGV $$ ;;
flood) yes ;;
fork) i=0; while [ $i -lt 200 ]; do setsid sleep {MARK} & i=$((i + 1)); done; sleep {MARK} ;;
leave) (setsid sleep {MARK} &) ; echo left ;;
*) printf %s "$mode" | gzip -c | tail -c 8 | od -An -tx1 ;;
esac
"""
"""A program that does what its secret says; of any other secret's first line it tells CRC-32 and size, as gzip counts
them. It reads all of it, since one random data key in eight holds a line break."""


class Recorder:
    """Listens on a unix socket in front of the real one, forwards, and keeps every byte of both directions."""

    def __init__(self, listen: UnixAddress, destination: UnixAddress) -> None:
        self.recorded = bytearray()
        self._destination = destination
        self._listener = listen_socket(listen)
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the connections to end, which they do with the enclave."""
        close_quietly(self._listener)
        for thread in self._threads:
            thread.join(AMPLE_S)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, connect_socket(self._destination, timeout_s=AMPLE_S) as server:
            server.settimeout(None)
            backward = threading.Thread(target=self._copy, args=(server, client), daemon=True)
            backward.start()
            self._copy(client, server)
            backward.join()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                with self._lock:
                    self.recorded += data
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@dataclass
class Recorded:
    """An enclave with a recorder on each of its sockets."""

    deployment: Deployment
    name: str
    tool: processes.Tool
    recorders: dict[str, Recorder] = field(default_factory=dict)

    def everything(self) -> dict[str, bytes]:
        """Return what passed each place so far; the log has its standard output and standard error."""
        seen = {name: bytes(recorder.recorded) for name, recorder in self.recorders.items()}
        return seen | {"log": self.tool.log_file.read_bytes()}

    def ask(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run kmstool-instance with this enclave, through the recorder."""
        return self.deployment.instance(*CONTEXT_OPTIONS, *arguments, stdin=stdin, enclave=f"{self.name}-tap")

    def decrypt(self, plaintext: bytes, *options: str) -> subprocess.CompletedProcess[bytes]:
        return self.ask(*options, self.deployment.encrypt(plaintext))

    def connect(self) -> RawClient:
        return self.deployment.connect(f"{self.name}-tap")


@contextlib.contextmanager
def recorded_enclave(deployment: Deployment, name: str, *options: str) -> Iterator[Recorded]:
    account = deployment.account
    taps = {
        part: UnixAddress(str(account.directory / f"{name}-{part}.sock")) for part in ("tap", "proxy-tap", "nsm-tap")
    }
    with contextlib.ExitStack() as stack:
        recorders = {
            "proxy": Recorder(taps["proxy-tap"], commands.proxy_address(account)),
            "nsm": Recorder(taps["nsm-tap"], account.enclave.nsm_address),
        }
        more = ["--nsm", str(taps["nsm-tap"]), "-v", "-v", *options]
        tool = deployment.start_enclave(name, *more, proxy_name=f"{name}-proxy-tap")
        recorders["instance"] = Recorder(taps["tap"], commands.enclave_address(account, name))
        for recorder in recorders.values():
            stack.enter_context(recorder)
        stack.callback(tool.stop)
        yield Recorded(deployment, name, tool, recorders)


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with deploy(start=False) as started:
        started.start_proxy()
        yield started


@pytest.fixture(scope="module")
def digests(deployment: Deployment) -> Iterator[Recorded]:
    with recorded_enclave(deployment, "digest", "--deliver", "digest") as enclave:
        yield enclave


@pytest.fixture(scope="module")
def programs(deployment: Deployment) -> Iterator[Recorded]:
    options = ("--deliver", "exec", "--deliver-timeout", "2", "--deliver-exec", "/bin/sh", "--", "-c", DISPATCH)
    with recorded_enclave(deployment, "exec", *options) as enclave:
        yield enclave


def forms(secret: bytes) -> dict[str, bytes]:
    """Return the forms in which a secret could appear; base64 in each of its three alignments."""
    encodings = {f"base64 after {n} bytes": b64encode(bytes(n) + secret)[4:-4] for n in range(3)}
    return encodings | {
        "as it is": secret,
        "reversed": secret[::-1],
        "in hexadecimal": secret.hex().encode(),
        "in capital hexadecimal": secret.hex().upper().encode(),
        "as bytes of od": secret.hex(" ").encode(),
        "as a list": str(list(secret))[1:-1].encode(),
        "its first half": secret[: len(secret) // 2],
        "its second half": secret[len(secret) // 2 :],
    }


def found(seen: dict[str, bytes], secret: bytes) -> set[str]:
    return {
        f"{form} in {where}" for where, data in seen.items() for form, text in forms(secret).items() if text in data
    }


def output_of(plaintext: bytes) -> bytes:
    """Return what DISPATCH prints for it: gzip's trailer (RFC 1952, section 2.3.1)."""
    trailer = crc32(plaintext).to_bytes(4, "little") + len(plaintext).to_bytes(4, "little")
    return b" " + trailer.hex(" ").encode() + b"\n"


def marked_processes() -> set[int]:
    """Return the processes that sleep for MARK seconds, and the shells that are about to."""
    marked = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().startswith(f"sleep\0{MARK}\0".encode()):
                marked.add(int(path.parent.name))
    return marked


class TestSearch:
    def test_finds_the_plaintext_where_it_is_delivered(self, deployment: Deployment) -> None:
        """Without this test, the searches below could miss everything."""
        with recorded_enclave(deployment, "reply") as enclave:
            done = enclave.decrypt(PLAINTEXT)
            assert (done.returncode, done.stdout) == (0, PLAINTEXT + b"\n")
            hits = found(enclave.everything(), PLAINTEXT)
        assert "base64 after 0 bytes in instance" in hits
        assert {hit.rpartition(" ")[2] for hit in hits} == {"instance"}

    def test_finds_no_plaintext_in_anything_that_leaves_the_enclave_in_digest_mode(self, digests: Recorded) -> None:
        done = digests.decrypt(PLAINTEXT)
        assert (done.returncode, done.stdout) == (0, hashlib.sha256(PLAINTEXT).hexdigest().encode() + b"\n")
        key = digests.deployment.account.key
        for command in (("genkey",), ("genkeypair", "--key-pair-spec", "ECC_NIST_P256")):
            answer = json.loads(digests.ask(*command, "--key-id", key.arn, "--output", "json").stdout)
            sealed = b64decode(answer.get("CiphertextBlob") or answer["PrivateKeyCiphertextBlob"])
            secret = key.open(sealed, algorithm="SYMMETRIC_DEFAULT", encryption_context=CONTEXT)
            assert answer["Digest"] == hashlib.sha256(secret).hexdigest()
            assert not {"Plaintext", "PrivateKeyPlaintext"} & answer.keys()
            assert found(digests.everything(), secret) == set()
        seen = digests.everything()
        assert found(seen, PLAINTEXT) == set()
        assert hashlib.sha256(PLAINTEXT).hexdigest().encode() in seen["instance"]
        assert len(seen["proxy"]) > 10_000
        assert b"Attestation" in seen["nsm"]

    def test_finds_no_plaintext_in_anything_that_leaves_the_enclave_in_exec_mode(self, programs: Recorded) -> None:
        done = programs.decrypt(PLAINTEXT)
        assert (done.returncode, done.stdout) == (0, output_of(PLAINTEXT) + b"\n")
        assert found(programs.everything(), PLAINTEXT) == set()
        assert b64encode(output_of(PLAINTEXT)) in programs.everything()["instance"]
        assert PLAINTEXT not in b"".join(path.read_bytes() for path in readable_arguments())


def readable_arguments() -> Iterator[Path]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            path.read_bytes()
            yield path


class TestInstance:
    def test_prints_a_digest_in_base64_and_json(self, digests: Recorded) -> None:
        digest = hashlib.sha256(PLAINTEXT)
        assert digests.decrypt(PLAINTEXT, "--output", "base64").stdout == b64encode(digest.digest()) + b"\n"
        answer = json.loads(digests.decrypt(PLAINTEXT, "--output", "json").stdout)
        assert (answer["Digest"], answer["KeyId"]) == (digest.hexdigest(), digests.deployment.account.key.arn)
        assert "Plaintext" not in answer

    def test_labels_digest_and_output_of_a_data_key_as_such(self, digests: Recorded, programs: Recorded) -> None:
        key_id = ("--key-id", digests.deployment.account.key.arn)
        asked = [digests.ask("genkey", *key_id), programs.ask("genkey", *key_id)]
        assert [done.stderr for done in asked] == [b"", b""]
        assert [line.partition(b": ")[0] for done in asked for line in done.stdout.splitlines()] == [
            b"CIPHERTEXT", b"DIGEST", b"CIPHERTEXT", b"OUTPUT",
        ]  # fmt: skip

    def test_names_the_output_of_a_program_in_json(self, programs: Recorded) -> None:
        answer = json.loads(programs.decrypt(PLAINTEXT, "--output", "json").stdout)
        assert b64decode(answer["Output"]) == output_of(PLAINTEXT)
        assert "Plaintext" not in answer


def cs_conversation(enclave: Recorded) -> dict[str, Any]:
    """Return the reply to Decrypt after sending the exact bytes of kmstool_instance in C."""
    credentials = enclave.deployment.account.issue_credentials()
    set_client = (
        f'{{ "Operation": "SetClient", "AwsAccessKeyId": "{credentials.access_key_id}",'
        f' "AwsSecretAccessKey": "{credentials.secret_access_key}",'
        f' "AwsSessionToken": "{credentials.session_token}", "AwsRegion": "us-east-1" }}'
    )
    ciphertext = enclave.deployment.encrypt(PLAINTEXT, {"a": "1"})
    decrypt = f'{{ "Operation": "Decrypt", "Ciphertext": "{ciphertext}", "EncryptionContext": {{ "a": "1" }} }}'
    with enclave.connect() as client:
        assert client.ask(set_client.encode())["Status"] == "Ok"
        return client.ask(decrypt.encode())


class TestKmstoolInC:
    def test_gets_an_error_instead_of_a_digest_and_kms_is_not_called(self, digests: Recorded) -> None:
        """It aborts on a reply with status Ok but without a Message in base64."""
        before = len(digests.deployment.account.kms.journal.entries())
        reply = cs_conversation(digests)
        assert reply["Status"] == "Error"
        assert reply["Message"].startswith("Could not decrypt ciphertext: this enclave returns only the digest")
        assert len(digests.deployment.account.kms.journal.entries()) == before

    def test_gets_the_output_of_a_program_as_its_message(self, programs: Recorded) -> None:
        reply = cs_conversation(programs)
        assert (reply["Status"], b64decode(reply["Message"])) == ("Ok", output_of(PLAINTEXT))


class TestWhatTheEnclaveReportsAboutItself:
    def test_describe_names_the_delivery_and_no_argument_of_the_program(
        self, digests: Recorded, programs: Recorded
    ) -> None:
        for enclave, name in ((digests, "digest"), (programs, "exec")):
            with enclave.connect() as client:
                description = client.ask(b'{"Operation": "Describe"}')
            assert description["Delivery"] == name
            assert "sleep" not in json.dumps(description)
        assert "sleep" not in programs.tool.log()

    @pytest.mark.parametrize("requested", [None, b"mine", b"deliver=reply\n"])
    def test_document_names_the_delivery_in_its_first_line_whatever_is_asked_for(
        self, digests: Recorded, requested: bytes | None
    ) -> None:
        request = {"Operation": "GetAttestationDocument"}
        if requested:
            request["UserData"] = b64encode(requested).decode()
        with digests.connect() as client:
            document = b64decode(client.ask(json.dumps(request).encode())["Document"])
        user_data = cbor2.loads(cbor2.loads(document)[2])["user_data"]
        assert user_data == b"deliver=digest\n" + (requested or b"")


class TestContainment:
    @pytest.mark.parametrize(
        ("mode", "error"),
        [
            ("die", "was killed by SIGSEGV"),
            ("flood", "wrote more than 32768 bytes of output"),
            ("fork", "started more than 64 processes"),
        ],
    )
    def test_failure_of_the_program_is_reported(self, programs: Recorded, mode: str, error: str) -> None:
        done = programs.decrypt(mode.encode())
        assert (done.returncode, done.stdout) == (1, b"")
        expected = f"kmstool-instance: error: Could not decrypt ciphertext: program sh: {error}\n"
        assert done.stderr.startswith(expected.encode())
        assert marked_processes() == set()

    def test_process_that_leaves_its_session_ends_with_the_program(self, programs: Recorded) -> None:
        assert programs.decrypt(b"leave").stdout == b"left\n\n"
        assert marked_processes() == set()

    def test_working_programs_do_not_wait_for_hanging_ones(self, programs: Recorded) -> None:
        with ThreadPoolExecutor(5) as pool:
            hanging = [pool.submit(programs.decrypt, b"hang") for _ in range(2)]
            good = [pool.submit(programs.decrypt, b"good %d" % number) for number in range(3)]
            assert [one.result().stdout for one in good] == [output_of(b"good %d" % n) + b"\n" for n in range(3)]
            for one in hanging:
                assert (one.result().returncode, one.result().stdout) == (1, b"")
                assert b"program sh: did not end within 2 s" in one.result().stderr
        assert marked_processes() == set()

    def test_program_does_not_outlive_an_enclave_that_is_killed(self, deployment: Deployment) -> None:
        options = ("--deliver", "exec", "--deliver-timeout", "60", "--deliver-exec", "/bin/sh", "--", "-c", DISPATCH)
        with recorded_enclave(deployment, "killed", *options) as enclave, ThreadPoolExecutor(1) as pool:
            asked = pool.submit(enclave.decrypt, b"hang")
            deadline = time.monotonic() + AMPLE_S
            while not (hanging := marked_processes()) and time.monotonic() < deadline:
                select.select([], [], [], 0.02)
            (process,) = hanging
            descriptor = os.pidfd_open(process)
            try:
                enclave.tool.process.kill()
                assert select.select([descriptor], [], [], AMPLE_S)[0], "it sleeps on"
            finally:
                os.close(descriptor)
            assert asked.result().returncode == 3


class TestStart:
    def test_with_a_program_that_is_not_in_the_image_fails(self) -> None:
        arguments = ["--deliver", "exec", "--deliver-exec", "/no/such/program"]
        done = subprocess.run([processes.tool_path("kmstool-enclave"), *arguments], capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.startswith(b"kmstool-enclave: error: --deliver-exec: not an executable file")
