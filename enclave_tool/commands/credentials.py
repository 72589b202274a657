"""AWS credentials for a program inside the enclave: from flags, a file descriptor or the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from vsock_wire.errors import CredentialsError, InputError
from vsock_wire.protocol.json_codec import JsonObject, decode_message
from vsock_wire.protocol.messages import Credentials, parse_set_client
from vsock_wire.protocol.vocabulary import RequestError

MAX_CREDENTIALS_BYTES = 65_536
"""Read from --credentials-fd. IMDS's answer has less than 2 KiB; session tokens have no documented limit."""

_IMDS_NAMES = {"AccessKeyId": "AwsAccessKeyId", "SecretAccessKey": "AwsSecretAccessKey", "Token": "AwsSessionToken"}
"""What IMDS calls the fields of SetClient. Source: EC2 user guide, "Retrieve security credentials from instance
metadata"."""
_VARIABLES = {
    "AWS_ACCESS_KEY_ID": "AwsAccessKeyId",
    "AWS_SECRET_ACCESS_KEY": "AwsSecretAccessKey",
    "AWS_SESSION_TOKEN": "AwsSessionToken",
}
_HINT = "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or pass --credentials-fd"


@dataclass(frozen=True, repr=False)
class CredentialSettings:
    """What CREDENTIAL_OPTIONS say."""

    aws_access_key_id: str | None
    aws_secret_access_key: str | None
    aws_session_token: str | None
    credentials_fd: int | None


def find_credentials(settings: CredentialSettings, environ: Mapping[str, str]) -> Credentials:
    """Return the credentials of the command line, else of the environment; never some of one and some of another.

    Does not ask AWS whether they are valid.

    Raises:
        InputError: they are given both as flags and by a file descriptor.
        CredentialsError: there are none, or they are malformed; the error shows nothing of them.
    """
    flags = _without_empty(
        {
            "AwsAccessKeyId": settings.aws_access_key_id,
            "AwsSecretAccessKey": settings.aws_secret_access_key,
            "AwsSessionToken": settings.aws_session_token,
        }
    )
    descriptor = settings.credentials_fd
    if flags and descriptor is not None:
        raise InputError("--credentials-fd cannot be combined with the --aws-... flags")
    if flags:
        return _credentials("command line", flags)
    if descriptor is not None:
        return _credentials(f"--credentials-fd {descriptor}", _read_fields(descriptor))
    fields = _without_empty({name: environ.get(variable) for variable, name in _VARIABLES.items()})
    if not fields:
        raise CredentialsError("no credentials: none in flags, in --credentials-fd or in the environment", hint=_HINT)
    return _credentials("environment", fields)


def _without_empty(fields: Mapping[str, str | None]) -> JsonObject:
    return {name: value for name, value in fields.items() if value}


def _credentials(source: str, fields: JsonObject) -> Credentials:
    try:
        return parse_set_client(fields).credentials
    except RequestError as error:
        raise CredentialsError(f"{source}: {error.hint}", provider=source, hint=_HINT) from None


def _read_fields(descriptor: int) -> JsonObject:
    """Return the credentials in ``descriptor`` by SetClient's names; a region in them does not count."""
    provider = f"--credentials-fd {descriptor}"
    try:
        # Not os.fdopen of the descriptor itself: whoever passed it may have passed standard input.
        with os.fdopen(os.dup(descriptor), "rb") as file:
            data = file.read(MAX_CREDENTIALS_BYTES + 1)
    except OSError as error:
        raise CredentialsError(f"{provider}: {(error.strerror or str(error)).lower()}", provider=provider) from error
    if len(data) > MAX_CREDENTIALS_BYTES:
        raise CredentialsError(
            f"{provider}: expected at most {MAX_CREDENTIALS_BYTES} bytes, got more", provider=provider
        )
    try:
        message = decode_message(data)
    except RequestError:
        raise CredentialsError(
            f"{provider}: not a JSON object",
            provider=provider,
            hint="pass the JSON from IMDS, or an object with AwsAccessKeyId, AwsSecretAccessKey and AwsSessionToken",
        ) from None
    named = {_IMDS_NAMES.get(name, name): value for name, value in message.items() if name != "AwsRegion"}
    if len(named) != len(message.keys() - {"AwsRegion"}):
        raise CredentialsError(f"{provider}: a field is given under two names", provider=provider)
    return named
