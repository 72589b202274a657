"""Call AWS KMS from inside a Nitro Enclave, so that only this enclave can read the responses.

Most callers need a boto3 KMS client that makes attested calls::

    from enclave_tool import Credentials, attested_kms_client

    def decrypt(ciphertext: bytes, key_arn: str, credentials: Credentials) -> bytes:
        kms = attested_kms_client(region="us-east-1", credentials=credentials)  # create one client and keep it
        return kms.decrypt(CiphertextBlob=ciphertext, KeyId=key_arn)["Plaintext"]

The client connects to the vsock-proxy on the parent instance, over TLS that ends in this process, and uses /dev/nsm.
Elsewhere, for example with the simulator, pass the addresses of both::

    from enclave_tool import KmsOptions, Recipient, attested_kms_client, open_nsm

    kms = attested_kms_client(
        Recipient(open_nsm("unix:/run/nsm.sock")),
        region="us-east-1",
        options=KmsOptions(proxy="tcp://127.0.0.1:8000", ca_file="/run/authority.pem"),
    )

Simple:
    attested_kms_client, Credentials: the client, and the AWS credentials that it signs with.
    KmsOptions: the proxy, the KMS host, trusted authorities, timeouts, connections, KMS's clock.
    Recipient, open_nsm: the recipient key with its attestation documents, and the module that signs them.
    ToolError: base class of InputError (malformed text), and of NsmError, RecipientError and CmsError, which attested
        calls raise in addition to botocore's exceptions.

Advanced:
    attest_client: makes the calls of any boto3 KMS client attested, such as one that needs no vsock-proxy.
    tls_context, KmsClock: parts of KmsOptions that several clients can share.
    RecipientKey: a recipient key of another size than RSA-2048, or an existing one.
    Nsm, NsmDescription, NsmCarrier: the module itself, for documents that are not for KMS, for random bytes, or to
        reach it in another way.
    Address, VsockAddress, UnixAddress, TcpAddress, parse_address: addresses, for callers that need more than text.
    ExitCode: the exit code of a command-line program that an error ends.

Names are loaded on first use. The modules below this package are internal: ``server`` is the server of
kmstool-enclave, and ``commands`` has the command lines.

PYTEST_DONT_REWRITE: without this word, pytest warns where a program imports this package before it starts pytest.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enclave_tool.errors import CmsError, NsmError, RecipientError
    from enclave_tool.kms.client import attest_client, attested_kms_client
    from enclave_tool.kms.clock import KmsClock
    from enclave_tool.kms.options import KmsOptions
    from enclave_tool.kms.tls import tls_context
    from enclave_tool.nsm.codec import NsmDescription
    from enclave_tool.nsm.device import Nsm, NsmCarrier, open_nsm
    from enclave_tool.recipient.attested_key import Recipient, RecipientKey
    from vsock_wire.errors import ExitCode, InputError, ToolError
    from vsock_wire.net.address import Address, TcpAddress, UnixAddress, VsockAddress, parse_address
    from vsock_wire.protocol.messages import Credentials

__all__ = [
    "Address",
    "CmsError",
    "Credentials",
    "ExitCode",
    "InputError",
    "KmsClock",
    "KmsOptions",
    "Nsm",
    "NsmCarrier",
    "NsmDescription",
    "NsmError",
    "Recipient",
    "RecipientError",
    "RecipientKey",
    "TcpAddress",
    "ToolError",
    "UnixAddress",
    "VsockAddress",
    "attest_client",
    "attested_kms_client",
    "open_nsm",
    "parse_address",
    "tls_context",
]

if not TYPE_CHECKING:  # with __getattr__, a type checker would accept any name
    _HOMES = {
        "enclave_tool.errors": ("CmsError", "NsmError", "RecipientError"),
        "enclave_tool.kms.client": ("attest_client", "attested_kms_client"),
        "enclave_tool.kms.clock": ("KmsClock",),
        "enclave_tool.kms.options": ("KmsOptions",),
        "enclave_tool.kms.tls": ("tls_context",),
        "enclave_tool.nsm.codec": ("NsmDescription",),
        "enclave_tool.nsm.device": ("Nsm", "NsmCarrier", "open_nsm"),
        "enclave_tool.recipient.attested_key": ("Recipient", "RecipientKey"),
        "vsock_wire.errors": ("ExitCode", "InputError", "ToolError"),
        "vsock_wire.net.address": ("Address", "TcpAddress", "UnixAddress", "VsockAddress", "parse_address"),
        "vsock_wire.protocol.messages": ("Credentials",),
    }
    _MODULES = {name: module for module, names in _HOMES.items() for name in names}

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_MODULES[name]), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
