"""Requests that were read, and the threads that answer several of one connection at the same time."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from vsock_wire.errors import TransportError
from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.protocol.vocabulary import MAX_IN_FLIGHT
from vsock_wire.rpc.connection import MessageConnection

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A request that was read.

    Attributes:
        answer: returns the one reply to it; never raises.
        is_independent: whether it may be answered beside others of its connection, and before earlier ones.
    """

    answer: Callable[[], JsonObject]
    is_independent: bool = False


class Answering(Protocol):
    """One connection's conversation."""

    def take(self, frame: bytes) -> Job:
        """Return what is to be done for a request; never raise."""


class SideJobs:
    """The independent requests of one connection, at most MAX_IN_FLIGHT at a time, each in a thread.

    Args:
        connection: whose requests they are.
        reply: sends it a reply.
        threads: of which each thread takes one for as long as the connection lasts.
    """

    def __init__(
        self,
        connection: MessageConnection,
        reply: Callable[[MessageConnection, JsonObject], None],
        threads: threading.Semaphore,
    ) -> None:
        self._connection = connection
        self._reply = reply
        self._all_threads = threads
        self._room = threading.BoundedSemaphore(MAX_IN_FLIGHT)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._waiting = 0  # threads without a job, less the jobs that wait for one
        self._lock = threading.Lock()

    def start(self, job: Job) -> bool:
        """Have ``job`` answered; waits while there are too many. False where the system has no room for a thread."""
        self._room.acquire()
        self._connection.send_from_other_threads()
        with self._lock:
            if self._waiting <= 0 and self._start_thread():
                self._waiting += 1
            if not self._threads:
                self._room.release()
                return False
            self._waiting -= 1
        self._jobs.put(job)
        return True

    def finish(self) -> None:
        """Return when all that was started is answered."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
            self._all_threads.release()

    def _start_thread(self) -> bool:
        if not self._all_threads.acquire(blocking=False):
            return False
        thread = threading.Thread(target=self._work, daemon=True)
        if not start_thread(thread):
            self._all_threads.release()
            return False
        self._threads.append(thread)
        return True

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._reply(self._connection, job.answer())
            except TransportError as error:
                _logger.info("%s", error)
                self._connection.stop_reading()
            except Exception as error:  # noqa: BLE001 - a bug costs one connection; its text may hold anything
                _logger.error("%s: internal error: %s", self._connection.peer, type(error).__name__)  # noqa: TRY400
                self._connection.stop_reading()
            with self._lock:
                self._waiting += 1
            self._room.release()


def start_thread(thread: threading.Thread) -> bool:
    """Start ``thread``; False where the system has no room for one more."""
    try:
        thread.start()
    except RuntimeError:
        return False
    return True
