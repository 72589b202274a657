"""The chain from this instance to KMS and back, hop by hop: what was seen of each, and what to do where one fails."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread

from instance_tool.client.client import EnclaveClient
from instance_tool.credentials.find import IMDS_SOURCE, FoundCredentials
from instance_tool.credentials.source import CredentialSource
from instance_tool.errors import EnclaveError, RoleError
from nitro_attestation.document.cose import parse_unverified_document
from nitro_attestation.errors import AttestationError
from vsock_wire.errors import CredentialsError, ToolError, TransportError
from vsock_wire.net.address import TcpAddress, VsockAddress
from vsock_wire.net.sockets import connect_socket, local_vsock_cid
from vsock_wire.protocol.delivery import DELIVERY
from vsock_wire.protocol.diagnosis import Hop, HopName, HopState, encode_diagnosis_request, parse_diagnosis
from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.protocol.kms_operations import KmsRequest
from vsock_wire.protocol.messages import reply_text
from vsock_wire.protocol.recording import recording
from vsock_wire.protocol.trace import Attested
from vsock_wire.protocol.vocabulary import CREDENTIALS_HELD, DEFAULT_REGION, PROTOCOL, REGION, VERSION, EnclaveCode

CONNECT_TIMEOUT_S = 3.0
"""For reaching KMS from here; as long as the enclave gives its proxy."""
RESOLVE_TIMEOUT_S = 5.0
"""For a name: the system's resolver waits as long before its second try. Source: resolv.conf(5), timeout."""
ACCESS_DENIED = "AccessDeniedException"

_BEHIND_ENCLAVE = (HopName.NSM, HopName.ENTROPY, HopName.PROXY, HopName.DNS, HopName.KMS, HopName.TLS, HopName.CLOCK)
_ENCLAVE_SIDE = (HopName.VSOCK, HopName.ENCLAVE, HopName.PROTOCOL, HopName.REGION, *_BEHIND_ENCLAVE)


@dataclass(frozen=True)
class Chain:
    """What is looked at.

    Attributes:
        client: of the enclave, without credentials yet.
        region: of KMS, as asked for here; None where it is not.
        find_credentials: finds them anew each time.
        kms_address: where the proxy leads; None for the host that the enclave asks for.
        decrypt: the Decrypt to try; None to try none.
    """

    client: EnclaveClient
    region: str | None
    find_credentials: Callable[[], FoundCredentials]
    kms_address: TcpAddress | None = None
    decrypt: KmsRequest | None = None


def examine(chain: Chain) -> Iterator[Hop]:
    """Yield the hops in the order of HopName, each when it has been looked at; what could not be is skipped.

    What the enclave says of its hops is not proven. Only a Decrypt, where one is to be tried, calls an operation of
    KMS; nothing of its plaintext is kept.
    """
    failed: HopName | None = None
    for hop in itertools.chain(_examine_enclave(chain), _examine_credentials(chain)):
        if hop.state is HopState.FAILED and failed is None:
            failed = hop.name
        yield hop
    if chain.decrypt is None:
        return
    yield Hop.skipped(HopName.DECRYPT, failed) if failed else _try_decrypt(chain, chain.decrypt)


def _examine_enclave(chain: Chain) -> Iterator[Hop]:
    """Yield the hops from here to KMS; behind the one at which the way ends, all others as skipped."""
    seen: dict[HopName, Hop] = {}
    for hop in _walk_to_kms(chain):
        seen[hop.name] = hop
        yield hop
    first = next((name for name, hop in seen.items() if hop.state is HopState.FAILED), HopName.PROTOCOL)
    yield from (Hop.skipped(name, first) for name in _ENCLAVE_SIDE if name not in seen)


def _walk_to_kms(chain: Chain) -> Iterator[Hop]:
    vsock = _see_vsock(chain)
    yield vsock
    if vsock.state is HopState.FAILED:
        return
    try:
        description = chain.client.describe()
    except ToolError as error:
        yield from _without_description(chain, error)
        return
    yield Hop(HopName.ENCLAVE, HopState.OK, f"{chain.client.address} answers")
    if description.get(CREDENTIALS_HELD) is True:
        detail = "expected an enclave, got a kmstool-instance serve"
        yield Hop(HopName.PROTOCOL, HopState.FAILED, detail, "give the enclave itself: --cid")
        return
    try:
        own_region = reply_text(description, REGION)
        reply = chain.client.exchange(encode_diagnosis_request(None if own_region else chain.region))
        diagnosis = parse_diagnosis(reply)
    except ToolError as error:
        yield from _without_diagnosis(description, error)
        return
    yield _see_protocol(description)
    yield _see_region(own_region, chain.region)
    hops = {hop.name: hop for hop in diagnosis.hops}
    kms_address = chain.kms_address or _kms_address(diagnosis.kms_host)
    yield from (hops[name] for name in (HopName.NSM, HopName.ENTROPY, HopName.PROXY) if name in hops)
    yield from _see_dns_and_kms(hops, kms_address)
    yield from (hops[name] for name in (HopName.TLS, HopName.CLOCK) if name in hops)


def _see_vsock(chain: Chain) -> Hop:
    if not isinstance(chain.client.address, VsockAddress):
        return Hop(HopName.VSOCK, HopState.OK, f"not needed for {chain.client.address}")
    try:
        cid = local_vsock_cid()
    except TransportError as error:
        return Hop.failed(HopName.VSOCK, error)
    told = "the kernel does not tell its CID" if cid is None else f"this instance has CID {cid}"
    return Hop(HopName.VSOCK, HopState.OK, f"sockets can be made here; {told}")


def _without_description(chain: Chain, error: ToolError) -> Iterator[Hop]:
    """Yield what is known of an enclave that did not describe itself."""
    is_busy = isinstance(error, EnclaveError) and error.reply.code == EnclaveCode.BUSY
    is_absent = isinstance(error, TransportError) and error.operation == "connect to"
    if is_busy or is_absent:
        yield Hop.failed(HopName.ENCLAVE, error)
        return
    yield Hop(HopName.ENCLAVE, HopState.OK, f"{chain.client.address} takes connections")
    yield _legacy_protocol() if _is_unknown(error) else Hop.failed(HopName.PROTOCOL, error)


def _without_diagnosis(description: JsonObject, error: ToolError) -> Iterator[Hop]:
    """Yield what is known of an enclave that did not tell what is behind it."""
    if isinstance(error, EnclaveError) and error.reply.code == EnclaveCode.CLIENT_FAILED:
        yield _see_protocol(description)
        yield Hop.failed(HopName.REGION, error)
    else:
        yield _legacy_protocol() if _is_unknown(error) else Hop.failed(HopName.PROTOCOL, error)


def _is_unknown(error: ToolError) -> bool:
    return isinstance(error, EnclaveError) and error.says_operation_unknown


def _legacy_protocol() -> Hop:
    return Hop(
        HopName.PROTOCOL,
        HopState.FAILED,
        "expected an enclave that can look behind itself, got kmstool in C or an older kmstool-enclave",
        "run this version of kmstool-enclave; without it nothing is known of what is behind the enclave",
    )


def _see_protocol(description: JsonObject) -> Hop:
    told = {name: description.get(name) for name in (VERSION, PROTOCOL, DELIVERY)}
    said = ", ".join(f"{name.lower()} {str(value)[:64]}" for name, value in told.items())
    return Hop(HopName.PROTOCOL, HopState.OK, said)


def _see_region(own: str | None, asked: str | None) -> Hop:
    if own and asked:
        detail = "expected a region on one side, got one on both: the enclave was started with one of its own"
        return Hop(HopName.REGION, HopState.FAILED, detail, "leave --region off")
    if own:
        return Hop(HopName.REGION, HopState.OK, f"{own[:64]}, set in the enclave")
    return Hop(HopName.REGION, HopState.OK, f"{asked}, set here" if asked else f"{DEFAULT_REGION}: no side sets one")


def _kms_address(host: str) -> TcpAddress:
    name, _, port = host.partition(":")
    return TcpAddress(name, int(port) if port.isdigit() else 443)


def _see_dns_and_kms(hops: Mapping[HopName, Hop], address: TcpAddress) -> Iterator[Hop]:
    """Yield both hops; only where KMS was not reached through the proxy, look for it from here as well."""
    match hops.get(HopName.KMS):
        case Hop(state=HopState.FAILED) as kms:
            dns = _resolve(address)
            yield dns
            yield _reach(address, kms) if dns.state is HopState.OK else Hop.skipped(HopName.KMS, HopName.DNS)
        case Hop(state=HopState.SKIPPED) as kms:
            yield Hop.skipped(HopName.DNS, HopName.PROXY)
            yield kms
        case Hop() as kms:
            yield Hop(HopName.DNS, HopState.OK, "the proxy finds KMS")
            yield kms


def _resolve(address: TcpAddress) -> Hop:
    found: SimpleQueue[list[str] | str] = SimpleQueue()
    # The system's call has no time-out; a thread that still waits in it ends with the process.
    Thread(target=lambda: found.put(_look_up(address)), daemon=True).start()
    try:
        places = found.get(timeout=RESOLVE_TIMEOUT_S)
    except Empty:
        places = f"no answer within {RESOLVE_TIMEOUT_S:g} s"
    if isinstance(places, str):
        hint = "the proxy resolves it on this instance: check the VPC's DNS settings, and the region"
        return Hop(HopName.DNS, HopState.FAILED, f"resolve {address.host}: {places}", hint)
    return Hop(HopName.DNS, HopState.OK, f"{address.host} is at {', '.join(places[:4])}")


def _look_up(address: TcpAddress) -> list[str] | str:
    """Return the addresses of a host, or why there are none."""
    try:
        answers = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return (getattr(error, "strerror", None) or "no such host name can exist").lower()
    return sorted({str(entry[4][0]) for entry in answers})


def _reach(address: TcpAddress, kms: Hop) -> Hop:
    """Return the hop to KMS, which the enclave could not go, with what is seen of it from here."""
    try:
        connect_socket(address, timeout_s=CONNECT_TIMEOUT_S).close()
    except TransportError as error:
        hint = "this instance has no way to KMS: check security groups, routes, and the VPC endpoint of KMS"
        return Hop(HopName.KMS, HopState.FAILED, f"{kms.detail}; from here: {error}", hint)
    hint = f"this instance reaches {address}, the proxy does not: check its remote host, its allowlist and its log"
    return Hop(HopName.KMS, HopState.FAILED, kms.detail, hint)


def _examine_credentials(chain: Chain) -> Iterator[Hop]:
    try:
        found = chain.find_credentials()
    except CredentialsError as error:
        yield from _without_credentials(error)
        return
    is_of_role = found.source.startswith(IMDS_SOURCE)
    yield Hop(HopName.IMDS, HopState.OK, "answers" if is_of_role else f"not needed: {found.source} has credentials")
    expiration = found.credentials.expiration
    yield Hop(HopName.ROLE, HopState.OK, found.source + (f", until {expiration}" if expiration else ""))


def _without_credentials(error: CredentialsError) -> Iterator[Hop]:
    """Yield both hops; an error of boto3's chain has that of IMDS, which was asked before, as its cause."""
    cause = error if isinstance(error, RoleError) else error.__cause__
    if isinstance(cause, CredentialsError) and not isinstance(cause, RoleError):
        yield Hop.failed(HopName.IMDS, error)
        yield Hop.skipped(HopName.ROLE, HopName.IMDS)
        return
    yield Hop(HopName.IMDS, HopState.OK, "answers" if isinstance(cause, RoleError) else "not asked")
    yield Hop.failed(HopName.ROLE, error)


def _try_decrypt(chain: Chain, request: KmsRequest) -> Hop:
    chain.client.set_credentials(CredentialSource(chain.find_credentials), chain.region)
    with recording() as steps:
        try:
            result = chain.client.ask_enclave(request)
        except ToolError as error:
            return Hop(HopName.DECRYPT, HopState.FAILED, str(error), _denial_hint(error, steps) or error.hint)
    return Hop(HopName.DECRYPT, HopState.OK, f"KMS decrypted it for this enclave, with {result.key_id}")


def _denial_hint(error: ToolError, steps: Sequence[object]) -> str | None:
    """Return what KMS's denial means for the PCRs that it was shown, or None where it is no denial."""
    documents = [step.document for step in steps if isinstance(step, Attested)]
    if not isinstance(error, EnclaveError) or error.reply.code != ACCESS_DENIED or not documents:
        return None
    try:
        shown = parse_unverified_document(documents[-1])
    except AttestationError as unreadable:
        return f"what the enclave showed KMS is no attestation document: {unreadable}"
    if shown.is_debug:
        return (
            "the enclave runs in debug mode: KMS was shown zeros in PCR0 to PCR2, which name no image; start it without"
            " --debug-mode"
        )
    return (
        f"KMS was shown PCR0 {shown.pcrs.get(0, b'').hex()}: the key policy must have it in"
        " kms:RecipientAttestation:ImageSha384, and this role as principal; kmstool-instance policy explain tells which"
        " condition fails"
    )
