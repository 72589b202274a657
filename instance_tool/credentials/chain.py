"""boto3's credential chain: profiles, SSO, web identity, containers. Each failure names the provider and the variable.

Its providers read files, run programs and ask servers that the user configured, and they raise whatever that leads to:
besides botocore's own errors, also ValueError, OSError, UnicodeDecodeError, KeyError and others. None of them is a bug
here, so every exception of a provider becomes a CredentialsError. Texts that may quote what a program printed, or a
token, are replaced by a description.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from instance_tool.credentials.account import account_of
from instance_tool.credentials.found import UNSENDABLE_HINT, FoundCredentials, problem_of
from instance_tool.credentials.imds import MODE_VARIABLE
from instance_tool.credentials.region import PROFILE_VARIABLES
from instance_tool.credentials.variables import (
    CONFIG_VARIABLE,
    CONTAINER_VARIABLES,
    CREDENTIALS_VARIABLE,
    ROLE_VARIABLE,
    TOKEN_FILE_VARIABLE,
    TOKEN_VARIABLE,
    WEB_IDENTITY_VARIABLE,
)
from vsock_wire.errors import CredentialsError, quoted
from vsock_wire.protocol.messages import Credentials

NOT_INSTALLED = "boto3"
"""The provider of the error if boto3 is not installed."""
PROCESS_TIMEOUT_S = 25.0
"""For a credential_process, which the chain runs without a limit. Shorter than the default of ``--timeout``."""
MAX_REASON_CHARS = 200
"""Maximum length of botocore's text, or of a path, in an error."""
MAX_TOKEN_BYTES = 65_536
"""How much of a token file is searched for a line break."""
_NUMBER_VARIABLES = ("AWS_METADATA_SERVICE_TIMEOUT", "AWS_METADATA_SERVICE_NUM_ATTEMPTS", "AWS_MAX_ATTEMPTS")
_SETTINGS, _IMDS = "settings", "iam-role"
_OWN_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "assume-role-with-web-identity": (WEB_IDENTITY_VARIABLE,),
    "container-role": CONTAINER_VARIABLES,
    "ec2-credentials-file": ("AWS_CREDENTIAL_FILE",),
    "boto-config": ("BOTO_CONFIG",),
}
"""The variables of the providers that do not depend on a profile alone. Source: botocore.credentials."""
_HINTS: Mapping[str, str] = {
    "custom-process": "run the profile's credential_process by hand; its output is not shown, as it may have secrets",
    "sso": "sign in with: aws sso login",
    "login": "sign in with: aws login, or use another kind of profile",
    "container-role": "in a container of ECS or EKS, leave these variables as the platform sets them",
}


def find_in_chain(profile: str | None, environ: Mapping[str, str]) -> FoundCredentials | None:
    """Return the credentials of the first provider that has some, or None. IMDS is not asked again.

    Args:
        profile: name of a profile, or None to let the chain choose.
        environ: the environment variables, to name the one that a failure is about. The chain reads this process's.

    Raises:
        CredentialsError: a provider is configured, but cannot give credentials; or boto3 is not installed.
    """
    try:
        from botocore.session import Session  # noqa: PLC0415 - slow to load
    except ImportError as error:
        raise CredentialsError(
            "boto3: not installed", provider=NOT_INSTALLED, hint="pip install 'nitro-kmstool[instance]'"
        ) from error
    with _blaming(_SETTINGS, profile, environ):
        providers = Session(profile=profile).get_component("credential_provider").providers
    for provider in providers:
        if provider.METHOD == _IMDS:
            continue
        with _blaming(provider.METHOD, profile, environ):
            _tame(provider)
            loaded = provider.load()
            if loaded is not None:
                return _found(loaded.method, loaded.get_frozen_credentials())
    return None


def _found(method: str, frozen: Any) -> FoundCredentials:
    credentials = Credentials(frozen.access_key, frozen.secret_key, frozen.token or None)
    problem = problem_of(credentials)
    if problem:
        raise CredentialsError(problem, provider=method, hint=UNSENDABLE_HINT)
    account_id = account_of(credentials.access_key_id) or frozen.account_id
    return FoundCredentials(credentials, f"credential chain, {method}", account_id)


def _tame(provider: Any) -> None:
    """Keep a provider from waiting for a person or a program without a limit, and from reading our standard input."""
    if provider.METHOD == "assume-role":
        provider._prompter = _refuse_to_prompt
    elif provider.METHOD == "custom-process":
        provider._popen = _BoundedProcess


def _refuse_to_prompt(*_: object) -> NoReturn:
    raise CredentialsError(
        "the profile's role needs a code of an MFA device, which is not asked for here",
        provider="assume-role",
        hint="get credentials with the aws command line, for example: aws sts assume-role",
    )


class _BoundedProcess(subprocess.Popen[bytes]):
    """A credential_process with a deadline, and without the standard input of this program, which has ciphertexts."""

    def __init__(self, arguments: list[str], **options: Any) -> None:
        super().__init__(arguments, stdin=subprocess.DEVNULL, **options)

    def communicate(self, *_: Any, **__: Any) -> tuple[bytes, bytes]:
        try:
            return super().communicate(timeout=PROCESS_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            self.wait()
            raise
        finally:
            for pipe in (self.stdout, self.stderr):  # a child of the program may keep the other ends open
                if pipe is not None:
                    pipe.close()


@contextmanager
def _blaming(provider: str, profile: str | None, environ: Mapping[str, str]) -> Iterator[None]:
    """Turn every exception into a CredentialsError that names the provider and the variable."""
    try:
        yield
    except Exception as error:  # the providers raise anything that a user's configuration leads to
        variable = _variable(provider, profile, environ, error)
        subject = f"credential chain, {provider} ({variable})"
        hint = error.hint if isinstance(error, CredentialsError) else _HINTS.get(provider)
        raise CredentialsError(
            f"{subject}: {_reason(provider, environ, error)}", provider=provider, variable=variable, hint=hint
        ) from error


def _variable(provider: str, profile: str | None, environ: Mapping[str, str], error: Exception) -> str:
    from botocore import exceptions as boto  # noqa: PLC0415 - loaded by now

    match error:
        case boto.ConfigParseError() if provider not in _OWN_VARIABLES:
            file = os.path.expanduser(environ.get(CREDENTIALS_VARIABLE) or "~/.aws/credentials")  # noqa: PTH111 - as botocore
            return CREDENTIALS_VARIABLE if error.kwargs.get("path") == file else CONFIG_VARIABLE
        case boto.InvalidIMDSEndpointModeError():
            return MODE_VARIABLE
        case boto.InvalidConfigError() if provider == "assume-role-with-web-identity":
            return ROLE_VARIABLE
        case ValueError() if _has_invalid_number(environ) and provider != "container-role":
            return next(name for name in _NUMBER_VARIABLES if not _is_number(environ.get(name)))
    if provider == "container-role" and _token_variable(environ, error):
        return _token_variable(environ, error)
    own = next(filter(environ.get, _OWN_VARIABLES.get(provider, ())), None)
    return own or _profile_variable(provider, profile, environ)


def _profile_variable(provider: str, profile: str | None, environ: Mapping[str, str]) -> str:
    """Return what chose the profile; for the default profile, the variable of the file that it is in."""
    if profile:
        return "--profile"
    chosen = [name for name in PROFILE_VARIABLES if environ.get(name)]
    if chosen:
        return chosen[0]
    return CREDENTIALS_VARIABLE if provider == "shared-credentials-file" else CONFIG_VARIABLE


def _token_variable(environ: Mapping[str, str], error: Exception) -> str:
    """Return the variable of the container's token if the error is about the token, else an empty text."""
    file = environ.get(TOKEN_FILE_VARIABLE)
    if file and (isinstance(error, UnicodeError | OSError) or _has_line_break(_read(file))):
        return TOKEN_FILE_VARIABLE
    return TOKEN_VARIABLE if _has_line_break(environ.get(TOKEN_VARIABLE, "")) else ""


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a path that may be anything
            return file.read(MAX_TOKEN_BYTES).decode("latin-1")
    except (OSError, ValueError):
        return ""


def _has_line_break(token: str) -> bool:
    return "\n" in token or "\r" in token


def _is_number(text: str | None) -> bool:
    return not text or text.strip().isdecimal()


def _has_invalid_number(environ: Mapping[str, str]) -> bool:
    return not all(_is_number(environ.get(name)) for name in _NUMBER_VARIABLES)


def _reason(provider: str, environ: Mapping[str, str], error: Exception) -> str:
    """Return why a provider failed, without anything that a program printed or a token file contains."""
    from botocore.exceptions import BotoCoreError, ClientError, ProfileNotFound  # noqa: PLC0415 - loaded by now

    match error:
        case CredentialsError():
            reason = str(error)
        case subprocess.TimeoutExpired():
            reason = f"the program printed nothing within {PROCESS_TIMEOUT_S:g} s and was ended"
        case OSError(strerror=str(text)):
            reason = (
                f"{quoted(str(error.filename), MAX_REASON_CHARS)}: {text.lower()}" if error.filename else text.lower()
            )
        case _ if provider == "custom-process":
            reason = "the command is not valid, or failed, or did not print the JSON that AWS SDKs expect"
        case UnicodeError():
            reason = "the file is not UTF-8 text"
        case RuntimeError():
            reason = "the credentials that it gives have expired"
        case ProfileNotFound():
            reason = f"there is no profile {quoted(str(error.kwargs.get('profile')))}"
        case BotoCoreError() | ClientError():
            reason = quoted(str(error), MAX_REASON_CHARS)
        case ValueError() if provider == "container-role":
            is_token = _token_variable(environ, error)
            reason = "the token has a line break" if is_token else "not a loopback or link-local address of a container"
        case _:
            reason = f"a value is not valid ({type(error).__name__})"
    return reason
