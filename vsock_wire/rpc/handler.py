"""What happens to every request, whatever its operation.

A handler decodes the frame, keeps its Id, records the steps if the request asks for them with Explain, and returns
exactly one reply with the same Id. A ToolError becomes an error reply. Any other exception is a bug: the peer learns
only that there was one, because its text may contain anything, and the process continues to serve.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, TypeAlias

from vsock_wire.errors import ToolError
from vsock_wire.protocol.json_codec import JsonObject, decode_message
from vsock_wire.protocol.messages import ErrorReply, parse_request_id
from vsock_wire.protocol.recording import recording
from vsock_wire.protocol.trace import encode_evidence
from vsock_wire.protocol.vocabulary import EVIDENCE, EXPLAIN, ID, STATUS_OK, EnclaveCode, RequestError
from vsock_wire.rpc.jobs import Job

Outcome: TypeAlias = JsonObject | ErrorReply
"""The outcome of a request: the fields of an Ok reply other than Status, or an error reply."""

_logger = logging.getLogger(__name__)


class RequestHandler(ABC):
    """The state of one connection. One thread must ``take`` its requests; any thread may answer them.

    Attributes:
        service: the Service of the reply if a request runs into a bug.
        independent_operations: operations whose requests, if they have an Id, may be answered concurrently with others.
    """

    service: ClassVar[str]
    independent_operations: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def prepare(self, message: JsonObject) -> Callable[[], Outcome]:
        """Return a function that performs a request with the connection's present state; never raise.

        Called in the order of the requests. The returned function may raise ToolError.
        """

    @abstractmethod
    def refuse(self, error: ToolError) -> ErrorReply:
        """Return the reply that reports ``error``."""

    def take(self, frame: bytes) -> Job:
        """Return the job for one request; never raise."""
        try:
            message = decode_message(frame)
            request_id = parse_request_id(message)
        except ToolError as error:
            refusal = self.refuse(error).to_message()
            return Job(lambda: refusal)
        message.pop(ID, None)
        perform = self.prepare(message)
        operation = message.get("Operation")
        return Job(
            lambda: self._answer(message, request_id, perform),
            is_independent=request_id is not None
            and isinstance(operation, str)
            and operation in self.independent_operations,
        )

    def _answer(self, message: JsonObject, request_id: str | None, perform: Callable[[], Outcome]) -> JsonObject:
        try:
            reply = explained(message, lambda: self._reply(perform))
        except RequestError as error:
            reply = self.refuse(error).to_message()
        return reply if request_id is None else {**reply, ID: request_id}

    def _reply(self, perform: Callable[[], Outcome]) -> JsonObject:
        try:
            outcome = perform()
        except ToolError as error:
            outcome = self.refuse(error)
        except Exception as error:  # noqa: BLE001 - the peer gets an answer, and the process keeps serving
            # Not the exception's text, which may contain anything.
            _logger.error("internal error: %s", type(error).__name__)  # noqa: TRY400
            _logger.debug("internal error at %s", _place(error))
            outcome = ErrorReply("Internal error", EnclaveCode.INTERNAL, self.service)
        return outcome.to_message() if isinstance(outcome, ErrorReply) else {"Status": STATUS_OK, **outcome}


def explained(message: JsonObject, answer: Callable[[], JsonObject]) -> JsonObject:
    """Return the reply that ``answer`` returns, with EVIDENCE if the request asks for it.

    Args:
        message: the request.
        answer: returns the reply, or an error reply; called once, in this thread.

    Raises:
        RequestError: EXPLAIN is neither true nor false.
    """
    wanted = message.get(EXPLAIN, False)
    if not isinstance(wanted, bool):
        raise RequestError(f"{EXPLAIN}: expected true or false, got {type(wanted).__name__}")
    if not wanted:
        return answer()
    with recording() as steps:
        reply = answer()
    return {**reply, EVIDENCE: encode_evidence(steps)}


def _place(error: Exception) -> str:
    traceback = error.__traceback__
    while traceback and traceback.tb_next:
        traceback = traceback.tb_next
    return f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}" if traceback else "an unknown place"
