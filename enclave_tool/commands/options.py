"""Options that the command lines of the enclave share, and what they amount to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click

from enclave_tool.kms.client import PROXY_PORT
from enclave_tool.nsm.device import NSM_DEVICE
from enclave_tool.server.config import Surroundings, parse_endpoint_host, parse_nsm_location, refuse_non_vsock
from vsock_wire.cli.shared_options import ENCRYPTION_CONTEXT
from vsock_wire.cli.streams import STANDARD_INPUT, read_file
from vsock_wire.cli.values import parse_base64
from vsock_wire.errors import CredentialsError, InputError
from vsock_wire.net.address import CID_PARENT, parse_address, vsock_address
from vsock_wire.protocol.json_codec import JsonObject, decode_message
from vsock_wire.protocol.messages import Credentials, parse_set_client
from vsock_wire.protocol.vocabulary import RequestError

MAX_CREDENTIALS_BYTES = 65_536
"""Read from --credentials-fd. IMDS's answer has less than 2 KiB; session tokens have no documented limit."""
MAX_TEXT_BYTES = 65_536
"""Most bytes of base64 text read from standard input; the largest public key needs a sixth of it."""

_IMDS_NAMES = {"AccessKeyId": "AwsAccessKeyId", "SecretAccessKey": "AwsSecretAccessKey", "Token": "AwsSessionToken"}
"""What IMDS calls the fields of SetClient. Source: EC2 user guide, "Retrieve security credentials from instance
metadata"."""
_VARIABLES = {
    "AWS_ACCESS_KEY_ID": "AwsAccessKeyId",
    "AWS_SECRET_ACCESS_KEY": "AwsSecretAccessKey",
    "AWS_SESSION_TOKEN": "AwsSessionToken",
}
_FLAGS = {
    "aws_access_key_id": "AwsAccessKeyId",
    "aws_secret_access_key": "AwsSecretAccessKey",
    "aws_session_token": "AwsSessionToken",
}
_HINT = "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or pass --credentials-fd"

ROUTE_OPTIONS = (
    click.option(
        "--proxy-port", envvar="PROXY_PORT", show_envvar=True, type=int, metavar="PORT", default=PROXY_PORT,
        show_default=True, help="vsock port of vsock-proxy.",
    ),
    click.option(
        "--parent-cid", type=int, metavar="CID", default=CID_PARENT, show_default=True, help="CID of vsock-proxy."
    ),
    click.option(
        "--endpoint", envvar="ENDPOINT", show_envvar=True, metavar="HOST", help="KMS host, if not the usual one."
    ),
    click.option("--ca-file", type=click.Path(exists=True, dir_okay=False), help="PEM bundle trusted to name KMS."),
    click.option("--nsm", default=NSM_DEVICE, show_default=True, metavar="PATH", help="Nitro Security Module device."),
    click.option("--proxy", metavar="ADDRESS", help="Dial this address instead of --parent-cid and --proxy-port."),
    click.option("--allow-non-vsock", is_flag=True, help="Take unix: and tcp:// addresses, to run without Nitro."),
)  # fmt: skip
CREDENTIAL_OPTIONS = (
    click.option("--aws-access-key-id", metavar="ID", help="AWS access key id; better from the environment."),
    click.option("--aws-secret-access-key", metavar="KEY", help="Its secret; other processes can read it here."),
    click.option("--aws-session-token", metavar="TOKEN", help="Its session token, if it has one."),
    click.option(
        "--credentials-fd", type=click.IntRange(0), metavar="N",
        help="Read credentials as JSON from this file descriptor, as IMDS writes them.",
    ),
)  # fmt: skip

CONTEXT_OPTIONS = (ENCRYPTION_CONTEXT.declare(click.option),)


def parse_surroundings(options: Mapping[str, Any]) -> Surroundings:
    """Return what ROUTE_OPTIONS and --region say.

    Raises:
        InputError: an address or host name is none, or one that only --allow-non-vsock allows.
    """
    proxy, endpoint = options["proxy"], options["endpoint"]
    surroundings = Surroundings(
        proxy=parse_address(proxy) if proxy else vsock_address(options["parent_cid"], options["proxy_port"]),
        nsm=parse_nsm_location(options["nsm"]),
        region=options["region"] or None,
        endpoint_host=parse_endpoint_host(endpoint) if endpoint else None,
        ca_file=options["ca_file"],
    )
    if not options["allow_non_vsock"]:
        refuse_non_vsock(surroundings)
    return surroundings


def find_credentials(options: Mapping[str, Any], environ: Mapping[str, str]) -> Credentials:
    """Return the credentials of CREDENTIAL_OPTIONS, else of the environment; never some of one and some of another.

    Does not ask AWS whether they are valid.

    Raises:
        InputError: they are given both as flags and by a file descriptor.
        CredentialsError: there are none, or they are malformed; the error shows nothing of them.
    """
    flags = {name: options[flag] for flag, name in _FLAGS.items() if options[flag]}
    descriptor: int | None = options["credentials_fd"]
    if flags and descriptor is not None:
        raise InputError("--credentials-fd excludes --aws-access-key-id and its companions")
    if flags:
        return _credentials("command line", flags)
    if descriptor is not None:
        return _credentials(f"--credentials-fd {descriptor}", _read_fields(descriptor))
    fields: JsonObject = {name: environ[variable] for variable, name in _VARIABLES.items() if environ.get(variable)}
    if not fields:
        raise CredentialsError("no credentials: not on the command line, no --credentials-fd, none set", hint=_HINT)
    return _credentials("environment", fields)


def read_base64(flag: str, text: str, most_bytes: int, options: Mapping[str, Any]) -> bytes:
    """Return the bytes of a flag's base64 text, or of standard input's for ``-``; blanks in it do not matter.

    Raises:
        InputError: it is no standard base64 with padding, empty, or longer than ``most_bytes``.
    """
    data = read_standard_input(MAX_TEXT_BYTES, options) if text == "-" else os.fsencode(text)
    decoded = parse_base64(flag, data)
    if not 1 <= len(decoded) <= most_bytes:
        raise InputError(f"{flag}: expected 1 to {most_bytes} bytes, got {len(decoded)}")
    return decoded


def read_standard_input(most_bytes: int, options: Mapping[str, Any]) -> bytes:
    """Return all of standard input.

    Raises:
        InputError: it is longer than ``most_bytes``, closed, or where the credentials are.
    """
    if options["credentials_fd"] == 0:
        raise InputError("standard input: expected it for the data, got it for --credentials-fd as well")
    return read_file(STANDARD_INPUT, "standard input", max_bytes=most_bytes)


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
            f"{provider}: expected one JSON object, got other bytes",
            provider=provider,
            hint="pass IMDS's answer, or an object with AwsAccessKeyId, AwsSecretAccessKey and AwsSessionToken",
        ) from None
    named = {_IMDS_NAMES.get(name, name): value for name, value in message.items() if name != "AwsRegion"}
    if len(named) != len(message.keys() - {"AwsRegion"}):
        raise CredentialsError(f"{provider}: expected each field once, got one under two names", provider=provider)
    return named
