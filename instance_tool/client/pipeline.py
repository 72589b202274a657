"""Many requests on one connection, each sent before the replies to the ones before it have come.

A request spends most of its time on the way to KMS and back, so a batch is as fast as many of them can be under way at
once. Each carries its number as Id. The enclave answers in any order, and the Id tells which request a reply is for.

Not every request can be sent ahead. The pipeline keeps a second queue, of requests that are made alone, one after the
other, when nothing else is under way. There go requests before the credentials have been sent, requests that were under
way when the connection broke, and requests whose credentials have expired; asking KMS twice is harmless. Requests to a
legacy peer, which knows no Ids, all go there. Once the queue is empty, requests are sent ahead again.
"""

from __future__ import annotations

from collections import deque

from instance_tool.client.client import EnclaveClient
from instance_tool.errors import EnclaveError
from vsock_wire.errors import ToolError, TransportError, WireError
from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.protocol.kms_operations import KmsRequest, KmsResult, parse_kms_result
from vsock_wire.protocol.messages import ErrorReply, parse_reply


class Pipeline:
    """Numbered requests to one enclave, and their outcomes as they come. Not for several threads at once.

    Args:
        client: of the enclave, with credentials set.
    """

    def __init__(self, client: EnclaveClient) -> None:
        self._client = client
        self._under_way: dict[str, tuple[int, KmsRequest]] = {}
        self._alone: deque[tuple[int, KmsRequest]] = deque()

    @property
    def is_empty(self) -> bool:
        """Whether every request has had its outcome."""
        return not self._under_way and not self._alone

    def send(self, number: int, request: KmsRequest) -> None:
        """Make a request, of which ``receive`` will return the outcome.

        Args:
            number: names the outcome; no other request without an outcome may have it.
            request: to KMS.
        """
        if self._alone or not self._can_send_ahead():
            self._alone.append((number, request))
            return
        self._under_way[str(number)] = (number, request)
        try:
            self._client.send_ahead(request, str(number))
        except ToolError:
            self._repeat_all()

    def receive(self) -> tuple[int, KmsResult | ToolError]:
        """Return the number and the outcome of the next request that has one, in whatever order they come."""
        while self._under_way:
            outcome = self._receive_ahead()
            if outcome is not None:
                return outcome
        number, request = self._alone.popleft()
        try:
            return number, self._client.ask_enclave(request)
        except ToolError as error:
            return number, error

    def _can_send_ahead(self) -> bool:
        try:
            return self._client.can_send_ahead
        except ToolError:  # no credentials any more: the request made alone will say so
            return False

    def _receive_ahead(self) -> tuple[int, KmsResult | ToolError] | None:
        """Return an outcome, or None where a request is to be made again, alone."""
        try:
            reply = self._client.receive_ahead()
        except (TransportError, WireError) as error:
            return self._fail(error)
        request_id = reply.pop("Id", None)
        if not isinstance(request_id, str) or request_id not in self._under_way:
            self._client.close()
            return self._fail(WireError("reply: the Id does not belong to any pending request"))
        number, request = self._under_way.pop(request_id)
        outcome = _outcome(request, reply)
        if isinstance(outcome, EnclaveError) and outcome.says_credentials_ended:
            self._alone.append((number, request))
            return None
        return number, outcome

    def _fail(self, error: ToolError) -> tuple[int, ToolError] | None:
        """Take a failure of the connection: a time-out, or nonsense, costs the oldest request, a mere end none."""
        failed = None
        if isinstance(error, WireError) or isinstance(error.__cause__, TimeoutError):
            number, _ = self._under_way.pop(next(iter(self._under_way)))
            failed = number, error
        self._repeat_all()
        return failed

    def _repeat_all(self) -> None:
        self._alone.extend(self._under_way.values())
        self._under_way.clear()


def _outcome(request: KmsRequest, reply: JsonObject) -> KmsResult | ToolError:
    try:
        parsed = parse_reply(reply)
        return EnclaveError(parsed) if isinstance(parsed, ErrorReply) else parse_kms_result(request.operation, parsed)
    except ToolError as error:
        return error
