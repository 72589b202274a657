"""Where the AWS credentials come from: the environment, IMDSv2, or boto3's credential chain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from instance_tool.credentials.imds import fetch_role_credentials
from vsock_wire.errors import CredentialsError, quoted
from vsock_wire.protocol.messages import Credentials, is_credential

_CHAIN_VARIABLES = (
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""If one of these is set, the credential chain comes before IMDS: in a pod with a role, IMDS has the node's role."""
IMDS_SOURCE = "IMDSv2"
"""The source of the role's credentials starts with this word."""


class FoundCredentials(NamedTuple):
    """Credentials, and a description of where they were found, which may be logged."""

    credentials: Credentials
    source: str


def find_credentials(environ: Mapping[str, str], *, profile: str | None = None) -> FoundCredentials:
    """Find AWS credentials.

    Looks in this order: the given profile; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; boto3's credential chain, if a
    variable such as AWS_PROFILE is set; IMDSv2; the chain (profiles, SSO, containers). Does not ask AWS whether the
    credentials are valid.

    Args:
        environ: the environment variables.
        profile: a profile in the AWS configuration files; only the credential chain is asked then.

    Raises:
        CredentialsError: none were found. The text says for each place why it had none.
    """
    if profile:
        return _from_chain(profile)
    if environ.get("AWS_ACCESS_KEY_ID") or environ.get("AWS_SECRET_ACCESS_KEY"):
        return _sendable(_from_environment(environ), "the environment")
    if any(environ.get(name) for name in _CHAIN_VARIABLES):
        return _from_chain(None)
    try:
        found = fetch_role_credentials(environ)
    except CredentialsError as error:
        return _from_chain(None, otherwise=error)
    return _sendable(found.credentials, f"{IMDS_SOURCE}, role {found.role}")


def _sendable(credentials: Credentials, source: str) -> FoundCredentials:
    """Reject credentials that cannot be sent in a request. The error names the part but never quotes it."""
    parts = {
        "access key id": credentials.access_key_id,
        "secret access key": credentials.secret_access_key,
        "session token": credentials.session_token,
    }
    for name, part in parts.items():
        if part is not None and not is_credential(part):
            raise CredentialsError(
                f"credentials from {source}: the {name} is empty or has characters other than printable ASCII",
                provider=source,
                hint="look for a space, a line break or a wrong encoding where it is set",
            )
    return FoundCredentials(credentials, source)


def _from_environment(environ: Mapping[str, str]) -> Credentials:
    access_key_id, secret_access_key = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if not access_key_id or not secret_access_key:
        given, missing = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
        if not access_key_id:
            given, missing = missing, given
        raise CredentialsError(
            f"environment: {given} is set but {missing} is not",
            provider="environment",
            variable=missing,
            hint=f"set both, or unset {given}",
        )
    return Credentials(access_key_id, secret_access_key, environ.get("AWS_SESSION_TOKEN") or None)


def _from_chain(profile: str | None, *, otherwise: CredentialsError | None = None) -> FoundCredentials:
    """Ask the credential chain without its IMDS provider, because IMDS has been asked already.

    Args:
        profile: name of a profile, or None to let the chain choose.
        otherwise: why IMDS gave none, to report if the chain has none either.
    """
    try:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - slow to load
        from botocore.session import Session  # noqa: PLC0415
    except ImportError as error:
        raise otherwise or CredentialsError(
            "boto3: not installed", provider="boto3", hint="pip install 'nitro-kmstool[instance]'"
        ) from error
    try:
        session = Session(profile=profile)
        session.get_component("credential_provider").remove("iam-role")
        credentials = session.get_credentials()
        if credentials is not None:
            return _sendable(_frozen(credentials), f"credential chain, {credentials.method}")
    except (BotoCoreError, ClientError) as error:
        raise CredentialsError(f"credential chain: {quoted(str(error), 200)}", provider="boto3") from error
    if otherwise:
        raise CredentialsError(
            f"no AWS credentials: none in the environment; {otherwise}; none in the credential chain",
            hint=otherwise.hint,
        ) from otherwise
    raise CredentialsError("no AWS credentials: none in the environment, none in the credential chain")


def _frozen(credentials: Any) -> Credentials:
    frozen = credentials.get_frozen_credentials()
    return Credentials(frozen.access_key, frozen.secret_key, frozen.token)
