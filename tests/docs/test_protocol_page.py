"""docs/reference/protocol.md has every operation, field, limit and code of the wire protocol, and no others."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterable

import pytest

from enclave_tool.server import app
from instance_tool.errors import INSTANCE_SERVICE, InstanceCode
from tests.support.project.doc_blocks import ROOT, without_blocks
from vsock_wire.protocol.attestation import _ATTESTATION_FIELDS
from vsock_wire.protocol.delivery import DELIVERY, DIGEST, MESSAGE, WITHOUT_MESSAGE, Delivery
from vsock_wire.protocol.diagnosis import MAX_HOP_TEXT_CHARS, MAX_HOPS, Hop, HopName, HopState
from vsock_wire.protocol.fields import Field, Kind
from vsock_wire.protocol.frames import MAX_MESSAGE_BYTES
from vsock_wire.protocol.json_codec import MAX_DEPTH
from vsock_wire.protocol.kms_operations import KMS_OPERATIONS, MAX_TIMEOUT_S, TIMEOUT_S_FIELD
from vsock_wire.protocol.messages import MAX_ID_CHARS, Credentials, ErrorReply, SetClient
from vsock_wire.protocol.trace import MAX_STEPS, MAX_TEXT_CHARS, Attested, KmsAnswered, Opened, TlsConnected
from vsock_wire.protocol.vocabulary import (
    CREDENTIALS_HELD,
    DEFAULT_REGION,
    EVIDENCE,
    EXPLAIN,
    MAX_IN_FLIGHT,
    PROTOCOL_VERSION,
    REGION,
    SERVICE_PORT,
    TRIES,
    EnclaveCode,
    Operation,
    Service,
)

TEXT = without_blocks(ROOT / "docs/reference/protocol.md")
SECTIONS = dict(re.findall(r"^##+ ([^\n]+)\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL))
"""Text below each heading, up to the next one."""


def tables(section: str) -> dict[str, dict[str, str]]:
    """Return the tables of a section by the heading of their first column, as meanings by name."""
    pattern = re.compile(r"^\| ([\w ]+) \| Meaning \|\n\|---\|---\|\n((?:\|.*\n?)+)", re.MULTILINE)
    row = re.compile(r"^\| `([\w]+)` \| (.*) \|$", re.MULTILINE)
    return {head: dict(row.findall(rows)) for head, rows in pattern.findall(SECTIONS[section])}


def meaning(field: Field) -> str:
    """Return how the page must describe a field of a request."""
    kind = {
        Kind.TEXT: "string",
        Kind.TEXTS: f"list of at most {field.most} strings",
        Kind.BYTES: f"base64, {field.least} to {field.most or 0:,} bytes",
        Kind.NUMBER: f"number from 1 to {field.most or 0:,}",
        Kind.CONTEXT: "object with strings as values, or its JSON text",
        Kind.FLAG: "true or false",
    }[field.kind]
    return f"{kind}, required." if field.is_required else f"{kind}."


def names(fields: Iterable[Field]) -> list[str]:
    return [field.name for field in fields]


def wire_names(step: type) -> list[str]:
    return [field.name.title().replace("_", "") for field in dataclasses.fields(step)]


@pytest.mark.parametrize("operation", KMS_OPERATIONS)
def test_kms_operation_has_its_fields(operation: Operation) -> None:
    spec = KMS_OPERATIONS[operation]
    found = tables(operation)
    assert list(found["Field"]) == names(spec.request)
    for field in spec.request:
        assert found["Field"][field.name].startswith(meaning(field)), field.name
    secret = [] if spec.delivers is None else [MESSAGE]
    assert list(found["Reply field"]) == secret + names(spec.reply)
    for field in spec.reply:
        assert found["Reply field"][field.name].startswith("base64" if field.kind is Kind.BYTES else "string")


def test_every_operation_has_a_section() -> None:
    assert [operation for operation in Operation if operation not in SECTIONS] == []


def test_fields_of_every_message_and_every_kms_request() -> None:
    every = tables("Fields of every message")
    assert list(every["Field"]) == ["Operation", "Id", EXPLAIN]
    assert list(every["Reply field"]) == ["Status", "Id", EVIDENCE]
    kms = tables("Fields of every KMS request")
    assert list(kms["Field"]) == [TIMEOUT_S_FIELD, "Accepts"]
    assert list(kms["Reply field"]) == [TRIES, DELIVERY, MESSAGE, DIGEST]
    assert f"{MAX_TIMEOUT_S:,}" in kms["Field"][TIMEOUT_S_FIELD]
    assert all(f"`{delivery}`" in kms["Field"]["Accepts"] for delivery in WITHOUT_MESSAGE)
    assert all(f"`{delivery}`" in kms["Reply field"][DELIVERY] for delivery in Delivery if delivery != "reply")


def test_set_client_and_attestation() -> None:
    credentials = Credentials("a", "s", "t", "e")
    sent = SetClient(credentials, "r").to_message()
    assert list(tables("SetClient")["Field"]) == [name for name in sent if name != "Operation"]
    attestation = tables("GetAttestationDocument")
    assert list(attestation["Field"]) == names(_ATTESTATION_FIELDS.values())
    for field in _ATTESTATION_FIELDS.values():
        assert attestation["Field"][field.name].startswith(meaning(field))
    assert f"region is {DEFAULT_REGION}" in SECTIONS["SetClient"].replace("\n", " ")
    assert tables("SetClient")["Reply field"]["Protocol"].startswith(f"number, {PROTOCOL_VERSION}.")


def test_description_has_its_fields() -> None:
    tree = ast.parse(inspect.getsource(app._describe))
    outer, limits = (node.keys for node in ast.walk(tree) if isinstance(node, ast.Dict))
    fields = [vars(app).get(key.id) if isinstance(key, ast.Name) else ast.literal_eval(key or "") for key in outer]
    found = tables("Describe")["Reply field"]
    assert list(found) == [*fields, REGION, "UptimeS", CREDENTIALS_HELD]
    assert re.findall(r"`(\w+)`", found["Limits"]) == [ast.literal_eval(key or "") for key in limits]


def test_hops_of_a_diagnosis() -> None:
    hop = tables("Diagnose")["Hop field"]
    assert list(hop) == list(Hop(HopName.NSM, HopState.OK, "d", "h", 1.0).to_fields())
    assert all(f"`{state}`" in hop["State"] for state in HopState)
    assert [name for name in HopName if f"`{name}`" not in SECTIONS["Diagnose"]] == []
    assert f"{MAX_HOP_TEXT_CHARS:,}" in hop["Detail"]
    assert f"at most {MAX_HOPS} objects" in tables("Diagnose")["Reply field"]["Hops"]


@pytest.mark.parametrize("step", [Attested, TlsConnected, KmsAnswered, Opened])
def test_step_of_the_evidence_has_its_fields(step: type) -> None:
    assert list(tables(step.__name__)["Field"]) == wire_names(step)


def test_error_reply_and_codes() -> None:
    reply = ErrorReply("m", "c", "s", 400, "r", "h", 1, "x").to_message()
    found = tables("Errors")
    assert list(found["Field"]) == [name for name in reply if name != "Status"]
    assert list(found["Code of the enclave"]) == list(EnclaveCode)
    assert list(found["Code of the instance"]) == list(InstanceCode)
    assert all(f"`{service}`" in found["Field"]["Service"] for service in [*Service, INSTANCE_SERVICE])


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ("Framing", f"{MAX_MESSAGE_BYTES:,} bytes"),
        ("Framing", f"more than {MAX_DEPTH} nested"),
        ("Order of replies", f"most {MAX_IN_FLIGHT} per connection"),
        ("Fields of every message", f"at most {MAX_ID_CHARS} characters"),
        ("Fields of every message", f"at most {MAX_STEPS} objects"),
        ("Evidence", f"at most {MAX_TEXT_CHARS} characters"),
    ],
)
def test_limit_is_that_of_the_code(section: str, text: str) -> None:
    assert text in SECTIONS[section].replace("\n", " ")


def test_port_is_that_of_the_code() -> None:
    assert f"port {SERVICE_PORT} by default" in TEXT
