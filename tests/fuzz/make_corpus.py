"""Write the seeds from which the fuzzer starts: ``python -m tests.fuzz.make_corpus``.

The seeds are committed, because their keys and certificates are new in each run. Later findings are added to them.
"""

from __future__ import annotations

import json
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from enclave_tool.recipient.attested_key import RecipientKey
from enclave_tool.recipient.cms import parse_enveloped_data
from nitro_attestation.image.cpio import CpioEntry, FileKind, Ramdisk
from nitro_attestation.image.sources import BytesSource
from nitro_simulator.kms.recipient_cms import seal_for_recipient
from nitro_simulator.nsm.authority import AttestationAuthority
from nitro_simulator.nsm.service import SimulatedNsm
from tests.fuzz.targets import CORPUS
from tests.support.attestation.documents import POLICIES
from tests.support.images.container_archives import Item, docker_archive, folder, layer, oci_archive
from tests.support.images.image_files import PARTS, image_bytes, signing_key
from tests.support.kms.ber_messages import SHAPES, parts_for, write_message
from vsock_wire.protocol.diagnosis import Hop, HopName, HopState, encode_diagnosis
from vsock_wire.protocol.json_codec import JsonObject, encode_base64, encode_message
from vsock_wire.protocol.kms_operations import KMS_OPERATIONS
from vsock_wire.protocol.messages import Credentials, SetClient
from vsock_wire.protocol.trace import Attested, KmsAnswered, Opened, TlsConnected, encode_evidence

MODULE_ID = "i-0123456789abcdef0-enc0123456789abcde"
PUBLIC_KEY = b"a public key"
Seeds = Iterator[tuple[str, bytes]]


def main() -> None:
    """Write all seeds."""
    for target, seeds in {
        "addresses": _addresses(),
        "attestation_documents": _documents(),
        "cbor": _cbor(),
        "cms": _cms(),
        "container_archives": _container_archives(),
        "connect_heads": _connect_heads(),
        "enclave_images": _enclave_images(),
        "files": _files(),
        "frames": _frames(),
        "http_responses": _http_responses(),
        "image_signatures": _image_signatures(),
        "key_policies": _key_policies(),
        "layers": _layers(),
        "measurements": _measurements(),
        "nsm_answers": _nsm_answers(),
        "proxy_configs": _proxy_configs(),
        "ramdisks": _ramdisks(),
        "replies": _replies(),
        "requests": _requests(),
    }.items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, seed in seeds:
            (folder / name).write_bytes(seed)


def _container_archives() -> Seeds:
    layers = [layer(folder("etc/"), Item("etc/a", content=b"1"))]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "image.tar")
        yield "docker", docker_archive(path, layers, {"Cmd": ["/a"]}).read_bytes()
        yield "oci", oci_archive(path, layers, {"Cmd": ["/a"]}).read_bytes()


def _enclave_images() -> Seeds:
    parts = replace(PARTS, ramdisks=(BytesSource(b"first"), BytesSource(b"second")))
    yield "unsigned", image_bytes(parts)
    yield "signed", image_bytes(parts, signing_key())


def _image_signatures() -> Seeds:
    for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()):
        yield curve.name, signing_key(curve).sign(bytes(48))


def _layers() -> Seeds:
    links = (Item("b", tarfile.LNKTYPE, target="a"), Item("c", tarfile.SYMTYPE, target="../a"), Item("c/d"))
    yield "links", layer(Item("a", content=b"x"), *links)
    yield "whiteouts", layer(folder("d/"), Item("d/.wh..wh..opq"), Item("d/e"), Item(".wh.d"))
    yield "devices", layer(Item("etc/mtab", tarfile.FIFOTYPE), Item("dev", tarfile.CHRTYPE, device=(1, 3)))


def _ramdisks() -> Seeds:
    entries = [CpioEntry(b"bin/", FileKind.FOLDER, 0o755), CpioEntry(b"bin/a", FileKind.FILE, 0o755, 1, 2, 3)]
    yield "plain", b"".join(Ramdisk(entries).chunks())
    yield "device", b"".join(Ramdisk([CpioEntry(b"null", FileKind.CHARACTER_DEVICE, 0o666, device=(1, 3))]).chunks())


def _http_responses() -> Seeds:
    for index, rest in enumerate(
        (
            b"Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
            b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
            b"\r\nhello",
        )
    ):
        yield f"response-{index}", b"HTTP/1.1 200 OK\r\n" + rest


def _addresses() -> Seeds:
    for index, text in enumerate(
        (
            *("vsock://16:3000", "vsock://3:8000", "unix:///run/kmstool.sock", "unix:relative", "tcp://[::1]:443"),
            *("tcp://127.0.0.1:8000", "tcp://kms.us-east-1.amazonaws.com:443", "kms.us-east-1.amazonaws.com:443"),
            *("KMS.Example.:443", "[2001:db8::1]:443", "xn--bcher-kva.example:443", "vsock://4294967295:4294967295"),
        )
    ):
        yield f"address-{index}", text.encode()


def _nsm(*, debug: bool = False) -> SimulatedNsm:
    pcrs = {index: bytes([0xA0 + index]) * 48 for index in range(5)}
    return SimulatedNsm(AttestationAuthority.create(), module_id=MODULE_ID, pcrs=pcrs, debug=debug)


def _attest(nsm: SimulatedNsm, **fields: bytes | None) -> bytes:
    request = {"Attestation": {"user_data": None, "nonce": None, "public_key": None, **fields}}
    return nsm.answer(cbor2.dumps(request))


def _document(answer: bytes) -> bytes:
    document = cbor2.loads(answer)["Attestation"]["document"]
    assert isinstance(document, bytes)
    return document


def _documents() -> Seeds:
    nsm = _nsm()
    yield "genuine-plain", _document(_attest(nsm))
    full = _document(_attest(nsm, user_data=b"data", nonce=b"nonce", public_key=PUBLIC_KEY))
    yield "genuine-full", full
    yield "genuine-tagged", cbor2.dumps(cbor2.CBORTag(18, cbor2.loads(full)))
    yield "stranger", _document(_attest(_nsm(debug=True)))


def _cbor() -> Seeds:
    for name, item in {
        "map": {"a": 1, 2: b"bytes", "list": [True, None, 1.5, -1]},
        "nested": [[[{}]]],
        "tag": cbor2.CBORTag(18, [b""]),
        "big": 2**70,
    }.items():
        yield name, cbor2.dumps(item)
    yield "indefinite", bytes.fromhex("bf616101616282f5ffff")


def _cms() -> Seeds:
    key = RecipientKey.generate()
    for shape in SHAPES:
        content_key = bytes(range(32))
        yield str(shape), content_key + write_message(parts_for(key, b"the plaintext", content_key=content_key), shape)
    private_key = rsa.generate_private_key(65_537, 2_048)
    for size in (13, 1_990, 4_096):
        message = seal_for_recipient(bytes(size), private_key.public_key())
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        yield f"kms-{size}", private_key.decrypt(parse_enveloped_data(message).encrypted_key, oaep) + message


def _files() -> Seeds:
    yield "base64", encode_base64(bytes(range(256))).encode()
    yield "wrapped", b"QUJD\r\nREVG\n QQ==\n"
    yield "raw", cbor2.dumps([b"", {}, b"payload", b"signature"])


def _frames() -> Seeds:
    yield "two", b"\x07" + b'{"a":1}\0{"b":2}\0'
    yield "too-large", b"\x20" + b"x" * 100 + b"\0" + b"y" * 64 + b"\0"
    yield "empty", b"\x01\0\0\0"


def _key_policies() -> Seeds:
    for file in sorted(POLICIES.glob("*.json")):
        yield file.name, file.read_bytes()


def _measurements() -> Seeds:
    digests = {f"PCR{index}": f"{0xA0 + index:02x}" * 48 for index in (0, 1, 2, 8)}
    flat = {"HashAlgorithm": "Sha384 { ... }", **digests}
    for name, output in {
        "build": {"Measurements": flat},
        "pcr": digests,
        "describe": [{"EnclaveID": "i-0-enc0", "Flags": "NONE", "Measurements": flat}],
        "eif": {"EifVersion": 4, "Measurements": flat, "IsSigned": False, "CheckCRC": True, "ImageName": "x"},
    }.items():
        yield name, json.dumps(output).encode()


def _nsm_answers() -> Seeds:
    nsm = _nsm()
    yield "attestation", _attest(nsm, public_key=PUBLIC_KEY)
    for request in ("DescribeNSM", "GetRandom"):
        yield request.lower(), nsm.answer(cbor2.dumps(request))
    yield "error", cbor2.dumps({"Error": "InvalidArgument"})


def _connect_heads() -> Seeds:
    yield "name", b"CONNECT kms.us-east-1.amazonaws.com:443 HTTP/1.1\r\nHost: kms.us-east-1.amazonaws.com:443\r\n\r\n"
    yield "literal", b"CONNECT [2001:db8::1]:8443 HTTP/1.1\r\nHost: [2001:db8::1]:8443\r\nA: \tb\r\n\r\n\x16\x03\x01"
    yield "old", b"CONNECT 10.0.0.1:1 HTTP/1.0\r\n\r\n"


def _proxy_configs() -> Seeds:
    yield "aws", b"allowlist:\n- {address: kms.us-east-1.amazonaws.com, port: 443}\n"
    yield (
        "more",
        (
            b'allowlist:\n- address: "*.us-east-1.amazonaws.com"\n  port: [443, 8443]\n'
            b"- {address: 192.0.2.0/24, port: 1}\n"
            b"routes:\n- listen: 8000\n  address: kms.us-east-1.amazonaws.com\n  port: 443\n"
        ),
    )
    yield (
        "routes",
        (
            b"allowlist: []\nenclaves: [{cid: 16, port: [5, 6]}, {name: web, port: 0443}, {path: /run/e}]\nroutes:\n"
            b"- {listen: 8000, connect: true, max_connections: 9, idle_timeout: .5}\n"
            b"- {listen: 'tcp://[::1]:0', to: 'vsock://web:443', proxy_protocol: v2}\n---\n[]\n"
        ),
    )
    yield "alias", b"allowlist: &a\n- *a\n"


def _requests() -> Seeds:
    credentials = Credentials("AKIDEXAMPLE", "secretOfNobody", "token", "2030-01-01T00:00:00Z")
    yield "set-client", encode_message(SetClient(credentials, "us-east-1").to_message())
    yield "decrypt", encode_message(_kms_request("Decrypt", Ciphertext="QUJD", Explain=True, Id="1"))
    yield "generate", encode_message(_kms_request("GenerateDataKey", KeyId="alias/x", NumberOfBytes=32))
    yield "attest", b'{"Operation":"Attest","Nonce":"QUJD","UserData":"QUJD"}'
    yield "surrogate", b'{"Operation":"\\ud800"}'
    yield "numbers", b'{"a":1e400,"b":-0.0,"c":123456789012345678901234567890}'


def _kms_request(operation: str, **fields: object) -> JsonObject:
    context = {"EncryptionContext": {"purpose": "test"}}
    return {"Operation": operation, **context, "Accepts": ["reply", "digest", "exec"], **fields}


def _replies() -> Seeds:
    steps = [
        TlsConnected("vsock://3:8000", "kms", "TLSv1.3", "AES", "kms", "CN=x", is_kept=False, elapsed_ms=1.5),
        Attested(b"document", is_reused=True, elapsed_ms=0.5),
        KmsAnswered(1, 2, 200, "id", 3.5),
        Opened(4, "ab" * 32, 1),
    ]
    fields = {spec.name: "QUJD" for operation in KMS_OPERATIONS.values() for spec in operation.reply}
    done = {"Status": "Ok", **fields, "Message": "QUJD", "KeyId": "arn:aws:kms:us-east-1:1:key/x"}
    yield "result", encode_message({**done, "Evidence": encode_evidence(steps)})
    yield "digest", encode_message({"Status": "Ok", "Delivery": "digest", "Digest": "ab" * 32})
    yield "error", b'{"Status":"Error","Message":"Invalid ciphertext","Code":"X","Hint":"y","RequestId":"z"}'
    hops = [Hop(HopName.NSM, HopState.OK, "answers", elapsed_ms=1.0), Hop(HopName.KMS, HopState.FAILED, "no", "do")]
    yield "diagnosis", encode_message({"Status": "Ok", **encode_diagnosis("kms.example", hops)})


if __name__ == "__main__":
    main()
