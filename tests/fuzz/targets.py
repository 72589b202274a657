"""The fuzz targets: each decoder of untrusted bytes, with its documented errors and the properties of its results.

A target takes any bytes. Every exception that leaves it is a finding: an error that the decoder does not document, or a
result without one of the properties.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from enclave_tool.errors import CmsError, NsmError
from enclave_tool.nsm.codec import decode_attestation_response, decode_describe_response, decode_random_response
from enclave_tool.recipient.cms import decrypt_enveloped_data, parse_enveloped_data, read_ber
from instance_tool.console.ciphertext import decode_ciphertext, parse_ciphertext
from instance_tool.credentials.http_exchange import HttpError, parse_http_response
from nitro_attestation.document.cbor import decode_strict_cbor
from nitro_attestation.document.cose import parse_unverified_document
from nitro_attestation.document.file_format import decode_document_file
from nitro_attestation.document.payload import AttestationDocument
from nitro_attestation.errors import AttestationError, DocumentFileError, MeasurementError, PolicyError
from nitro_attestation.key_policy.context import parse_caller
from nitro_attestation.key_policy.explanation import explain_policy
from nitro_attestation.key_policy.parsing import parse_policy
from nitro_attestation.measurements import parse_measurements
from nitro_attestation.verification import verify_document
from tests.fuzz import image_targets
from tests.support.instance.http_oracle import MAX_ORACLE_HEADERS, response_by_http_client
from vsock_proxy.config.config_file import parse_config
from vsock_proxy.config.destination import parse_destination
from vsock_proxy.errors import ConfigError, HeadError, NotAllowedError
from vsock_proxy.handshake.connect_head import find_head_end, parse_connect_head
from vsock_wire.errors import InputError, WireError
from vsock_wire.net.address import parse_address
from vsock_wire.protocol.diagnosis import parse_diagnosis
from vsock_wire.protocol.frames import FrameDecoder
from vsock_wire.protocol.json_codec import JsonObject, decode_message, encode_message
from vsock_wire.protocol.kms_operations import KMS_OPERATIONS, MAX_CIPHERTEXT_BYTES, parse_kms_request, parse_kms_result
from vsock_wire.protocol.messages import parse_operation, parse_reply, parse_request_id, parse_set_client
from vsock_wire.protocol.trace import parse_evidence
from vsock_wire.protocol.vocabulary import RequestError
from vsock_wire.rpc.handler import explained

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

CORPUS = Path(__file__).with_name("corpus")
FRAME_BYTES = 64
"""Maximum size of a frame in the target; small, so that inputs often exceed it."""
CALLER = parse_caller("arn:aws:iam::111122223333:role/EnclaveInstanceRole")
PCRS = {index: bytes([0xA0 + index]) * 48 for index in range(5)}

Target = Callable[[bytes], None]
TARGETS: dict[str, Target] = {}


def _target(function: Target) -> Target:
    TARGETS[function.__name__] = function
    return function


for image_target in image_targets.TARGETS:
    _target(image_target)


@_target
def frames(data: bytes) -> None:
    """Split a stream into frames; the sizes of the pieces in which it arrives must not matter."""
    size, stream = (data[0] % 40 + 1, data[1:]) if data else (1, b"")
    assert _cut(stream, size) == _cut(stream, len(stream) + 1)


def _cut(stream: bytes, size: int) -> list[bytes | None]:
    """Return the frames of a stream that comes in pieces of ``size`` bytes; None for each that is too large."""
    decoder, found = FrameDecoder(FRAME_BYTES), list[bytes | None]()
    for start in range(0, len(stream), size):
        decoder.feed(stream[start : start + size])
        while (frame := _next_frame(decoder)) != b"":
            found.append(frame)
    return found


def _next_frame(decoder: FrameDecoder) -> bytes | None:
    """Return the next non-empty frame, None for one that is too large, or b"" if there is none yet."""
    try:
        while (frame := decoder.next_frame()) == b"":
            pass
    except WireError:
        return None
    return frame if frame is not None else b""


@_target
def requests(data: bytes) -> None:
    """Parse a request to the enclave, as every operation does."""
    with contextlib.suppress(WireError):
        message = _decode(data)
        with contextlib.suppress(RequestError):
            parse_operation(message)
        with contextlib.suppress(RequestError):
            parse_request_id(message)
        with contextlib.suppress(RequestError):
            _no_secret_in(repr(parse_set_client(message)), message)
        for operation in KMS_OPERATIONS:
            with contextlib.suppress(WireError):
                parse_kms_request(operation, message)
        explained(message, dict)


@_target
def replies(data: bytes) -> None:
    """Parse a reply of the enclave, as every operation does."""
    with contextlib.suppress(WireError):
        message = _decode(data)
        with contextlib.suppress(WireError):
            parse_reply(message)
        with contextlib.suppress(WireError):
            parse_evidence(message)
        with contextlib.suppress(WireError):
            parse_diagnosis(message)
        for operation in KMS_OPERATIONS:
            with contextlib.suppress(WireError):
                parse_kms_result(operation, message)


def _decode(data: bytes) -> JsonObject:
    message = decode_message(data)
    assert decode_message(encode_message(message)) == message
    assert all(map(math.isfinite, _numbers(message)))
    return message


def _numbers(value: Any) -> Iterator[float]:
    match value:
        case dict():
            yield from (number for entry in value.values() for number in _numbers(entry))
        case list():
            yield from (number for entry in value for number in _numbers(entry))
        case float():
            yield value


def _no_secret_in(text: str, message: JsonObject) -> None:
    secret = message["AwsSecretAccessKey"]
    assert len(secret) < 8 or secret not in text


@_target
def http_responses(data: bytes) -> None:
    """Parse a response of the instance metadata service; http.client must read an accepted one in the same way."""
    with contextlib.suppress(HttpError):
        response = parse_http_response(data, is_ended=True)
        assert response is not None
        if data.partition(b"\r\n\r\n")[0].count(b"\n") < MAX_ORACLE_HEADERS:
            assert response_by_http_client(data) == response


@_target
def cms(data: bytes) -> None:
    """Open a CiphertextForRecipient from an attacker who knows the public key and chose the content key."""
    content_key, message = data[:32], data[32:]
    with contextlib.suppress(CmsError):
        enveloped = parse_enveloped_data(message)
        assert enveloped == read_ber(message)
        assert len(enveloped.iv) == 16
        assert len(enveloped.encrypted_content) % 16 == 0
        plaintext = decrypt_enveloped_data(enveloped, cast("RSAPrivateKey", _OpenedKey(content_key)))
        assert 0 < len(enveloped.encrypted_content) - len(plaintext) <= 16


class _OpenedKey:
    """Stands in for the private key: returns the key that the sender encrypted."""

    def __init__(self, content_key: bytes) -> None:
        self._content_key = content_key

    def decrypt(self, _encrypted_key: bytes, _padding: object) -> bytes:
        return self._content_key


@_target
def nsm_answers(data: bytes) -> None:
    """Decode responses of the Nitro Security Module."""
    for decode in (decode_attestation_response, decode_random_response, decode_describe_response):
        with contextlib.suppress(NsmError):
            decode(data)


@_target
def cbor(data: bytes) -> None:
    """Decode any CBOR."""
    with contextlib.suppress(ValueError):
        decode_strict_cbor(data)


@_target
def attestation_documents(data: bytes) -> None:
    """Verify a document; a valid one must have the contents of a document in the corpus, since nobody else can sign."""
    with contextlib.suppress(AttestationError):
        parse_unverified_document(data)
        genuine = _genuine_documents()
        root_sha256 = hashlib.sha256(genuine[0].cabundle_der[0]).digest()
        assert verify_document(data, root=root_sha256, at=genuine[0].issued_at, allow_debug=True) in genuine


@functools.cache
def _genuine_documents() -> tuple[AttestationDocument, ...]:
    files = sorted((CORPUS / attestation_documents.__name__).glob("genuine-*"))
    return tuple(parse_unverified_document(file.read_bytes()) for file in files)


@_target
def proxy_configs(data: bytes) -> None:
    """Parse a config file of vsock-proxy."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(ConfigError, NotAllowedError):
        parse_config(text, source="fuzzed")


@_target
def connect_heads(data: bytes) -> None:
    """Read the head of a CONNECT request; a request for what was read asks for the same."""
    with contextlib.suppress(HeadError):
        end = find_head_end(data)
        if end is not None:
            destination = parse_connect_head(data[:end])
            again = f"CONNECT {destination} HTTP/1.0\r\n\r\n".encode("ascii")
            assert parse_connect_head(again) == destination


@_target
def addresses(data: bytes) -> None:
    """Parse an address and a destination; the text of the result must parse to the same result."""
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(InputError):
        address = parse_address(text)
        assert parse_address(str(address)) == address
    host, _, port = text.rpartition(":")
    with contextlib.suppress(ConfigError):
        destination = parse_destination(host, int(port) if port.isdecimal() and len(port) < 9 else 443)
        assert parse_destination(destination.host, destination.port) == destination


@_target
def key_policies(data: bytes) -> None:
    """Parse a key policy, and explain it."""
    with contextlib.suppress(PolicyError):
        policy = parse_policy(data.decode("utf-8", "replace"), keep_odd_statements=True)
        explanation = explain_policy(policy, caller=CALLER, pcrs=PCRS, encryption_context={"purpose": "test"})
        for operation in explanation.operations:
            assert len(operation.statements) == len(policy.statements)


@_target
def measurements(data: bytes) -> None:
    """Parse measurements in nitro-cli's format."""
    with contextlib.suppress(MeasurementError):
        pcrs = parse_measurements(data)
        printed = {f"PCR{index}": value.hex() for index, value in pcrs.items()}
        assert parse_measurements(json.dumps(printed).encode()) == pcrs


@_target
def files(data: bytes) -> None:
    """Read a ciphertext and a document as people keep them in files; text means the same in a file and elsewhere."""
    with contextlib.suppress(DocumentFileError):
        decode_document_file(data)
    in_text = in_file = None
    with contextlib.suppress(InputError):
        in_text = parse_ciphertext(data)
    with contextlib.suppress(InputError):
        in_file = decode_ciphertext(data)
    assert in_text is None or in_text == in_file
    assert in_file is None or 1 <= len(in_file) <= MAX_CIPHERTEXT_BYTES
