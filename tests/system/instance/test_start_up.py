"""Which modules a decrypt loads: starting Python takes most of the time of a decrypt on the instance."""

from __future__ import annotations

import re

from tests.support.deployment.deployment import CONTEXT_OPTIONS, Deployment

EXPENSIVE = {"boto3", "botocore", "asyncio", "cryptography", "cbor2"}
OTHERS_BUSINESS = {
    "configparser",  # AWS configuration files
    "difflib",  # misspelt names
    "encodings.idna",  # non-ASCII host names
    "hashlib",  # digests
    "http.client",  # SDKs
    "instance_tool.configuration.nitro_cli",  # finding an enclave
    "instance_tool.configuration.option_defaults",  # the configuration file
    "instance_tool.console.batch",  # batches
    "instance_tool.console.lines",  # batches
    "subprocess",  # finding an enclave
    "tomllib",  # the configuration file
    "vsock_wire.protocol.diagnosis",  # doctor
    "vsock_wire.protocol.refusals",  # refusals
    "vsock_wire.protocol.trace",  # --explain
}
"""Modules that only other commands, options or inputs use."""
IMPORT_LINE = re.compile(rb"import time:[^|]*\|[^|]*\|\s*(\S+)\n")
"""Source: python -X importtime; PYTHONPROFILEIMPORTTIME has the same effect."""


def test_decrypt_with_credentials_by_imdsv2_loads_no_expensive_library(deployment: Deployment) -> None:
    ciphertext = deployment.encrypt(b"cheaply")
    done = deployment.instance(
        *CONTEXT_OPTIONS,
        ciphertext,
        environment={**deployment.account.imds_environment, "PYTHONPROFILEIMPORTTIME": "1"},
    )
    assert done.stdout == b"cheaply\n"
    loaded = {name.decode() for name in IMPORT_LINE.findall(done.stderr)}
    assert "instance_tool.console.kms_requests" in loaded
    assert {name.partition(".")[0] for name in loaded} & EXPENSIVE == set()
    assert loaded & OTHERS_BUSINESS == set()
