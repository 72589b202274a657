"""Where the AWS credentials come from: the environment, IMDSv2, or boto3's chain."""

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
"""Whoever sets one of these asks for boto3's chain. In a pod with a role of its own, IMDS has the node's role."""
IMDS_SOURCE = "IMDSv2"
"""How the source of credentials of the instance's role begins."""


class FoundCredentials(NamedTuple):
    """Credentials and where they were found, in words that may be logged."""

    credentials: Credentials
    source: str


def find_credentials(environ: Mapping[str, str], *, profile: str | None = None) -> FoundCredentials:
    """Find AWS credentials.

    In this order: a profile by name; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; boto3's chain where a variable asks
    for it; IMDSv2; boto3's chain (profiles, SSO, containers). Does not ask AWS whether they are valid.

    Args:
        environ: the environment variables.
        profile: a profile of the AWS configuration files, which boto3's chain reads.

    Raises:
        CredentialsError: none were found; the text names each place that was tried, and why it gave none.
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
    """Refuse here what cannot stand in a request; the text names the part, and quotes nothing of it."""
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
    """Ask boto3's chain, without its own IMDS provider: that one has been asked already.

    Args:
        profile: by name, or None for the chain's own choice.
        otherwise: why the places before gave none.
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
            return _sendable(_frozen(credentials), f"boto3's chain, {credentials.method}")
    except (BotoCoreError, ClientError) as error:
        raise CredentialsError(f"boto3's chain: {quoted(str(error), 200)}", provider="boto3") from error
    if otherwise:
        raise CredentialsError(
            f"no AWS credentials: none in the environment; {otherwise}; none in boto3's chain", hint=otherwise.hint
        ) from otherwise
    raise CredentialsError("no AWS credentials: none in the environment, none in boto3's chain")


def _frozen(credentials: Any) -> Credentials:
    frozen = credentials.get_frozen_credentials()
    return Credentials(frozen.access_key, frozen.secret_key, frozen.token)
