"""Builds the server from its configuration and runs it."""

from __future__ import annotations

import gc
import logging
import signal
from typing import NoReturn

from enclave_tool.delivery.policy import Deliverer
from enclave_tool.delivery.program import ProgramRunner
from enclave_tool.kms.regions import KmsRegions
from enclave_tool.kms.tls import load_trust
from enclave_tool.nsm.device import Nsm, open_nsm
from enclave_tool.nsm.entropy import seed_kernel_entropy
from enclave_tool.recipient.attested_key import Recipient, RecipientKey
from enclave_tool.server.config import Config
from enclave_tool.server.diagnosis import Surveyor
from enclave_tool.server.session import Enclave, Session
from enclave_tool.server.workers import exit_on_signal, fork_workers
from vsock_wire import __version__
from vsock_wire.net.sockets import bound_address, listen_socket
from vsock_wire.protocol.attestation import AttestationRequest
from vsock_wire.protocol.delivery import DELIVERY
from vsock_wire.protocol.frames import MAX_MESSAGE_BYTES
from vsock_wire.protocol.kms_operations import MAX_CIPHERTEXT_BYTES
from vsock_wire.protocol.vocabulary import DEFAULT_REGION, PROTOCOL, PROTOCOL_VERSION, VERSION
from vsock_wire.rpc.server import MessageServer
from vsock_wire.rpc.shared_load import SharedLoad

PROGRAM = "kmstool-enclave"
"""The program's name in hints to clients."""
COLLECT_AFTER = 10_000
"""New objects between two runs of the garbage collector. With Python's default of 700, each decrypt causes a run."""

_logger = logging.getLogger(__name__)


def serve(config: Config) -> NoReturn:
    """Seed the kernel, generate the recipient key, listen, and serve until SIGTERM, possibly in several workers.

    Raises:
        NsmError: there is no Nitro Security Module, or the kernel could not be seeded from it.
        InputError: the CA bundle cannot be read, or the program of the delivery is not executable.
        UnknownRegionError: there is no such region.
        TransportError: the address cannot be bound.
    """
    signal.signal(signal.SIGTERM, exit_on_signal)
    deliverer = Deliverer(config.delivery, ProgramRunner(config.program).run if config.program else None)
    with open_nsm(config.nsm) as nsm:
        seed_kernel_entropy(nsm)  # before any key is made
        enclave = _make_enclave(config, nsm, deliverer)
        enclave.kms.endpoint_url(config.region or DEFAULT_REGION)  # loads botocore's data once for all workers
        listener = listen_socket(config.listen)
        _logger.info("listening on %s", bound_address(listener, config.listen))
        load, worker = SharedLoad(config.workers), 0
        _spare_loaded_objects()
        if config.workers > 1:
            worker = fork_workers(config.workers, listener, load, drain_s=config.limits.drain_s)
        MessageServer(PROGRAM, listener, lambda: Session(enclave), config.limits, load=load, worker=worker).serve()


def _make_enclave(config: Config, nsm: Nsm, deliverer: Deliverer) -> Enclave:
    recipient = Recipient(nsm, key=RecipientKey.generate(config.key_bits), max_document_age_s=config.max_document_age_s)

    def attest(request: AttestationRequest) -> bytes:
        return recipient.attest(request.nonce, deliverer.user_data(request), public_key_der=request.public_key)

    options = load_trust(config.kms)
    return Enclave(
        KmsRegions(recipient, options),
        config.region,
        _describe(config, nsm, recipient),
        attest,
        Surveyor(nsm, recipient, options).survey,
        deliverer,
    )


def _describe(config: Config, nsm: Nsm, recipient: Recipient) -> dict[str, object]:
    return {
        VERSION: __version__,
        PROTOCOL: PROTOCOL_VERSION,
        "ModuleId": nsm.describe().module_id,
        "RecipientKeyId": recipient.key.identifier.hex(),
        DELIVERY: config.delivery,
        "Workers": config.workers,
        "Limits": {
            "MessageBytes": MAX_MESSAGE_BYTES,
            "CiphertextBytes": MAX_CIPHERTEXT_BYTES,
            "Connections": config.limits.max_connections,
            "ConnectionsPerCid": config.limits.max_connections_per_cid,
            "IdleTimeoutS": config.limits.idle_timeout_s,
            "AttestationMaxAgeS": config.max_document_age_s,
        },
    }


def _spare_loaded_objects() -> None:
    """Exempt all objects loaded so far from garbage collection, so that workers share them and requests run faster."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
