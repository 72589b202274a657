"""What a client of a CONNECT route says before anything is dialled."""

from __future__ import annotations

from vsock_proxy.config.destination import Destination
from vsock_proxy.errors import ProxyError
from vsock_proxy.handshake.connect_answer import encode_refusal
from vsock_proxy.handshake.connect_head import find_head_end, parse_connect_head


class ConnectOpening:
    """Collects one client's request; see ``relay.plan.Opening``.

    Attributes:
        rest: what the client has sent after its request, which is the beginning of the tunnel.
    """

    def __init__(self) -> None:
        self._received = bytearray()
        self.rest = b""

    def feed(self, data: bytes) -> Destination | None:
        """Take more of the stream; return what the client asks for, or None until the request is complete.

        Raises:
            HeadError: it is not a CONNECT request, or one too large.
        """
        searched = len(self._received)
        self._received += data
        end = find_head_end(self._received, searched=searched)
        if end is None:
            return None
        self.rest = bytes(self._received[end:])
        return parse_connect_head(bytes(self._received[:end]))

    def refusal(self, error: ProxyError) -> bytes:
        """Return the answer to a client that is refused with ``error``."""
        return encode_refusal(error)
