"""What a program loads before it does its work: most of what a decrypt costs on the instance is starting Python."""

from __future__ import annotations

import re

from tests.system.conftest import CONTEXT_OPTIONS, Deployment

EXPENSIVE = {"boto3", "botocore", "asyncio", "cryptography", "cbor2"}
IMPORT_LINE = re.compile(rb"import time:[^|]*\|[^|]*\|\s*(\S+)\n")
"""Source: python -X importtime, which PYTHONPROFILEIMPORTTIME stands for."""


def test_decrypt_with_credentials_by_imdsv2_loads_no_expensive_library(deployment: Deployment) -> None:
    ciphertext = deployment.encrypt(b"cheaply")
    done = deployment.instance(
        *CONTEXT_OPTIONS,
        ciphertext,
        environment={**deployment.account.imds_environment, "PYTHONPROFILEIMPORTTIME": "1"},
    )
    assert done.stdout == b"cheaply\n"
    loaded = {name.decode().partition(".")[0] for name in IMPORT_LINE.findall(done.stderr)}
    assert "instance_tool" in loaded
    assert loaded & EXPENSIVE == set()
