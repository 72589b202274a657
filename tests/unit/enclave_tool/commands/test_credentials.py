from __future__ import annotations

import json
import os

import pytest

from enclave_tool.commands.credentials import CredentialSettings, find_credentials
from vsock_wire.errors import CredentialsError, InputError
from vsock_wire.protocol.messages import Credentials


def settings(
    credentials_fd: int | None = None, *, access_key_id: str | None = None, secret_access_key: str | None = None
) -> CredentialSettings:
    return CredentialSettings(access_key_id, secret_access_key, None, credentials_fd)


ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "AKIDENV", "AWS_SECRET_ACCESS_KEY": "envSecret", "AWS_SESSION_TOKEN": "envToken"}
IMDS = {
    "Code": "Success",
    "LastUpdated": "2026-01-01T00:00:00Z",
    "Type": "AWS-HMAC",
    "AccessKeyId": "AKIDFD",
    "SecretAccessKey": "fdSecret",
    "Token": "fdToken",
    "Expiration": "2026-01-01T06:00:00Z",
}
SET_CLIENT = {
    "Operation": "SetClient",
    "AwsAccessKeyId": "AKIDFD",
    "AwsSecretAccessKey": "fdSecret",
    "AwsSessionToken": "fdToken",
    "AwsRegion": "eu-west-1",
}


PROCESS = {
    "Version": 1,
    "AccessKeyId": "AKIDFD",
    "SecretAccessKey": "fdSecret",
    "SessionToken": "fdToken",
    "Expiration": "2026-01-01T06:00:00Z",
    "AccountId": "111122223333",
}
ASSUMED = {
    "Credentials": {
        "AccessKeyId": "AKIDFD",
        "SecretAccessKey": "fdSecret",
        "SessionToken": "fdToken",
        "Expiration": "2026-01-01T06:00:00Z",
    },
    "AssumedRoleUser": {"AssumedRoleId": "AROA:x", "Arn": "arn:aws:sts::111122223333:assumed-role/r/x"},
    "PackedPolicySize": 6,
}


def from_descriptor(data: bytes) -> Credentials:
    read_end, write_end = os.pipe()
    try:
        os.write(write_end, data)
        os.close(write_end)
        return find_credentials(settings(read_end), ENVIRONMENT)
    finally:
        os.close(read_end)


class TestFindCredentials:
    def test_finds_those_of_the_environment(self) -> None:
        assert find_credentials(settings(), ENVIRONMENT) == Credentials("AKIDENV", "envSecret", "envToken")

    def test_has_no_token_if_none_is_given(self) -> None:
        environment = ENVIRONMENT | {"AWS_SESSION_TOKEN": ""}
        assert find_credentials(settings(), environment).session_token is None

    def test_flags_exclude_the_environment_completely(self) -> None:
        flags = settings(access_key_id="AKIDFLAG", secret_access_key="flagSecret")
        assert find_credentials(flags, ENVIRONMENT) == Credentials("AKIDFLAG", "flagSecret")

    @pytest.mark.parametrize(
        ("fields", "expiration"),
        [
            (IMDS, "2026-01-01T06:00:00Z"),
            (SET_CLIENT, None),
            (PROCESS, "2026-01-01T06:00:00Z"),
            (ASSUMED, "2026-01-01T06:00:00Z"),
        ],
        ids=["IMDS", "SetClient", "export-credentials", "assume-role"],
    )
    def test_finds_those_of_a_descriptor(self, fields: dict[str, object], expiration: str | None) -> None:
        expected = Credentials("AKIDFD", "fdSecret", "fdToken", expiration)
        assert from_descriptor(json.dumps(fields).encode()) == expected

    @pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
    def test_partial_credentials_in_the_environment_are_refused(self, name: str) -> None:
        environment = {variable: value for variable, value in ENVIRONMENT.items() if variable != name}
        with pytest.raises(CredentialsError, match=r"^environment: Aws\w+: expected"):
            find_credentials(settings(), environment)

    def test_environment_does_not_complete_partial_flags(self) -> None:
        with pytest.raises(CredentialsError, match=r"^command line: AwsSecretAccessKey: expected"):
            find_credentials(settings(access_key_id="AKIDFLAG"), ENVIRONMENT)

    def test_flags_and_descriptor_exclude_each_other(self) -> None:
        with pytest.raises(InputError, match="cannot be combined with"):
            find_credentials(settings(3, access_key_id="AKIDFLAG"), {})

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"fdSecret",
            b'["fdSecret"]',
            json.dumps(IMDS).encode()[:-1],
            json.dumps(IMDS | {"Token": "fdSecret\r\nX: y"}).encode(),
            json.dumps(IMDS | SET_CLIENT).encode(),
            json.dumps({"SecretAccessKey": "fdSecret"}).encode(),
            json.dumps(PROCESS | {"Token": "fdSecret"}).encode(),
            json.dumps({"Credentials": "fdSecret"}).encode(),
            json.dumps({"Credentials": None, **PROCESS}).encode(),
            json.dumps({"Credentials": [PROCESS]}).encode(),
        ],
    )
    def test_refuses_malformed_credentials_without_showing_them(self, data: bytes) -> None:
        with pytest.raises(CredentialsError) as caught:
            from_descriptor(data)
        assert "fdSecret" not in f"{caught.value!r} {caught.value.hint}"

    def test_more_data_than_credentials_can_have_is_refused(self) -> None:
        descriptor = os.memfd_create("credentials")  # a pipe holds less
        try:
            os.write(descriptor, b" " * 65_537)
            os.lseek(descriptor, 0, os.SEEK_SET)
            with pytest.raises(CredentialsError, match="larger than 65536 bytes"):
                find_credentials(settings(descriptor), {})
        finally:
            os.close(descriptor)

    def test_closed_descriptor_is_an_error(self) -> None:
        read_end, write_end = os.pipe()
        os.close(read_end)
        os.close(write_end)
        with pytest.raises(CredentialsError, match="bad file descriptor"):
            find_credentials(settings(read_end), ENVIRONMENT)

    @pytest.mark.parametrize("fields", [PROCESS, ASSUMED, IMDS, SET_CLIENT])
    @pytest.mark.parametrize("name", ["accessKeyId", "aws_session_token", "Sessiontoken", "", "x" * 500, "\x1b[2J"])
    def test_field_that_no_form_has_is_refused_by_its_name(self, fields: dict[str, object], name: str) -> None:
        nested = fields.get("Credentials")
        given = (
            {"Credentials": {**nested, name: "fdSecret"}} if isinstance(nested, dict) else {**fields, name: "fdSecret"}
        )
        with pytest.raises(CredentialsError, match=r"^--credentials-fd \d+: unknown field ") as caught:
            from_descriptor(json.dumps(given).encode())
        assert "fdSecret" not in f"{caught.value} {caught.value.hint}"
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 100

    def test_temporary_key_without_its_token_is_refused(self) -> None:
        without = {"AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "fdSecret"}
        with pytest.raises(CredentialsError, match="starts with ASIA is temporary and needs a session token"):
            from_descriptor(json.dumps(without).encode())
        with pytest.raises(CredentialsError, match=r"^environment: a key ID that starts with ASIA"):
            find_credentials(settings(), {"AWS_ACCESS_KEY_ID": "ASIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s"})
        permanent = {"AccessKeyId": "AKIAEXAMPLE", "SecretAccessKey": "fdSecret"}
        assert from_descriptor(json.dumps(permanent).encode()) == Credentials("AKIAEXAMPLE", "fdSecret")
