"""Checks each hop that the enclave depends on, from inside: NSM, entropy, proxy, KMS, TLS, clock."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError

from enclave_tool.errors import NsmError, ProxyUnreachableError, TlsError
from enclave_tool.kms.clock import KmsClock
from enclave_tool.kms.clock_skew import SIGNATURE_TOLERANCE_S
from enclave_tool.kms.failures import kms_failure
from enclave_tool.kms.options import KmsOptions
from enclave_tool.kms.tls import with_name_of_peer
from enclave_tool.kms.transport import ProxySession
from enclave_tool.nsm.device import Nsm
from enclave_tool.recipient.attested_key import Recipient
from vsock_wire.errors import ToolError
from vsock_wire.protocol.diagnosis import Hop, HopName, HopState
from vsock_wire.protocol.recording import recording
from vsock_wire.protocol.trace import TlsConnected
from vsock_wire.stopwatch import milliseconds_since

ENTROPY_SAMPLE_BYTES = 32
"""Size of each of two samples, large enough that two equal ones mean a broken generator and not chance."""
DATE_PRECISION_S = 1
"""Precision of a Date header."""
PING_PATH = "/ping"
"""The path of an unsigned request. Any response of KMS shows its certificate and has a Date header."""


@dataclass(frozen=True)
class Surveyor:
    """Checks each hop again at each call, with a new connection and without calling an operation of KMS.

    Attributes:
        nsm: the module.
        recipient: the recipient whose key is attested.
        options: how to reach KMS.
    """

    nsm: Nsm
    recipient: Recipient
    options: KmsOptions

    def survey(self, kms_url: str) -> Iterator[Hop]:
        """Yield the hops. If one fails, those that depend on it are skipped.

        Args:
            kms_url: the URL of the endpoint, ``https://HOST`` or ``https://HOST:PORT``.
        """
        module = self._see_nsm()
        yield module
        yield self._see_entropy() if module.state is HopState.OK else Hop.skipped(HopName.ENTROPY, HopName.NSM)
        yield from self._see_kms(kms_url)

    def _see_nsm(self) -> Hop:
        started = time.perf_counter()
        try:
            module_id = self.nsm.describe().module_id
            document = self.recipient.attest(None, None)
        except NsmError as error:
            return Hop.failed(HopName.NSM, error)
        seen = f"module {module_id} made an attestation document of {len(document):,} bytes"
        return Hop(HopName.NSM, HopState.OK, seen, elapsed_ms=milliseconds_since(started))

    def _see_entropy(self) -> Hop:
        try:
            samples = [self.nsm.random(ENTROPY_SAMPLE_BYTES) for _ in range(2)]
            os.getrandom(1, os.GRND_NONBLOCK)
        except NsmError as error:
            return Hop.failed(HopName.ENTROPY, error)
        except BlockingIOError:
            return _no_entropy("the kernel's random number generator is not seeded")
        if samples[0] == samples[1]:
            return _no_entropy(f"NSM GetRandom: returned the same {ENTROPY_SAMPLE_BYTES} bytes twice")
        return Hop(
            HopName.ENTROPY, HopState.OK, "the module's random bytes differ, and the kernel's generator is seeded"
        )

    def _see_kms(self, kms_url: str) -> Iterator[Hop]:
        started = time.perf_counter()
        host, proxy = urlsplit(kms_url).netloc, self.options.proxy_address
        session = ProxySession(replace(self.options, max_connections=1))
        request: object = AWSRequest("GET", kms_url + PING_PATH).prepare()
        try:
            with recording() as steps:
                answer = session.send(request)
        except BotoCoreError as error:
            yield from _stopped(with_name_of_peer(kms_failure(error, proxy), self.options))
            return
        finally:
            session.close()
        yield Hop(HopName.PROXY, HopState.OK, f"{proxy} answers")
        yield Hop(HopName.KMS, HopState.OK, f"{host} answers", None, milliseconds_since(started))
        yield _see_certificate(steps)
        yield _see_clock(answer.headers.get("Date"))


def _stopped(error: ToolError) -> Iterator[Hop]:
    """Yield the hops on the way to KMS, one of which failed with ``error``."""
    match error:
        case ProxyUnreachableError():
            failed = HopName.PROXY
        case TlsError():
            failed = HopName.TLS
        case _:
            failed = HopName.KMS
    way = (HopName.PROXY, HopName.KMS, HopName.TLS, HopName.CLOCK)
    for name in way[: way.index(failed)]:
        yield Hop(name, HopState.OK, "answers")
    yield Hop.failed(failed, error)
    for name in way[way.index(failed) + 1 :]:
        yield Hop.skipped(name, failed)


def _see_certificate(steps: list[object]) -> Hop:
    seen = next(step for step in steps if isinstance(step, TlsConnected))
    return Hop(
        HopName.TLS,
        HopState.OK,
        f"{seen.version}; certificate for {seen.certificate_names}, issued by {seen.certificate_issuer}",
        elapsed_ms=seen.elapsed_ms,
    )


def _see_clock(date: str | None) -> Hop:
    offset = KmsClock().measure(date)
    if offset is None:
        return Hop(HopName.CLOCK, HopState.FAILED, "KMS's response has no readable Date header")
    ahead_s = round(offset.total_seconds())
    relation = "ahead of the enclave's" if ahead_s >= 0 else "behind the enclave's"
    seen = f"KMS's clock is {abs(ahead_s)} s {relation}"
    if abs(ahead_s) <= DATE_PRECISION_S:
        return Hop(HopName.CLOCK, HopState.OK, "the enclave's clock agrees with KMS's to the second")
    if abs(ahead_s) <= SIGNATURE_TOLERANCE_S:
        return Hop(HopName.CLOCK, HopState.OK, f"{seen}; up to {SIGNATURE_TOLERANCE_S} s is tolerated")
    hint = "set the enclave's clock, or restart the enclave; it also decides whether certificates are valid"
    return Hop(
        HopName.CLOCK, HopState.FAILED, f"{seen}, more than the {SIGNATURE_TOLERANCE_S} s that KMS tolerates", hint
    )


def _no_entropy(detail: str) -> Hop:
    return Hop(HopName.ENTROPY, HopState.FAILED, detail, "restart the enclave; do not use keys made in this one")
