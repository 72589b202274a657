"""Many requests on one connection, each sent without waiting for the replies to earlier ones.

A request spends most of its time on the way to KMS and back, so the number of pending requests decides how fast a batch
is. The enclave replies in any order, and the Id tells which request a reply belongs to.

Not every request can be sent ahead. A second queue holds requests that are made one at a time, when nothing else is
pending: those made before the credentials were sent, those pending when the connection broke, and those whose
credentials had expired. (Asking KMS twice is harmless. If the enclave may have run a program for those pending, they
fail instead.) All requests to a legacy peer, which does not support Ids, go there too. Once that queue is empty,
requests are sent ahead again.
"""

from __future__ import annotations

from collections import deque

from instance_tool.client.client import EnclaveClient
from instance_tool.errors import EnclaveError
from vsock_wire.errors import ToolError, TransportError, WireError
from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.protocol.kms_operations import KmsRequest, KmsResult, parse_kms_result
from vsock_wire.protocol.messages import ErrorReply, parse_reply
from vsock_wire.protocol.vocabulary import ID


class Pipeline:
    """Sends numbered requests to one enclave and returns their outcomes as they arrive. Not thread-safe.

    Args:
        client: client of the enclave, with credentials set.
    """

    def __init__(self, client: EnclaveClient) -> None:
        self._client = client
        self._under_way: dict[str, tuple[int, KmsRequest]] = {}
        self._alone: deque[tuple[int, KmsRequest]] = deque()
        self._failed: deque[tuple[int, ToolError]] = deque()

    @property
    def is_empty(self) -> bool:
        """Whether no request is waiting for its outcome."""
        return not self._under_way and not self._alone and not self._failed

    def send(self, number: int, request: KmsRequest) -> None:
        """Start a request; ``receive`` will return its outcome.

        Args:
            number: identifies the outcome; must differ from the number of every unfinished request.
            request: the request to KMS.
        """
        if self._alone or not self._can_send_ahead():
            self._alone.append((number, request))
            return
        try:
            self._under_way[self._client.send_ahead(request)] = (number, request)
        except ToolError as error:
            self._abandon(error)
            self._alone.append((number, request))

    def receive(self) -> tuple[int, KmsResult | ToolError]:
        """Wait for any request to finish, and return its number and outcome."""
        while self._under_way and not self._failed:
            outcome = self._receive_ahead()
            if outcome is not None:
                return outcome
        if self._failed:
            return self._failed.popleft()
        number, request = self._alone.popleft()
        try:
            return number, self._client.ask_enclave(request)
        except ToolError as error:
            return number, error

    def _can_send_ahead(self) -> bool:
        try:
            return self._client.can_send_ahead
        except ToolError:  # expired credentials: the request will fail with that when it is made alone
            return False

    def _receive_ahead(self) -> tuple[int, KmsResult | ToolError] | None:
        """Return an outcome, or None if the request has to be repeated alone."""
        try:
            reply = self._client.receive_ahead()
        except (TransportError, WireError) as error:
            return self._fail(error)
        request_id = reply.pop(ID, None)
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
        """Handle a broken connection: a timeout or a bad reply fails the oldest request, a closed connection none."""
        failed = None
        if isinstance(error, WireError) or isinstance(error.__cause__, TimeoutError):
            number, _ = self._under_way.pop(next(iter(self._under_way)))
            failed = number, error
        self._abandon(error)
        return failed

    def _abandon(self, error: ToolError) -> None:
        """Repeat every pending request alone, or fail it if it must not be repeated."""
        if self._client.may_repeat:
            self._alone.extend(self._under_way.values())
        else:
            self._failed.extend((number, error) for number, _ in self._under_way.values())
        self._under_way.clear()


def _outcome(request: KmsRequest, reply: JsonObject) -> KmsResult | ToolError:
    try:
        parsed = parse_reply(reply)
        return EnclaveError(parsed) if isinstance(parsed, ErrorReply) else parse_kms_result(request.operation, parsed)
    except ToolError as error:
        return error
