"""Errors of the proxy, and the error texts of AWS's vsock-proxy (pure).

If AWS's program has a text for a failure, our message contains it, so that log searches still find it.
"""

from __future__ import annotations

import enum

from vsock_wire.errors import ExitCode, ToolError


class AwsText(enum.StrEnum):
    """Texts of AWS's vsock-proxy. Source: aws-nitro-enclaves-cli, vsock_proxy/src."""

    CHECK_FAILED = "Error at checking the allowlist"
    NOT_ALLOWED = "The given address and port are not allowed"
    NO_FILE = "Could not open the file"
    BAD_YAML = "Bad yaml format"
    NO_ALLOWLIST = "No allowlist field"
    NO_ADDRESS = "No address field"
    BAD_PORT = "No port field or invalid type"
    BAD_WORKERS = "Number of workers is not valid"
    NO_WORKERS = "Number of workers must not be 0"
    BAD_LOCAL_PORT = "Local port is not valid"
    BAD_REMOTE_PORT = "Remote port is not valid"
    BAD_DOMAIN = "Could not parse domain name"
    DNS_FAILED = "DNS lookup failed"
    NO_FAMILY = "No accepted IP was found"
    LISTENING = "Proxy is now in listening state"


class ProxyError(ToolError):
    """The proxy could not do what it was asked for; base class of this package's errors."""


class ConfigError(ProxyError):
    """The config file, or a destination in it or on the command line, is not valid."""

    exit_code = ExitCode.USAGE


class NotAllowedError(ProxyError):
    """The allowlist does not permit the destination."""

    exit_code = ExitCode.REFUSED


class UpstreamError(ProxyError):
    """The destination could not be reached.

    Attributes:
        timed_out: whether there was no answer in time, rather than a bad one.
    """

    exit_code = ExitCode.UNREACHABLE

    def __init__(self, message: str, *, hint: str | None = None, timed_out: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.timed_out = timed_out


class ResolveError(UpstreamError):
    """The system's resolver gave no usable address for a host name."""


class DialError(UpstreamError):
    """The proxy could not connect to any address of the destination."""


class BusyError(ProxyError):
    """No more connections are possible at the moment."""


class HeadError(ProxyError):
    """A client's CONNECT request is malformed, or too large, or came too slowly.

    Attributes:
        status: the HTTP status of the answer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
