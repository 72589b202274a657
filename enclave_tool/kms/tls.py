"""TLS to KMS: which authorities are trusted to identify it."""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path

from botocore.httpsession import get_cert_path

from enclave_tool.kms.options import KmsOptions
from vsock_wire.errors import InputError


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
