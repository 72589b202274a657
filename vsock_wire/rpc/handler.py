"""What every server of messages does with a request, whatever it asks for."""

from __future__ import annotations

from collections.abc import Callable

from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.protocol.recording import recording
from vsock_wire.protocol.trace import encode_evidence
from vsock_wire.protocol.vocabulary import EVIDENCE, EXPLAIN, RequestError


def explained(message: JsonObject, answer: Callable[[], JsonObject]) -> JsonObject:
    """Return the reply that ``answer`` makes, with EVIDENCE where the request asks for it.

    Args:
        message: the request.
        answer: called once, in this thread; returns the reply, also where that is an error.

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
