"""TLS to KMS: which authorities are trusted to identify it, and which host answers in its place."""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from botocore.httpsession import get_cert_path

from enclave_tool.errors import TlsError
from enclave_tool.kms.options import KmsOptions
from vsock_wire.errors import InputError, ToolError, TransportError, printable
from vsock_wire.net.sockets import connect_socket

MAX_NAMES = 4
"""Number of host names of a certificate that an error shows."""
MAX_NAME_CHARS = 253
"""The longest host name. Source: RFC 1035, section 2.3.4."""


def tls_context(ca_file: str | Path | None = None) -> ssl.SSLContext:
    """Return a client context for TLS 1.2 or later that checks certificates and host names.

    Parses the whole bundle, which takes about 20 ms, so create only one per process.

    Args:
        ca_file: PEM bundle of the trusted authorities; by default the bundle that botocore trusts.

    Raises:
        InputError: the bundle cannot be read.
    """
    bundle = ca_file or get_cert_path(True)
    # Not ssl.create_default_context, which obeys SSLKEYLOGFILE: an environment variable could have the session keys
    # written to a file. PROTOCOL_TLS_CLIENT also checks certificate and host name, and reads no environment.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=bundle)
    except OSError as error:
        reason = (error.strerror or "no certificate in it").lower()
        raise InputError(f"CA bundle {bundle}: cannot read PEM certificates: {reason}") from error
    return context


def load_trust(options: KmsOptions) -> KmsOptions:
    """Return ``options`` with ``tls`` instead of ``ca_file``, so that all clients made from it share one context.

    Raises:
        InputError: the bundle cannot be read.
    """
    return options if options.tls else replace(options, ca_file=None, tls=tls_context(options.ca_file))


def with_name_of_peer(error: ToolError, options: KmsOptions) -> ToolError:
    """Return an error that says which host the proxy leads to, if that is not the one that was asked for.

    Connects once more to read the certificate; sends nothing over that connection. Any other error is returned
    unchanged, and so is this one if the peer cannot prove its name.

    Args:
        error: why a call failed.
        options: how to reach KMS.
    """
    if not isinstance(error, TlsError) or error.wrong_host is None or options.proxy_connect or options.tls is None:
        return error
    try:
        names = _names_of_peer(options, error.wrong_host.partition(":")[0])
    except (OSError, TransportError, ValueError):
        return error
    if not names:
        return error
    shown = ", ".join(printable(name)[:MAX_NAME_CHARS] for name in names[:MAX_NAMES])
    return TlsError(
        f"{error}; the proxy leads to {shown}",
        wrong_host=error.wrong_host,
        hint=(
            "choose the region of the host that the proxy leads to, or change the proxy's route; with --proxy-connect,"
            " one CONNECT route leads to every region"
        ),
    )


def _names_of_peer(options: KmsOptions, host: str) -> list[str]:
    """Return the host names in the certificate that the peer presents; a trusted authority must have issued it."""
    trusted = cast("ssl.SSLContext", options.tls).get_ca_certs(binary_form=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # to read the certificate of another host; nothing is sent to it
    context.load_verify_locations(cadata=b"".join(trusted))
    with connect_socket(options.proxy_address, timeout_s=options.connect_timeout_s) as sock:
        sock.settimeout(options.connect_timeout_s)
        with context.wrap_socket(sock, server_hostname=host) as tls:
            certificate: Any = tls.getpeercert()
    return [name for kind, name in certificate.get("subjectAltName", ()) if kind == "DNS"]
