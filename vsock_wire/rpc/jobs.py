"""Requests that were read, and the threads that answer several requests of one connection concurrently."""

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
        answer: returns the reply; never raises.
        is_independent: whether it may be answered concurrently with other requests of its connection, and before
            earlier ones.
    """

    answer: Callable[[], JsonObject]
    is_independent: bool = False


class Answering(Protocol):
    """What answers the requests of one connection."""

    def take(self, frame: bytes) -> Job:
        """Return the job for one request; never raise."""


class SideJobs:
    """Answers the independent requests of one connection in threads, at most MAX_IN_FLIGHT at a time.

    Args:
        connection: the connection that the requests came from.
        reply: sends a reply on a connection.
        threads: limits the threads of all connections; each thread holds one slot until its connection ends.
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
        self._slots = threading.BoundedSemaphore(MAX_IN_FLIGHT)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._waiting = 0  # idle threads minus queued jobs
        self._lock = threading.Lock()

    def start(self, job: Job) -> bool:
        """Have a thread answer ``job``, and wait while too many are in flight; return False if no thread can start."""
        self._slots.acquire()
        self._connection.send_from_other_threads()
        with self._lock:
            if self._waiting <= 0 and self._start_thread():
                self._waiting += 1
            if not self._threads:
                self._slots.release()
                return False
            self._waiting -= 1
        self._jobs.put(job)
        return True

    def finish(self) -> None:
        """Wait until every job that was started is answered."""
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
            except Exception as error:  # noqa: BLE001 - a bug costs one connection; its text may contain anything
                _logger.error("%s: internal error: %s", self._connection.peer, type(error).__name__)  # noqa: TRY400
                self._connection.stop_reading()
            with self._lock:
                self._waiting += 1
            self._slots.release()


def start_thread(thread: threading.Thread) -> bool:
    """Start ``thread``; return False if the system cannot start another one."""
    try:
        thread.start()
    except RuntimeError:
        return False
    return True
