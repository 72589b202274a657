"""A message server with one thread per connection, so that no client waits for another.

How it works. ``serve`` accepts connections and starts a thread for each. The thread reads one message at a time, gets a
job for it from the connection's session, and sends the reply. Requests are therefore answered in order, as in kmstool
in C. Independent requests go to SideJobs (``vsock_wire.rpc.jobs``) instead: up to MAX_IN_FLIGHT per connection are in
progress in threads of their own, while the connection's first thread continues to read.

Why threads. A request waits for KMS in boto3 and for the NSM in a system call. Both block, and compared with either, a
thread costs little. A client that is slow, silent, or does not read holds up only its own thread, until a timeout.

Limits and two semaphores bound what a client can use. A short-lived thread tells a client that it is over a limit and
closes its connection, so the accepting thread never waits for a client. Worker processes share the listener and a
SharedLoad: a worker that has more connections than another waits for YIELD_S, so that the other one accepts first. At
the end, ``serve`` stops reading from all connections, and gives requests in progress ``drain_s`` to finish.
"""

from __future__ import annotations

import contextlib
import logging
import math
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from vsock_wire.errors import ToolError, TransportError, WireError
from vsock_wire.net.address import VsockAddress
from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.protocol.messages import ErrorReply
from vsock_wire.protocol.vocabulary import STATUS_ERROR, EnclaveCode, Service
from vsock_wire.rpc.connection import MessageConnection
from vsock_wire.rpc.jobs import Answering, SideJobs, start_thread
from vsock_wire.rpc.shared_load import SharedLoad

_logger = logging.getLogger(__name__)

ACCEPT_PAUSE_S = 0.1
"""Pause after a failed accept (no descriptors left), so that the loop does not spin until connections end."""
MAX_TURNING_AWAY = 16
"""Maximum number of connections over the limit that get an error reply at the same time; others are just closed."""
TURN_AWAY_TIMEOUT_S = 1.0
"""Timeout for sending one of these error replies."""
MAX_SIDE_THREADS = 128
"""Maximum number of threads per process that answer independent requests. If none is left, a connection's requests are
answered in order, like those without an Id."""
YIELD_S = 0.002
"""How long a worker leaves a new connection to workers that serve fewer."""


@dataclass(frozen=True)
class Limits:
    """What the server allows its clients.

    Attributes:
        max_connections: concurrent connections of all workers together; any more get an error and are closed. Workers
            that accept at the same moment may exceed it by one each.
        max_connections_per_cid: concurrent connections from one CID; over TCP, from one host; over a unix socket, from
            all local programs together. Each worker enforces its share, rounded up, on the connections it serves.
        idle_timeout_s: seconds between two messages of a connection.
        message_timeout_s: seconds from the first byte of a message to its last.
        write_timeout_s: seconds to send a reply, however slowly the client reads.
        drain_s: seconds that requests in progress get to finish when the server stops.
    """

    max_connections: int = 256
    max_connections_per_cid: int = 256
    idle_timeout_s: float = 300.0
    message_timeout_s: float = 10.0
    write_timeout_s: float = 10.0
    drain_s: float = 10.0


class MessageServer:
    """Accepts connections and answers their messages: independent ones concurrently, all others in order.

    Args:
        program: the server's name in hints to clients.
        listener: a listening stream socket; this object takes ownership. Workers may share it.
        new_session: creates what answers the requests of a new connection.
        limits: what the server allows its clients.
        load: the load of all workers; by default this process is the only worker.
        worker: the number of this worker.
    """

    def __init__(
        self,
        program: str,
        listener: socket.socket,
        new_session: Callable[[], Answering],
        limits: Limits,
        *,
        load: SharedLoad | None = None,
        worker: int = 0,
    ) -> None:
        self._program = program
        self._listener = listener
        self._load = load or SharedLoad()
        if self._load.workers > 1:
            listener.setblocking(False)  # a new connection wakes several workers, and only one of them can accept it
        self._worker = worker
        self._new_session = new_session
        self._limits = limits
        self._side_threads = threading.BoundedSemaphore(MAX_SIDE_THREADS)
        self._turning_away = threading.BoundedSemaphore(MAX_TURNING_AWAY)
        self._lock = threading.Lock()
        self._connections: dict[MessageConnection, threading.Thread] = {}
        self._hosts: dict[MessageConnection, str] = {}

    def serve(self) -> NoReturn:
        """Serve until an exception, such as the SystemExit of a signal handler, leaves this method.

        It then accepts no more connections, and requests in progress get ``limits.drain_s`` to finish.
        """
        try:
            while True:
                self._accept()
        finally:
            self._drain()

    def _accept(self) -> None:
        self._let_others_accept()
        try:
            sock, peer = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            _logger.warning("cannot accept a connection: %s", error.strerror)
            time.sleep(ACCEPT_PAUSE_S)
            return
        connection, host = MessageConnection(sock, _peer_name(peer)), _host_name(peer)
        thread = threading.Thread(target=self._serve_connection, args=(connection,), daemon=True)
        with self._lock:
            refusal = self._refusal(host)
            if refusal is None:
                self._count(connection, thread, host)  # before the thread starts, so that other workers see it
                if not start_thread(thread):
                    self._discount(connection)
                    refusal = self._too_many(self._limits.max_connections, "--max-connections")
        if refusal is not None:
            self._turn_away(connection, refusal)

    def _refusal(self, host: str) -> ErrorReply | None:
        """Return the error reply for a new connection from ``host``, or None if the limits allow the connection."""
        limits = self._limits
        if self._load.total() >= limits.max_connections:
            return self._too_many(limits.max_connections, "--max-connections")
        share = math.ceil(limits.max_connections_per_cid / self._load.workers)
        if sum(other == host for other in self._hosts.values()) >= share:
            return self._too_many(limits.max_connections_per_cid, "--max-connections-per-cid", f" from {host}")
        return None

    def _let_others_accept(self) -> None:
        """Wait for a new connection, and give a worker that serves fewer the time to accept it."""
        if self._load.workers > 1:
            select.select([self._listener], [], [])
            if self._load.is_ahead(self._worker):
                time.sleep(YIELD_S)

    def _turn_away(self, connection: MessageConnection, refusal: ErrorReply) -> None:
        _logger.warning("%s: turned away: %s", connection.peer, refusal.message)
        if not self._turning_away.acquire(blocking=False):
            connection.close()
            return

        def explain() -> None:
            try:
                _tell_and_close(connection, refusal)
            finally:
                self._turning_away.release()

        if not start_thread(threading.Thread(target=explain, daemon=True)):
            self._turning_away.release()
            connection.close()

    def _too_many(self, limit: int, option: str, whose: str = "") -> ErrorReply:
        return ErrorReply(
            f"Too many connections: {limit} are open{whose}",
            EnclaveCode.BUSY,
            Service.ENCLAVE,
            hint=f"try again later, or start {self._program} with a larger {option}",
        )

    def _serve_connection(self, connection: MessageConnection) -> None:
        _logger.debug("%s: connected", connection.peer)
        aside = SideJobs(connection, self._reply, self._side_threads)
        try:
            self._converse(connection, self._new_session(), aside)
        except TransportError as error:
            _logger.info("%s", error)
        except Exception as error:  # noqa: BLE001 - a bug costs one connection; its text may contain anything
            _logger.error("%s: internal error: %s", connection.peer, type(error).__name__)  # noqa: TRY400
        finally:
            aside.finish()
            self._forget(connection)

    def _converse(self, connection: MessageConnection, session: Answering, aside: SideJobs) -> None:
        while True:
            try:
                frame = connection.receive(
                    idle_timeout_s=self._limits.idle_timeout_s, message_timeout_s=self._limits.message_timeout_s
                )
            except WireError as error:
                self._reply(connection, _too_large(error).to_message())
                continue
            if frame is None:
                return
            job = session.take(frame)
            if not (job.is_independent and aside.start(job)):
                self._reply(connection, job.answer())

    def _reply(self, connection: MessageConnection, reply: JsonObject) -> None:
        if reply.get("Status") == STATUS_ERROR:
            _logger.info("%s: refused: %s", connection.peer, reply.get("Message"))
        connection.send(reply, timeout_s=self._limits.write_timeout_s)

    def _forget(self, connection: MessageConnection) -> None:
        with self._lock:
            self._discount(connection)
        connection.close()

    def _count(self, connection: MessageConnection, thread: threading.Thread, host: str) -> None:
        self._connections[connection] = thread
        self._hosts[connection] = host
        self._load.set(self._worker, len(self._connections))

    def _discount(self, connection: MessageConnection) -> None:
        self._connections.pop(connection, None)
        self._hosts.pop(connection, None)
        self._load.set(self._worker, len(self._connections))

    def _drain(self) -> None:
        self._listener.close()
        with self._lock:
            under_way = dict(self._connections)
        for connection in under_way:
            connection.stop_reading()
        deadline = time.monotonic() + self._limits.drain_s
        for thread in under_way.values():
            thread.join(max(0.0, deadline - time.monotonic()))


def _peer_name(peer: object) -> str:
    """Return a peer's name for the log; a client of a unix socket has no address."""
    if isinstance(peer, tuple) and all(isinstance(part, int) for part in peer):
        return str(VsockAddress(*peer))
    return f"tcp://{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "unix client"


def _host_name(peer: object) -> str:
    """Return what a connection counts against: a CID, a host, or this machine for a unix socket."""
    if isinstance(peer, tuple):
        return f"CID {peer[0]}" if isinstance(peer[0], int) else str(peer[0])
    return "this machine"


def _too_large(error: WireError) -> ErrorReply:
    return ErrorReply(str(error), EnclaveCode.INVALID_MESSAGE, Service.ENCLAVE, hint=error.hint)


def _tell_and_close(connection: MessageConnection, reply: ErrorReply) -> None:
    """Send an error reply and read what the client sends, so that closing the connection does not discard the reply."""
    with contextlib.suppress(ToolError), connection:
        connection.send(reply.to_message(), timeout_s=TURN_AWAY_TIMEOUT_S)
        connection.stop_writing()
        connection.receive(idle_timeout_s=TURN_AWAY_TIMEOUT_S, message_timeout_s=TURN_AWAY_TIMEOUT_S)
