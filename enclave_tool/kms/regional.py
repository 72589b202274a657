"""The server's calls to KMS in one region: botocore's serializer, signer, parser and retry rules, without the client.

In a call, a boto3 client spends more time than RSA does, on endpoint rules, events and copies that are the same for
every call. This module computes them once for a region, and new credentials cost nothing until they sign. Each call
takes these steps:

1. Serialize the parameters, with a Recipient if the operation takes one.
2. Sign, send and parse. Ask botocore's retry rules, and the clock, whether to do that again.
3. Raise a refusal as boto3 does, or open the CiphertextForRecipient.

The retry rules are those of an unsigned boto3 client of the region, reached by emitting the events that botocore itself
emits. Everything about the recipient is in ``attested_operations``, which the boto3 client uses, too. A test checks
that both send KMS identical requests and handle every response the same way
(tests/unit/enclave_tool/kms/test_same_as_boto3.py).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import urlsplit

from botocore.endpoint import convert_to_response_dict
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError  # noqa: A004 - botocore's own
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from enclave_tool.kms.attested_operations import (
    PLAINTEXT_FIELDS,
    drop_secret,
    recipient_parameter,
    replace_ciphertext_for_recipient,
)
from enclave_tool.kms.clock_skew import ClockedSigner, SignableRequest
from enclave_tool.kms.connection import finishing_by
from enclave_tool.kms.pool import HttpAnswer, ProxyPool
from enclave_tool.recipient.attested_key import Recipient
from vsock_wire import __version__

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from botocore.model import OperationModel
    from mypy_boto3_kms import KMSClient

USER_AGENT = f"kmstool-enclave/{__version__}"
"""What CloudTrail shows as the caller's user agent."""

HTTPS_PORT = ":443"
"""Left out of the Host header (RFC 9110, section 7.2)."""

_Response: TypeAlias = tuple[HttpAnswer, dict[str, Any]]
"""A response, and the result of botocore's parser for it."""


@dataclass
class Attempts:
    """The time limit of one call, and the number of requests that were sent to KMS for it.

    Attributes:
        timeout_s: seconds for all attempts together; None if only their number and the timeout of each are limited.
        count: number of requests that were sent or started.
    """

    timeout_s: float | None = None
    count: int = 0
    _started_at: float = field(default_factory=time.monotonic)

    @property
    def deadline(self) -> float | None:
        """The time of time.monotonic at which the call must end, or None."""
        return None if self.timeout_s is None else self._started_at + self.timeout_s

    def may_wait(self, delay_s: float) -> bool:
        """Return whether there is time for another attempt after ``delay_s``."""
        return self.deadline is None or time.monotonic() + delay_s < self.deadline


class RegionalKms:
    """Calls KMS in one region, with any credentials. Threads can share it.

    Args:
        client: an unsigned boto3 client of that region from ``proxied_kms_client``, for its retry rules.
        http: connections to the client's endpoint.
        recipient: the recipient of attested operations.
        signer: signs the requests; its clock is also attached to ``client``.

    Attributes:
        url: URL of the endpoint.
    """

    def __init__(self, client: KMSClient, http: ProxyPool, recipient: Recipient, signer: ClockedSigner) -> None:
        self._client = client
        self._http = http
        self._recipient = recipient
        self._signer = signer
        self.url = client.meta.endpoint_url.rstrip("/")
        self._host = urlsplit(self.url).netloc.removesuffix(HTTPS_PORT)
        self._region = client.meta.region_name
        self._serializer: Any = create_serializer("json")
        self._parser: Any = create_parser("json")
        self._models: dict[str, OperationModel] = {}
        self._lock = threading.Lock()

    def call_kms(
        self, operation: str, parameters: dict[str, Any], credentials: Credentials, attempts: Attempts
    ) -> dict[str, Any]:
        """Return the response, or raise the exception, of the same call by an attested boto3 client.

        Args:
            operation: KMS's name of the operation.
            parameters: the parameters as boto3's methods take them, without Recipient.
            credentials: botocore credentials to sign with.
            attempts: counts the requests and limits their time.

        Raises:
            ClientError, BotoCoreError: like a boto3 client.
            NsmError, RecipientError, CmsError: see ``attest_client``.
        """
        model = self._model(operation)
        is_attested = operation in PLAINTEXT_FIELDS
        if is_attested:
            parameters = {**parameters, "Recipient": recipient_parameter(self._recipient)}
        request: dict[str, Any] = self._serializer.serialize_to_request(parameters, model)
        request["context"] = {}
        http_response, answer = self._send_until_answered(request, model, credentials, attempts)
        if http_response.status_code >= 300:
            if is_attested:
                drop_secret(answer, operation)
            raise ClientError(cast("Any", answer), operation)
        self._client.meta.events.emit(  # lets botocore return what a retry took from its quota
            f"after-call.kms.{operation}",
            http_response=http_response, parsed=answer, model=model, context=request["context"],
        )  # fmt: skip
        if is_attested:
            replace_ciphertext_for_recipient(answer, operation, self._recipient)
        return answer

    def _model(self, operation: str) -> OperationModel:
        model = self._models.get(operation)
        if model is None:
            with self._lock:  # botocore computes parts of its models when they are read
                model = self._client.meta.service_model.operation_model(operation)
                for shape in (model.input_shape, model.output_shape):
                    _fill_in(shape)
                self._models[operation] = model
        return model

    def _send_until_answered(
        self, request: dict[str, Any], model: OperationModel, credentials: Credentials, attempts: Attempts
    ) -> _Response:
        while True:
            attempts.count += 1
            response, failure = self._send(request, model, credentials, attempts)
            if response is not None and response[0].status_code < 300:
                break
            delay_s = self._delay_s(request, model, response, failure, attempts.count)
            if delay_s is None or not attempts.may_wait(delay_s):
                break
            time.sleep(delay_s)
        if response is None:
            raise failure or RuntimeError("no answer and no failure")
        response[1].setdefault("ResponseMetadata", {})["RetryAttempts"] = attempts.count - 1
        return response

    def _send(
        self, request: dict[str, Any], model: OperationModel, credentials: Credentials, attempts: Attempts
    ) -> tuple[_Response | None, Exception | None]:
        """Return the response, or the failure that another attempt may resolve."""
        headers = self._sign(request, credentials)
        try:
            with finishing_by(attempts.deadline):
                http_response = self._http.post(request["url_path"], headers, request["body"])
        except (HTTPClientError, ConnectionError) as error:
            return None, error
        fields = convert_to_response_dict(cast("Any", http_response), model)
        return (http_response, self._parser.parse(fields, model.output_shape)), None

    def _sign(self, request: dict[str, Any], credentials: Credentials) -> dict[str, str]:
        """Return the headers of a request."""
        headers = {**request["headers"], "User-Agent": USER_AGENT, "Host": self._host}
        unsigned = SignableRequest("POST", self.url + request["url_path"], headers, request["body"])
        self._signer.sign(unsigned, credentials, self._region)
        return {**headers, "Content-Length": str(len(request["body"]))}

    def _delay_s(
        self,
        request: dict[str, Any],
        model: OperationModel,
        response: _Response | None,
        failure: Exception | None,
        attempts: int,
    ) -> float | None:
        """Return how long to wait before another attempt, by botocore's retry rules and the clock; None to stop."""
        answers: Any = self._client.meta.events.emit(
            f"needs-retry.kms.{model.name}",
            response=response, endpoint=None, operation=model, attempts=attempts, caught_exception=failure,
            request_dict=request,
        )  # fmt: skip
        return next((delay_s for _, delay_s in answers if delay_s is not None), None)


def _fill_in(shape: Any) -> None:
    """Make botocore compute the cached attributes of a shape before threads share it."""
    if shape is None:
        return
    for member in getattr(shape, "members", {}).values():
        _fill_in(member)
    _ = shape.serialization, shape.metadata
