"""Well-behaved clients that decrypt, one request after the other, and count failures."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Self

from tests.support.deployment.deployment import CONTEXT, Deployment
from tests.support.kms.decrypting import decrypt_request
from vsock_wire.protocol.json_codec import encode_base64, encode_message
from vsock_wire.protocol.kms_operations import encode_kms_request
from vsock_wire.protocol.messages import SetClient

PLAINTEXT = b"what honest clients decrypt"


@dataclass
class Honest:
    """Clients in threads, each with one connection that stays open.

    Args:
        deployment: the deployment with the enclave.
        clients: the number of clients.
        keeps_latencies: whether to record the duration of each decrypt, which takes memory.
    """

    deployment: Deployment
    clients: int
    keeps_latencies: bool = True
    latencies_ms: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    decrypts: int = 0

    def __post_init__(self) -> None:
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        account = self.deployment.account
        self._set_client = encode_message(SetClient(account.issue_credentials(), account.region).to_message())
        blob = account.key.seal(PLAINTEXT, encryption_context=CONTEXT)
        self._decrypt = encode_message(encode_kms_request(decrypt_request(blob, CONTEXT)))
        self._threads = [threading.Thread(target=self._run) for _ in range(self.clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        try:
            with self.deployment.connect() as client:
                assert client.ask(self._set_client)["Status"] == "Ok"
                while not self._is_over.is_set():
                    started = time.perf_counter()
                    reply = client.ask(self._decrypt)
                    self._count(reply, (time.perf_counter() - started) * 1e3)
        except Exception as error:  # noqa: BLE001 - each is a loss, and is told
            with self._lock:
                self.failures.append(f"{type(error).__name__}: {error}")

    def _count(self, reply: dict[str, object], elapsed_ms: float) -> None:
        with self._lock:
            self.decrypts += 1
            if self.keeps_latencies:
                self.latencies_ms.append(elapsed_ms)
            if reply.get("Message") != encode_base64(PLAINTEXT):
                self.failures.append(str(reply))
