"""Serves the simulated KMS over HTTPS: AWS's JSON 1.1 protocol, with signature checks.

Source: Smithy 2.0, "AWS JSON 1.1 protocol".
"""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from http import HTTPStatus

from nitro_simulator.errors import KmsFault
from nitro_simulator.http_server import IDLE_TIMEOUT_S, HttpRequest, HttpResponse, HttpServer, log_bug
from nitro_simulator.kms.regions import find_region
from nitro_simulator.kms.service import SimulatedKms
from nitro_simulator.kms.sigv4 import claimed_region, verify_signature
from nitro_simulator.pki.tls import ServerTls
from vsock_wire.errors import WireError
from vsock_wire.protocol.json_codec import JsonObject, decode_message

MAX_BODY_BYTES = 1 << 20
"""Fits a document of 262,144 bytes in base64, a maximal ciphertext and encryption context, with space to spare."""
TARGET_PREFIX = "TrentService."
CONTENT_TYPE = "application/x-amz-json-1.1"
MESSAGE_FIELDS = {"AccessDeniedException": "Message"}
"""KMS puts most error texts in ``message``; in public reports, AccessDeniedException has ``Message``."""


class KmsServer(HttpServer):
    """Serves a SimulatedKms over HTTPS from construction to ``close``: all regions of its account.

    The Host header names the region, as in AWS. Under any other name, such as localhost, the signature does.

    Args:
        kms: answers the requests.
        tls: certificate and key; clients must connect to, or ask for, one of its host names.
        host: address to listen on.
        port: 0 lets the kernel choose.
        idle_timeout_s: seconds after which a silent connection is closed.
    """

    def __init__(
        self,
        kms: SimulatedKms,
        *,
        tls: ServerTls,
        host: str = "127.0.0.1",
        port: int = 0,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
    ) -> None:
        self.kms = kms
        super().__init__(
            self._serve,
            server_name="kmstool-sim-kms",
            max_body_bytes=MAX_BODY_BYTES,
            host=host,
            port=port,
            tls=tls.ssl_context(),
            idle_timeout_s=idle_timeout_s,
            clock=self._now,
        )

    def _now(self) -> datetime:
        return self.kms.clock()  # read each time, because tests may replace it

    def _serve(self, request: HttpRequest) -> HttpResponse:
        try:
            return _json_answer(HTTPStatus.OK, self._call(request))
        except KmsFault as fault:
            body = {"__type": fault.code}
            if fault.message is not None:
                body[MESSAGE_FIELDS.get(fault.code, "message")] = fault.message
            return _json_answer(fault.http_status, body)
        except Exception as error:  # noqa: BLE001 - a bug is answered as AWS would, without details
            log_bug(error)
            return _json_answer(HTTPStatus.INTERNAL_SERVER_ERROR, {"__type": "KMSInternalException"})

    def _call(self, request: HttpRequest) -> JsonObject:
        kms = self._kms_for(request)
        operation = (request.header("X-Amz-Target") or "").removeprefix(TARGET_PREFIX)
        try:
            identity = verify_signature(
                request, find=kms.identities.find, region=kms.region, service="kms", now=kms.clock()
            )
            params = _read_body(request)
        except KmsFault as fault:
            kms.note_refusal(operation, fault)
            raise
        return kms.call(operation, params, identity.principal)

    def _kms_for(self, request: HttpRequest) -> SimulatedKms:
        host = (request.header("Host") or "").partition(":")[0]
        for region, kms in self.kms.regions.items():
            if host in find_region(region).kms_hosts:
                return kms
        return self.kms.regions.get(claimed_region(request) or "", self.kms)


def _read_body(request: HttpRequest) -> JsonObject:
    if request.method != "POST" or not (request.header("X-Amz-Target") or "").startswith(TARGET_PREFIX):
        raise KmsFault("UnknownOperationException")
    if request.header("Content-Type") != CONTENT_TYPE:
        raise KmsFault("UnknownOperationException")
    try:
        return decode_message(request.body)
    except WireError as error:  # its text quotes nothing from the body
        raise KmsFault("SerializationException", error.hint) from None


def _json_answer(status: int, body: JsonObject) -> HttpResponse:
    headers = (
        ("x-amzn-RequestId", str(uuid.uuid4())),
        ("Cache-Control", "no-cache, no-store, must-revalidate, private"),
        ("Content-Type", CONTENT_TYPE),
    )
    return HttpResponse(status, json.dumps(body).encode("ascii"), headers)
