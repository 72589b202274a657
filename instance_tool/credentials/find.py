"""Where the AWS credentials come from: the environment, IMDSv2, or boto3's credential chain."""

from __future__ import annotations

from collections.abc import Mapping

from instance_tool.credentials.found import FoundCredentials, sendable
from instance_tool.credentials.imds import fetch_role_credentials
from instance_tool.credentials.region import PROFILE_VARIABLES
from instance_tool.credentials.variables import CONTAINER_VARIABLES, WEB_IDENTITY_VARIABLE
from instance_tool.errors import NoCredentialsError
from vsock_wire.errors import CredentialsError, quoted
from vsock_wire.protocol.messages import Credentials

_CHAIN_VARIABLES = (*PROFILE_VARIABLES, WEB_IDENTITY_VARIABLE, *CONTAINER_VARIABLES)
"""If one of these is set, the credential chain comes before IMDS: in a pod with a role, IMDS has the node's role."""
IMDS_SOURCE = "IMDSv2"
"""The source of the role's credentials starts with this word."""


def find_credentials(environ: Mapping[str, str], *, profile: str | None = None) -> FoundCredentials:
    """Find AWS credentials.

    Looks in this order: the given profile; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; boto3's credential chain, if a
    variable such as AWS_PROFILE is set; IMDSv2; the chain (profiles, SSO, containers). Does not ask AWS whether the
    credentials are valid.

    Args:
        environ: the environment variables.
        profile: a profile in the AWS configuration files; only the credential chain is asked then.

    Raises:
        NoCredentialsError: none were found. The text says for each place why it had none.
        CredentialsError: the place that was to be asked is not set up right. The text names the provider and, where one
            is to blame, the variable.
    """
    if profile:
        return _from_profile(profile, environ)
    if environ.get("AWS_ACCESS_KEY_ID") or environ.get("AWS_SECRET_ACCESS_KEY"):
        return sendable(_from_environment(environ), "the environment", variable="AWS_ACCESS_KEY_ID")
    if any(environ.get(name) for name in _CHAIN_VARIABLES):
        return _from_profile(None, environ)
    try:
        found = fetch_role_credentials(environ)
    except CredentialsError as error:
        return _after_imds(environ, error)
    return sendable(found.credentials, f"{IMDS_SOURCE}, role {found.role}")


def _from_profile(profile: str | None, environ: Mapping[str, str]) -> FoundCredentials:
    """Return what the credential chain gives for a profile, or for the variables that choose what it asks."""
    from instance_tool.credentials.chain import find_in_chain  # noqa: PLC0415 - only if the chain is asked

    found = find_in_chain(profile, environ)
    if found is not None:
        return found
    variable = "--profile" if profile else next(name for name in _CHAIN_VARIABLES if environ.get(name))
    raise CredentialsError(
        f"credential chain ({variable}): no provider has credentials for {quoted(profile or environ[variable])}",
        provider="credential chain",
        variable=variable,
        hint="see which settings the profile has: aws configure list --profile NAME",
    )


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


def _after_imds(environ: Mapping[str, str], imds: CredentialsError) -> FoundCredentials:
    """Return what the credential chain gives, or report why neither it nor IMDS has any."""
    from instance_tool.credentials.chain import NOT_INSTALLED, find_in_chain  # noqa: PLC0415 - only if it is asked

    chain = None
    try:
        found = find_in_chain(None, environ)
    except CredentialsError as error:
        if error.provider == NOT_INSTALLED:
            raise imds from error
        found, chain = None, error
    if found is not None:
        return found
    raise NoCredentialsError(imds, chain) from chain or imds
