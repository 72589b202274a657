"""Call KMS through an enclave, from a Python program on the parent instance.

Most programs let the enclave decrypt, with the credentials that ``kmstool-instance`` would find::

    import os
    from instance_tool.client import CredentialSource, EnclaveClient, KmsRequest, Operation
    from instance_tool.client import find_credentials, parse_address

    source = CredentialSource(lambda: find_credentials(os.environ))  # replaces credentials before they expire

    def decrypt(ciphertext: bytes) -> bytes | None:
        with EnclaveClient(parse_address("vsock://16:3000"), credentials=source, region="us-east-1") as client:
            return client.ask_enclave(KmsRequest(Operation.DECRYPT, {"CiphertextBlob": ciphertext})).secret

A client keeps its connection, so use one client for many requests. Every failure is a ToolError: a TransportError if
the enclave cannot be reached, an EnclaveError if the enclave or KMS denies the request.

Simple:
    EnclaveClient: ``ask_enclave``, ``describe``, ``fetch_attestation_document``. parse_address: the enclave's address.
    KmsRequest, Operation: a request, with KMS's parameter names. KmsResult: its result.
    Credentials, CredentialSource, find_credentials, FoundCredentials: fixed, or found as the tool finds them.
    Region, RegionSource: the region of KMS, found as the tool finds it, for an enclave that sets none.
    EnclaveError, LegacyPeerError, TransportError, WireError, CredentialsError, InputError, ToolError: the errors.

Advanced:
    Pipeline: many concurrent requests on one connection. EnclavePool, BusyError: one enclave, many threads.
    JsonObject: a message on the wire, for ``exchange`` and ``exchange_with_credentials``.
    Delivery: how much of a secret leaves the enclave. ErrorReply: everything that an enclave reports about a failure.
    Address, VsockAddress, UnixAddress, TcpAddress: the kinds of address.
    ExitCode: the exit code of ``kmstool-instance`` for an error.

Names are loaded on first use. The modules in this package are internal.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from instance_tool.client.client import EnclaveClient
    from instance_tool.client.pipeline import Pipeline
    from instance_tool.client.pool import EnclavePool
    from instance_tool.credentials.find import find_credentials
    from instance_tool.credentials.found import FoundCredentials
    from instance_tool.credentials.region import Region, RegionSource
    from instance_tool.credentials.source import CredentialSource
    from instance_tool.errors import BusyError, EnclaveError, LegacyPeerError
    from vsock_wire.errors import CredentialsError, ExitCode, InputError, ToolError, TransportError, WireError
    from vsock_wire.net.address import Address, TcpAddress, UnixAddress, VsockAddress, parse_address
    from vsock_wire.protocol.delivery import Delivery
    from vsock_wire.protocol.json_codec import JsonObject
    from vsock_wire.protocol.kms_operations import KmsRequest, KmsResult
    from vsock_wire.protocol.messages import Credentials, ErrorReply
    from vsock_wire.protocol.vocabulary import Operation

__all__ = [
    "Address",
    "BusyError",
    "CredentialSource",
    "Credentials",
    "CredentialsError",
    "Delivery",
    "EnclaveClient",
    "EnclaveError",
    "EnclavePool",
    "ErrorReply",
    "ExitCode",
    "FoundCredentials",
    "InputError",
    "JsonObject",
    "KmsRequest",
    "KmsResult",
    "LegacyPeerError",
    "Operation",
    "Pipeline",
    "Region",
    "RegionSource",
    "TcpAddress",
    "ToolError",
    "TransportError",
    "UnixAddress",
    "VsockAddress",
    "WireError",
    "find_credentials",
    "parse_address",
]

if not TYPE_CHECKING:  # a type checker would accept any name as one of this package's
    _HOMES = {
        "instance_tool.client.client": ("EnclaveClient",),
        "instance_tool.client.pipeline": ("Pipeline",),
        "instance_tool.client.pool": ("EnclavePool",),
        "instance_tool.credentials.find": ("find_credentials",),
        "instance_tool.credentials.found": ("FoundCredentials",),
        "instance_tool.credentials.region": ("Region", "RegionSource"),
        "instance_tool.credentials.source": ("CredentialSource",),
        "instance_tool.errors": ("BusyError", "EnclaveError", "LegacyPeerError"),
        "vsock_wire.errors": (
            "CredentialsError",
            "ExitCode",
            "InputError",
            "ToolError",
            "TransportError",
            "WireError",
        ),
        "vsock_wire.net.address": ("Address", "TcpAddress", "UnixAddress", "VsockAddress", "parse_address"),
        "vsock_wire.protocol.json_codec": ("JsonObject",),
        "vsock_wire.protocol.delivery": ("Delivery",),
        "vsock_wire.protocol.kms_operations": ("KmsRequest", "KmsResult"),
        "vsock_wire.protocol.messages": ("Credentials", "ErrorReply"),
        "vsock_wire.protocol.vocabulary": ("Operation",),
    }
    _MODULES = {name: module for module, names in _HOMES.items() for name in names}

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_MODULES[name]), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
