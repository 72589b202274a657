"""kmstool-instance serve and its clients, as real processes."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nitro_simulator.clock import utc_now
from nitro_simulator.deployment import command_lines as commands
from nitro_simulator.deployment import processes
from tests.support.deployment.deployment import CONTEXT, CONTEXT_OPTIONS, Deployment, deploy
from tests.support.deployment.raw_client import RawClient
from tests.support.enclave.legacy_enclave import LegacyEnclave
from tests.support.kms.decrypting import decrypt_request
from vsock_wire.protocol.json_codec import encode_message
from vsock_wire.protocol.kms_operations import encode_kms_request
from vsock_wire.protocol.messages import SetClient

NO_CREDENTIALS = {"AWS_EC2_METADATA_DISABLED": "true"}
TIMEOUT_S = 60.0
"""A test that passes never waits this long."""

Done = subprocess.CompletedProcess[bytes]


@pytest.fixture(scope="module")
def served() -> Iterator[Deployment]:
    with deploy() as deployment:
        deployment.start_serve("serve", "-vvv")
        yield deployment


def _ask_serve(served: Deployment, *arguments: str, region: bool = False, stdin: bytes = b"") -> Done:
    """Run kmstool-instance in an environment without credentials."""
    return served.instance(*arguments, enclave="serve", environment=NO_CREDENTIALS, region=region, stdin=stdin)


def _decrypt(served: Deployment, plaintext: bytes, **more: str) -> bytes:
    blob = served.account.key.seal(plaintext, encryption_context=CONTEXT)
    return encode_message({**encode_kms_request(decrypt_request(blob, CONTEXT)), **more})


def _run_serve(served: Deployment, socket_path: Path | str, *options: str, enclave: str = "enclave") -> Done:
    """Run a serve that is expected to exit by itself."""
    return processes.run_instance(
        ["serve", *commands.instance_arguments(served.account, name=enclave), "--socket", str(socket_path), *options],
        environment=served.account.imds_environment,
    )


class TestLocalPrograms:
    @pytest.mark.parametrize("region", [True, False])
    def test_need_no_credentials(self, served: Deployment, *, region: bool) -> None:
        done = _ask_serve(served, *CONTEXT_OPTIONS, served.encrypt(b"through serve"), region=region)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"through serve\n", b"")

    def test_fail_without_serve(self, served: Deployment) -> None:
        done = served.instance(*CONTEXT_OPTIONS, served.encrypt(b"x"), environment=NO_CREDENTIALS)
        assert done.returncode == 4

    def test_decrypt_many_lines(self, served: Deployment) -> None:
        lines = "\n".join(served.encrypt(f"line {number}".encode()) for number in range(50))
        done = _ask_serve(served, *CONTEXT_OPTIONS, "--batch", stdin=lines.encode())
        assert done.stdout.decode().splitlines() == [f"line {number}" for number in range(50)]

    def test_use_the_other_operations(self, served: Deployment) -> None:
        done = _ask_serve(served, "genkey", "--key-id", served.account.key.arn, "--output", "json")
        assert done.returncode == 0, done.stderr
        assert len(b64decode(json.loads(done.stdout)["Plaintext"])) == 32

    def test_can_describe_serve(self, served: Deployment) -> None:
        description = json.loads(_ask_serve(served, "describe").stdout)
        assert description["CredentialsHeld"] is True
        assert description["Region"] == served.account.region
        assert description["ModuleId"].startswith("i-")

    def test_get_an_error_for_another_region(self, served: Deployment) -> None:
        done = _ask_serve(served, "--region", "eu-west-1", served.encrypt(b"x"))
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"error: --region: unix:" in done.stderr
        assert b' uses "us-east-1", got "eu-west-1"' in done.stderr

    def test_get_an_error_for_a_profile(self, served: Deployment) -> None:
        done = _ask_serve(served, "--profile", "other", served.encrypt(b"x"))
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"error: --profile cannot be used with unix:" in done.stderr

    def test_get_the_error_of_kms_unchanged(self, served: Deployment) -> None:
        done = _ask_serve(served, "--encryption-context", "purpose=other", served.encrypt(b"x"))
        assert done.returncode == 1
        assert b"InvalidCiphertextException" in done.stderr

    def test_that_send_their_own_credentials_are_served_with_those_held_here(self, served: Deployment) -> None:
        expired = served.account.issue_credentials(lifetime_s=-1)
        with served.connect("serve") as client:
            set_client = encode_message(SetClient(expired, served.account.region).to_message())
            assert client.ask(set_client)["CredentialsHeld"] is True
            assert b64decode(client.ask(_decrypt(served, b"held here"))["Message"]) == b"held here"


class TestManyAtOnce:
    def test_each_gets_its_own_replies_in_order_with_their_ids(self, served: Deployment) -> None:
        clients = [served.connect("serve") for _ in range(20)]
        for number, client in enumerate(clients):
            for turn in range(5):
                client.sock.sendall(_decrypt(served, f"{number}.{turn}".encode(), Id=f"id {number}.{turn}") + b"\0")
        for number, client in enumerate(clients):
            for turn in range(5):
                reply = client.read()
                assert (reply["Id"], b64decode(reply["Message"])) == (
                    f"id {number}.{turn}",
                    f"{number}.{turn}".encode(),
                )
            client.sock.close()

    def test_reach_the_enclave_concurrently(self, served: Deployment) -> None:
        all_are_in = threading.Barrier(4, timeout=TIMEOUT_S)

        def meet(_operation: str, answer: dict[str, Any]) -> dict[str, Any]:
            all_are_in.wait()
            return answer

        clients = [served.connect("serve") for _ in range(4)]
        served.account.kms.rewrite_answer = meet
        try:
            for client in clients:
                client.sock.sendall(_decrypt(served, b"together") + b"\0")
            assert [b64decode(client.read()["Message"]) for client in clients] == [b"together"] * 4
        finally:
            served.account.kms.rewrite_answer = None
            for client in clients:
                client.sock.close()

    def test_over_the_limit_get_an_error(self, served: Deployment) -> None:
        served.start_serve("crowded", "--max-connections", "1")
        with _only_client(served, "crowded"):
            done = served.instance(served.encrypt(b"x"), enclave="crowded", environment=NO_CREDENTIALS)
        assert b"Too many connections: 1 are open" in done.stderr
        assert b"hint: try again later, or start kmstool-instance serve with a larger --max-connections" in done.stderr


def _only_client(served: Deployment, name: str) -> RawClient:
    """Return the only connection that the server accepts, once the one that checked for readiness is closed."""
    for _ in range(1_000):
        client = served.connect(name)
        if client.ask(b'{"Operation":"Describe"}')["Status"] == "Ok":
            return client
        client.sock.close()
    raise AssertionError("the server accepts no connection")


def _end_all_credentials(served: Deployment) -> None:
    """Make AWS expire all issued credentials early, and issue new ones when asked."""
    identities = served.account.kms.identities._identities
    for identity in identities.values():
        object.__setattr__(identity, "expires_at", utc_now() - timedelta(seconds=1))
    served.account.imds._credentials = None


def test_credentials_that_expire_early_are_replaced_without_losing_a_request(served: Deployment) -> None:
    clients = [served.connect("serve") for _ in range(8)]
    for client in clients:
        assert client.ask(_decrypt(served, b"before"))["Status"] == "Ok"
    _end_all_credentials(served)
    for client in clients:
        client.sock.sendall(_decrypt(served, b"after") + b"\0")
    for client in clients:
        reply = client.read()
        assert reply["Status"] == "Ok", reply
        assert b64decode(reply["Message"]) == b"after"
        client.sock.close()
    refused = [entry for entry in served.account.kms.journal.entries() if entry.verdict == "ExpiredTokenException"]
    assert 1 <= len(refused) <= 4  # at most once per connection to the enclave


def test_batch_survives_credentials_that_expire_early(served: Deployment) -> None:
    arguments = [*commands.instance_arguments(served.account), *CONTEXT_OPTIONS, "--batch"]
    with subprocess.Popen(
        [processes.tool_path("kmstool-instance"), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=processes.clean_environment(served.account.imds_environment),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for plaintext in (b"one", b"two", b"three"):
            process.stdin.write(served.encrypt(plaintext).encode() + b"\n")
            process.stdin.flush()
            assert process.stdout.readline() == plaintext + b"\n"
            _end_all_credentials(served)
        process.stdin.close()
        assert process.wait(TIMEOUT_S) == 0


def test_serve_reconnects_to_a_restarted_enclave(served: Deployment) -> None:
    served.start_enclave("restarted")
    served.start_serve("of-restarted", enclave="restarted")
    with served.connect("of-restarted") as client:
        assert client.ask(_decrypt(served, b"before"))["Status"] == "Ok"
        served.tools["restarted"].stop()
        gone = client.ask(_decrypt(served, b"meanwhile"))
        assert (gone["Code"], gone["Service"]) == ("EnclaveUnreachable", "instance")
        done = served.instance(
            *CONTEXT_OPTIONS, served.encrypt(b"x"), enclave="of-restarted", environment=NO_CREDENTIALS
        )
        assert done.returncode == 3
        served.start_enclave("restarted")
        assert b64decode(client.ask(_decrypt(served, b"after"))["Message"]) == b"after"


class TestStart:
    def test_prints_only_the_ready_line_and_restricts_the_socket_to_its_user(self, served: Deployment) -> None:
        serve = served.start_serve("plain")
        with served.connect("plain") as client:  # a reply means that the server is ready
            assert client.ask(b'{"Operation":"Describe"}')["Status"] == "Ok"
        address = commands.enclave_address(served.account, "plain")
        enclave = commands.enclave_address(served.account)
        assert serve.log() == f"kmstool-instance: serving {address} for {enclave}\n"
        assert stat.S_IMODE(Path(address.path).stat().st_mode) == 0o600

    def test_quiet_prints_nothing(self, served: Deployment) -> None:
        serve = served.start_serve("quiet", "-q")
        with served.connect("quiet") as client:
            assert client.ask(b'{"Operation":"Describe"}')["Status"] == "Ok"
        assert serve.log() == ""

    def test_path_of_a_live_server_is_refused(self, served: Deployment) -> None:
        done = _run_serve(served, commands.enclave_address(served.account, "serve").path)
        assert done.returncode == 3
        assert b"address already in use\nhint: another program is already listening there" in done.stderr
        assert _ask_serve(served, "describe").returncode == 0

    def test_folder_open_to_others_is_refused(self, served: Deployment) -> None:
        folder = served.account.directory / "open"
        folder.mkdir()
        folder.chmod(0o777)
        done = _run_serve(served, folder / "s")
        assert (done.returncode, list(folder.iterdir())) == (2, [])
        assert b"is writable by other users" in done.stderr

    def test_missing_credentials_are_exit_4(self, served: Deployment) -> None:
        arguments = ["serve", *commands.instance_arguments(served.account)]
        arguments += ["--socket", str(served.account.directory / "poor")]
        done = processes.run_instance(arguments, environment=NO_CREDENTIALS)
        assert done.returncode == 4

    @pytest.mark.parametrize("path", ["", "x" * 200])
    def test_invalid_path_is_a_usage_error(self, served: Deployment, path: str) -> None:
        assert _run_serve(served, path).returncode == 2


class TestStop:
    def test_sigterm_finishes_pending_requests_and_removes_the_socket(self, served: Deployment) -> None:
        serve = served.start_serve("terminated")
        path = Path(commands.enclave_address(served.account, "terminated").path)
        reached, go_on = threading.Event(), threading.Event()

        def hold(_operation: str, answer: dict[str, Any]) -> dict[str, Any]:
            reached.set()
            assert go_on.wait(TIMEOUT_S)
            return answer

        with served.connect("terminated") as client:
            served.account.kms.rewrite_answer = hold
            try:
                client.sock.sendall(_decrypt(served, b"in time") + b"\0")
                assert reached.wait(TIMEOUT_S)
                serve.process.terminate()
                _await(lambda: not _accepts(path))
                go_on.set()
                assert b64decode(client.read()["Message"]) == b"in time"
            finally:
                go_on.set()
                served.account.kms.rewrite_answer = None
        assert serve.process.wait(TIMEOUT_S) == 0
        assert not path.exists()

    def test_socket_of_a_killed_server_is_replaced(self, served: Deployment) -> None:
        serve = served.start_serve("killed")
        serve.process.kill()
        serve.process.wait(TIMEOUT_S)
        served.start_serve("killed")
        with served.connect("killed") as client:
            assert client.ask(b'{"Operation":"Describe"}')["CredentialsHeld"] is True


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _await(is_so: Callable[[], bool]) -> None:
    for _ in range(100_000):
        if is_so():
            return
    raise AssertionError("the condition did not become true")


def test_kmstool_in_c_is_served_one_request_at_a_time(served: Deployment) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        enclave = LegacyEnclave(listener)
        thread = threading.Thread(target=enclave.serve)
        thread.start()
        address = commands.enclave_address(served.account, "old")
        arguments = ["kmstool-instance", "--enclave", enclave.address, "serve", "--socket", address.path]
        with processes.running(
            arguments,
            listens_on=address,
            log_file=served.account.directory / "old.log",
            environment=served.account.imds_environment,
        ):
            clients = [served.connect("old") for _ in range(4)]
            for number, client in enumerate(clients):
                ciphertext = b64encode(b"%d olleH" % number).decode()
                client.sock.sendall(encode_message({"Operation": "Decrypt", "Ciphertext": ciphertext}) + b"\0")
            for number, client in enumerate(clients):
                assert b64decode(client.read()["Message"]) == b"Hello %d" % number
                client.sock.close()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_most_verbose_log_contains_no_secret(served: Deployment) -> None:
    _ask_serve(served, *CONTEXT_OPTIONS, served.encrypt(b"the secret plaintext"))
    log = served.tools["serve"].log()
    assert "credentials: from IMDSv2" in log
    assert "the secret plaintext" not in log
    for identity in served.account.kms.identities._identities.values():
        credentials = identity.credentials
        assert credentials.secret_access_key not in log
        assert (credentials.session_token or "none") not in log
        assert credentials.access_key_id not in log
