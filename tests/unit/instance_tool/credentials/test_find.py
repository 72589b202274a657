from __future__ import annotations

import builtins
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from instance_tool.credentials.find import find_credentials
from instance_tool.credentials.found import FoundCredentials
from tests.support.instance.scripted_imds import ROLES_PATH, TOKEN_PATH, Answer, ScriptedImds
from vsock_wire.errors import CredentialsError, ExitCode
from vsock_wire.protocol.messages import Credentials

IN_ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "AKIDENV", "AWS_SECRET_ACCESS_KEY": "envSecret"}
PROFILES = """
[default]
aws_access_key_id = AKIDDEFAULT
aws_secret_access_key = defaultSecret
[other]
aws_access_key_id = AKIDOTHER
aws_secret_access_key = otherSecret
aws_session_token = otherToken
[half]
aws_access_key_id = AKIDHALF
[assuming]
role_arn = arn:aws:iam::111122223333:role/r
source_profile = other
region = us-east-1
[failing]
credential_process = false
[leaking]
credential_process = sh -c "echo theProcessSecret >&2; exit 1"
"""


@pytest.fixture
def profiles() -> Path:
    path = Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"])
    path.write_text(PROFILES)
    return path


@pytest.fixture
def set_environment(monkeypatch: pytest.MonkeyPatch, imds: ScriptedImds) -> ScriptedImds:
    """Return a working IMDS and point the environment of this process to it."""
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.endpoint)
    return imds


def failure_of(environ: dict[str, str], profile: str | None = None) -> CredentialsError:
    with pytest.raises(CredentialsError) as caught:
        find_credentials(environ, profile=profile)
    assert caught.value.exit_code is ExitCode.NO_CREDENTIALS
    return caught.value


class TestOrder:
    def test_environment_comes_before_imds(self, imds: ScriptedImds) -> None:
        found = find_credentials({**imds.environ, **IN_ENVIRONMENT})
        assert found == FoundCredentials(Credentials("AKIDENV", "envSecret"), "the environment")
        assert imds.requests == []

    @pytest.mark.parametrize(("token", "expected"), [("envToken", "envToken"), ("", None)])
    def test_session_token_in_the_environment_is_used(self, token: str, expected: str | None) -> None:
        found = find_credentials({**IN_ENVIRONMENT, "AWS_SESSION_TOKEN": token})
        assert found.credentials.session_token == expected

    @pytest.mark.parametrize(
        ("present", "missing"),
        [("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")],
    )
    @pytest.mark.parametrize("how", ["absent", "empty"])
    def test_half_a_pair_in_the_environment_is_an_error(
        self, imds: ScriptedImds, present: str, missing: str, how: str
    ) -> None:
        environ = {**imds.environ, present: "theValue"} | ({missing: ""} if how == "empty" else {})
        error = failure_of(environ)
        assert str(error) == f"environment: {present} is set but {missing} is not"
        assert (error.provider, error.variable) == ("environment", missing)
        assert imds.requests == []

    def test_empty_pair_in_the_environment_is_ignored(self, imds: ScriptedImds) -> None:
        environ = {**imds.environ, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
        assert find_credentials(environ).source == "IMDSv2, role the-role"

    def test_imds_comes_before_profiles(self, imds: ScriptedImds, profiles: Path) -> None:
        found = find_credentials(imds.environ)
        assert found.credentials.access_key_id == "ASIAROLEEXAMPLE"
        assert profiles.exists()

    def test_imds_is_asked_without_importing_an_sdk(self, imds: ScriptedImds, monkeypatch: pytest.MonkeyPatch) -> None:
        real_import = builtins.__import__

        def no_sdk(name: str, *args: object, **options: object) -> object:
            assert not name.startswith(("boto", "botocore", "urllib3")), name
            return real_import(name, *args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(builtins, "__import__", no_sdk)
        assert find_credentials(imds.environ).source == "IMDSv2, role the-role"

    def test_profiles_come_after_imds(self, imds: ScriptedImds, profiles: Path) -> None:
        imds.answers["GET", ROLES_PATH] = Answer(b"", 404)
        found = find_credentials(imds.environ)
        assert found.credentials == Credentials("AKIDDEFAULT", "defaultSecret")
        assert found.source.startswith("credential chain")
        assert profiles.exists()

    def test_chain_does_not_ask_imds_again(self, set_environment: ScriptedImds) -> None:
        set_environment.answers["PUT", TOKEN_PATH] = Answer(b"", 403)
        failure_of(dict(os.environ))
        assert len(set_environment.requests) == 1

    @pytest.mark.parametrize("environ", [IN_ENVIRONMENT, {}])
    def test_profile_by_name_comes_before_everything(
        self, imds: ScriptedImds, profiles: Path, environ: dict[str, str]
    ) -> None:
        found = find_credentials({**imds.environ, **environ}, profile="other")
        assert found.credentials == Credentials("AKIDOTHER", "otherSecret", "otherToken")
        assert imds.requests == []
        assert profiles.exists()

    @pytest.mark.parametrize(
        "name",
        [
            "AWS_PROFILE",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        ],
    )
    def test_variable_for_the_chain_skips_the_nodes_role(self, set_environment: ScriptedImds, name: str) -> None:
        failure_of({**os.environ, name: "something"})
        assert set_environment.requests == []

    def test_variable_for_a_profile_names_it(self, profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_PROFILE", "other")
        assert find_credentials(dict(os.environ)).credentials.access_key_id == "AKIDOTHER"
        assert profiles.exists()


class TestFailures:
    def test_text_names_each_place_that_was_searched(self, imds: ScriptedImds) -> None:
        imds.answers["GET", ROLES_PATH] = Answer(b"", 404)
        error = failure_of(imds.environ)
        assert str(error) == (
            "no AWS credentials: none in the environment; IMDS: the instance has no role; none in the credential chain"
        )
        assert "instance profile" in (error.hint or "")

    def test_expired_role_credentials_are_named(self, imds: ScriptedImds) -> None:
        imds.set_credentials(Expiration="2001-01-01T00:00:00Z")
        assert "expired at 2001-01-01" in str(failure_of(imds.environ))

    def test_disabled_imds_is_named(self, imds: ScriptedImds) -> None:
        environ = {**imds.environ, "AWS_EC2_METADATA_DISABLED": "true"}
        assert "disabled by AWS_EC2_METADATA_DISABLED" in str(failure_of(environ))

    @pytest.mark.parametrize("profile", ["no-such-profile", "half", "failing", "x\x1b[2J"])
    def test_profile_that_gives_none_is_an_error(self, profiles: Path, profile: str) -> None:
        error = failure_of({}, profile)
        assert str(error).isprintable()
        assert "AKIDHALF" not in str(error)
        assert profiles.exists()

    def test_malformed_configuration_file_is_an_error(self) -> None:
        Path(os.environ["AWS_CONFIG_FILE"]).write_text("[default\nnonsense")
        error = failure_of({}, "default")
        assert str(error).startswith('credential chain, settings (AWS_CONFIG_FILE): "Unable to parse config file: ')

    def test_missing_sdk_leaves_the_earlier_error(self, imds: ScriptedImds, monkeypatch: pytest.MonkeyPatch) -> None:
        real_import = builtins.__import__

        def no_sdk(name: str, *args: object, **options: object) -> object:
            if name.startswith(("boto", "botocore")):
                raise ImportError(name)
            return real_import(name, *args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(builtins, "__import__", no_sdk)
        imds.answers["GET", ROLES_PATH] = Answer(b"", 404)
        assert str(failure_of(imds.environ)) == "IMDS: the instance has no role"
        assert str(failure_of({}, "other")) == "boto3: not installed"


class TestAssumedRole:
    @pytest.fixture
    def sts(self, profiles: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Start an STS that denies everything."""

        class Deny(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(403)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Deny)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{server.server_address[1]}")
        assert profiles.exists()
        yield
        server.shutdown()
        thread.join()
        server.server_close()

    @pytest.mark.usefixtures("sts")
    def test_role_that_may_not_be_assumed_is_an_error(self) -> None:
        error = failure_of({}, "assuming")
        assert "AccessDenied" in str(error)
        assert "otherSecret" not in str(error)


def test_nothing_that_is_found_shows_a_secret(imds: ScriptedImds, profiles: Path) -> None:
    shown = [repr(find_credentials({**imds.environ, **IN_ENVIRONMENT})), repr(find_credentials(imds.environ))]
    shown.append(repr(find_credentials({}, profile="other")))
    for secret in ("envSecret", "theRoleSecret", "theRoleToken", "otherSecret", "otherToken", "AKID"):
        assert secret not in " ".join(shown)
    assert profiles.exists()
