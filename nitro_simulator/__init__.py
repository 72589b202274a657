"""Test enclave code without Nitro hardware and without an AWS account: a simulated NSM, KMS and IMDSv2.

Most callers use the pytest fixtures, which pytest finds by itself if ``nitro-kmstool[sim]`` is installed::

    import pytest
    from botocore.exceptions import ClientError
    from nitro_simulator import SimulatedAccount

    def test_only_the_enclave_decrypts(kmstool_sim: SimulatedAccount) -> None:
        outside, inside = kmstool_sim.unattested_client(), kmstool_sim.attested_client()
        blob = outside.encrypt(KeyId=kmstool_sim.key.arn, Plaintext=b"secret")["CiphertextBlob"]
        assert inside.decrypt(CiphertextBlob=blob)["Plaintext"] == b"secret"
        with pytest.raises(ClientError, match="AccessDenied"):
            outside.decrypt(CiphertextBlob=blob)

KMS verifies real attestation documents, signed under a root made for the run, and enforces the key policy.

Simple:
    kmstool_sim: fixture, a SimulatedAccount for the test session. kmstool_key_id, kmstool_endpoint_url: its KMS.
    kmstool_client, kmstool_enclave_client: fixtures, boto3 clients outside and inside the enclave that the key trusts.
    SimulatedAccount: the same for your own programs: ``with SimulatedAccount() as account``.
    ImdsMode: makes the metadata service fail. JournalEntry: a request to KMS, and why KMS refused it.

Advanced:
    SimulatedKms, KmsServer, TlsAuthority, Identities: a KMS alone, with your own keys, policies and callers.
    AccountPolicies: identity policies, a VPC endpoint policy, a service control policy; ``account.kms.policies``.
    Grants: those of a key; KeyState: its state.
    SimulatedNsm, NsmServer, AttestationAuthority: an NSM alone, with PCRs of your choice, on a unix socket.
    Imds, ImdsServer: a metadata service alone. Clock: the time in all of these, to test expiry.
    AnswerRewriter, RecipientForm: a KMS that misbehaves.

Keys, certificates and credentials are created at startup and discarded at the end. Nothing here protects anything:
do not give it a real secret. Names are loaded on first use. The modules below this package are internal.

PYTEST_DONT_REWRITE: without this word, pytest warns where a program imports this package before it starts pytest.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nitro_simulator.account import Enclave, SimulatedAccount
    from nitro_simulator.clock import Clock
    from nitro_simulator.errors import KmsFault, SimulatorError
    from nitro_simulator.http_server import Application, HttpRequest, HttpResponse, HttpServer
    from nitro_simulator.identities import Identities, Identity
    from nitro_simulator.imds import Imds, ImdsMode, ImdsServer
    from nitro_simulator.kms.access.grants import Grant, GrantConstraint, Grants
    from nitro_simulator.kms.access.policies import AccountPolicies
    from nitro_simulator.kms.answers import AnswerRewriter
    from nitro_simulator.kms.journal import Journal, JournalEntry
    from nitro_simulator.kms.keys.key import KeyFamily, KeyState, KmsKey
    from nitro_simulator.kms.keys.specs import Material
    from nitro_simulator.kms.keys.store import KeyStore
    from nitro_simulator.kms.recipient_cms import RecipientForm
    from nitro_simulator.kms.server import KmsServer
    from nitro_simulator.kms.service import SimulatedKms
    from nitro_simulator.nsm.authority import AttestationAuthority, Leaf
    from nitro_simulator.nsm.server import NsmServer
    from nitro_simulator.nsm.service import SimulatedNsm
    from nitro_simulator.pki.tls import ServerTls, TlsAuthority
    from nitro_simulator.pytest_plugin.fixtures import (
        kmstool_client,
        kmstool_enclave_client,
        kmstool_endpoint_url,
        kmstool_key_id,
        kmstool_sim,
    )
    from vsock_wire.errors import ExitCode, ToolError
    from vsock_wire.net.address import UnixAddress
    from vsock_wire.protocol.json_codec import JsonObject
    from vsock_wire.protocol.messages import Credentials

__all__ = [
    "AccountPolicies",
    "AnswerRewriter",
    "Application",
    "AttestationAuthority",
    "Clock",
    "Credentials",
    "Enclave",
    "ExitCode",
    "Grant",
    "GrantConstraint",
    "Grants",
    "HttpRequest",
    "HttpResponse",
    "HttpServer",
    "Identities",
    "Identity",
    "Imds",
    "ImdsMode",
    "ImdsServer",
    "Journal",
    "JournalEntry",
    "JsonObject",
    "KeyFamily",
    "KeyState",
    "KeyStore",
    "KmsFault",
    "KmsKey",
    "KmsServer",
    "Leaf",
    "Material",
    "NsmServer",
    "RecipientForm",
    "ServerTls",
    "SimulatedAccount",
    "SimulatedKms",
    "SimulatedNsm",
    "SimulatorError",
    "TlsAuthority",
    "ToolError",
    "UnixAddress",
    "kmstool_client",
    "kmstool_enclave_client",
    "kmstool_endpoint_url",
    "kmstool_key_id",
    "kmstool_sim",
]

if not TYPE_CHECKING:  # hidden from type checkers, which would otherwise accept any name
    _HOMES = {
        "nitro_simulator.account": (
            "Enclave",
            "SimulatedAccount",
        ),
        "nitro_simulator.clock": ("Clock",),
        "nitro_simulator.errors": (
            "KmsFault",
            "SimulatorError",
        ),
        "nitro_simulator.pytest_plugin.fixtures": (
            "kmstool_client",
            "kmstool_enclave_client",
            "kmstool_endpoint_url",
            "kmstool_key_id",
            "kmstool_sim",
        ),
        "nitro_simulator.http_server": (
            "Application",
            "HttpRequest",
            "HttpResponse",
            "HttpServer",
        ),
        "nitro_simulator.identities": (
            "Identities",
            "Identity",
        ),
        "nitro_simulator.imds": (
            "Imds",
            "ImdsMode",
            "ImdsServer",
        ),
        "nitro_simulator.kms.access.grants": (
            "Grant",
            "GrantConstraint",
            "Grants",
        ),
        "nitro_simulator.kms.access.policies": ("AccountPolicies",),
        "nitro_simulator.kms.answers": ("AnswerRewriter",),
        "nitro_simulator.kms.journal": (
            "Journal",
            "JournalEntry",
        ),
        "nitro_simulator.kms.keys.key": (
            "KeyFamily",
            "KeyState",
            "KmsKey",
        ),
        "nitro_simulator.kms.keys.specs": ("Material",),
        "nitro_simulator.kms.keys.store": ("KeyStore",),
        "nitro_simulator.kms.recipient_cms": ("RecipientForm",),
        "nitro_simulator.kms.server": ("KmsServer",),
        "nitro_simulator.kms.service": ("SimulatedKms",),
        "nitro_simulator.nsm.authority": (
            "AttestationAuthority",
            "Leaf",
        ),
        "nitro_simulator.nsm.server": ("NsmServer",),
        "nitro_simulator.nsm.service": ("SimulatedNsm",),
        "nitro_simulator.pki.tls": (
            "ServerTls",
            "TlsAuthority",
        ),
        "vsock_wire.errors": (
            "ExitCode",
            "ToolError",
        ),
        "vsock_wire.net.address": ("UnixAddress",),
        "vsock_wire.protocol.json_codec": ("JsonObject",),
        "vsock_wire.protocol.messages": ("Credentials",),
    }
    _MODULES = {name: module for module, names in _HOMES.items() for name in names}

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_MODULES[name]), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
