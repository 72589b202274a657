"""AWS credentials for a program inside the enclave: from flags, a file descriptor or the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from vsock_wire.errors import CredentialsError, InputError, quoted
from vsock_wire.protocol.json_codec import JsonObject, decode_message
from vsock_wire.protocol.messages import Credentials, parse_set_client
from vsock_wire.protocol.vocabulary import RequestError

MAX_CREDENTIALS_BYTES = 65_536
"""Maximum size of what --credentials-fd reads. IMDS's response has less than 2 KiB, but the size of a session token has
no documented limit."""

_NAMES: Mapping[str, str] = {
    "AccessKeyId": "AwsAccessKeyId",
    "SecretAccessKey": "AwsSecretAccessKey",
    "Token": "AwsSessionToken",
    "SessionToken": "AwsSessionToken",
    "Expiration": "Expiration",
    **{name: name for name in ("AwsAccessKeyId", "AwsSecretAccessKey", "AwsSessionToken")},
}
"""SetClient's names for the fields of IMDS, of ``aws configure export-credentials`` (the form of a credential_process),
of ``aws sts assume-role``, and of SetClient. Source: EC2 user guide, "Retrieve security credentials from instance
metadata"; AWS CLI reference; AWS SDKs and Tools reference guide, "Process credential provider"."""
_IGNORED = frozenset({"Code", "LastUpdated", "Type", "Version", "AccountId", "Operation", "AwsRegion"})
"""Fields that these forms have as well, and that say nothing about how to sign."""
_NESTED = "Credentials"
"""Where ``aws sts assume-role`` and the like put them, next to fields such as AssumedRoleUser."""
_TEMPORARY = "ASIA"
"""How the key ID of temporary credentials starts. Source: IAM user guide, "IAM identifiers"."""
_VARIABLES = {
    "AWS_ACCESS_KEY_ID": "AwsAccessKeyId",
    "AWS_SECRET_ACCESS_KEY": "AwsSecretAccessKey",
    "AWS_SESSION_TOKEN": "AwsSessionToken",
}
MAX_NAME_CHARS = 32
"""Maximum length of a name that an error quotes."""
_FORMS_HINT = (
    "pass the JSON from IMDS, aws configure export-credentials, aws sts assume-role, or an object with AwsAccessKeyId,"
    " AwsSecretAccessKey and AwsSessionToken"
)
_HINT = "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or pass --credentials-fd"


@dataclass(frozen=True, repr=False)
class CredentialSettings:
    """The values of CREDENTIAL_OPTIONS."""

    aws_access_key_id: str | None
    aws_secret_access_key: str | None
    aws_session_token: str | None
    credentials_fd: int | None


def find_credentials(settings: CredentialSettings, environ: Mapping[str, str]) -> Credentials:
    """Return the credentials from the command line or else from the environment, never a mix of sources.

    Does not ask AWS whether they are valid.

    Raises:
        InputError: both flags and a file descriptor give credentials.
        CredentialsError: there are no credentials, or they are malformed. The error does not show any part of them.
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
        credentials = parse_set_client(fields).credentials
    except RequestError as error:
        raise CredentialsError(f"{source}: {error.hint}", provider=source, hint=_HINT) from None
    if credentials.access_key_id.startswith(_TEMPORARY) and credentials.session_token is None:
        raise CredentialsError(
            f"{source}: a key ID that starts with {_TEMPORARY} is temporary and needs a session token",
            provider=source,
            hint=_HINT,
        )
    return credentials


def _read_fields(descriptor: int) -> JsonObject:
    """Return the credentials from ``descriptor`` by SetClient's names, without any region."""
    provider = f"--credentials-fd {descriptor}"
    try:
        # A duplicate, because closing the descriptor itself could close standard input.
        with os.fdopen(os.dup(descriptor), "rb") as file:
            data = file.read(MAX_CREDENTIALS_BYTES + 1)
    except OSError as error:
        raise CredentialsError(f"{provider}: {(error.strerror or str(error)).lower()}", provider=provider) from error
    if len(data) > MAX_CREDENTIALS_BYTES:
        raise CredentialsError(f"{provider}: larger than {MAX_CREDENTIALS_BYTES} bytes", provider=provider)
    try:
        message = decode_message(data)
    except RequestError:
        raise CredentialsError(f"{provider}: not a JSON object", provider=provider, hint=_FORMS_HINT) from None
    return _named(provider, message.get(_NESTED) if _NESTED in message else message)


def _named(provider: str, fields: object) -> JsonObject:
    """Return the fields by SetClient's names; refuse those that no known form of credentials has."""
    if not isinstance(fields, dict):
        raise CredentialsError(f"{provider}: {_NESTED}: not a JSON object", provider=provider, hint=_FORMS_HINT)
    unknown = next((name for name in fields if name not in _NAMES and name not in _IGNORED), None)
    if unknown is not None:
        raise CredentialsError(
            f"{provider}: unknown field {quoted(unknown, MAX_NAME_CHARS)}", provider=provider, hint=_FORMS_HINT
        )
    names = [_NAMES[name] for name in fields if name in _NAMES]
    if len(names) != len(set(names)):
        raise CredentialsError(f"{provider}: a field is given under two names", provider=provider)
    return {_NAMES[name]: value for name, value in fields.items() if name in _NAMES}
