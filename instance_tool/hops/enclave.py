"""The checks of the way to the enclave, and of the hops beyond it as the enclave reports them."""

from __future__ import annotations

from collections.abc import Iterator

from instance_tool.client.client import EnclaveClient
from instance_tool.credentials.region import Region, RegionSource
from instance_tool.errors import EnclaveError
from instance_tool.hops.kms import KmsPlace, see_dns_and_kms
from vsock_wire.errors import CONNECT, InputError, ToolError, TransportError
from vsock_wire.net.address import Address, TcpAddress, VsockAddress
from vsock_wire.net.sockets import local_vsock_cid
from vsock_wire.protocol.delivery import DELIVERY
from vsock_wire.protocol.diagnosis import Hop, HopName, HopState, encode_diagnosis_request, parse_diagnosis
from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.protocol.messages import reply_text
from vsock_wire.protocol.vocabulary import CREDENTIALS_HELD, DEFAULT_REGION, PROTOCOL, REGION, VERSION, EnclaveCode

_REGION_CODES = (EnclaveCode.UNKNOWN_REGION, EnclaveCode.CLIENT_FAILED)


def walk_to_kms(client: EnclaveClient, region: RegionSource, kms_address: TcpAddress | None) -> Iterator[Hop]:
    """Yield the hops from this instance through the enclave to KMS, up to the first that cannot be passed.

    Args:
        client: client of the enclave.
        region: finds the region for an enclave that sets none.
        kms_address: where the proxy connects to; None for the host that the enclave asks for.
    """
    vsock = _see_vsock(client.address)
    yield vsock
    if vsock.state is HopState.FAILED:
        return
    try:
        description = client.describe()
    except ToolError as error:
        yield from _without_description(client.address, error)
        return
    yield Hop(HopName.ENCLAVE, HopState.OK, f"{client.address} answers")
    if description.get(CREDENTIALS_HELD) is True:
        detail = "this is kmstool-instance serve, not an enclave"
        yield Hop(HopName.PROTOCOL, HopState.FAILED, detail, "pass the enclave's own CID with --cid")
        return
    try:
        own_region = reply_text(description, REGION)
        try:
            found = None if own_region else region.known() or region.look_up()
        except InputError as error:
            yield from (_see_protocol(description), Hop.failed(HopName.REGION, error))
            return
        reply = client.exchange(encode_diagnosis_request(found.name if found else None))
        diagnosis = parse_diagnosis(reply)
    except ToolError as error:
        yield from _without_diagnosis(description, error)
        return
    yield _see_protocol(description)
    yield _see_region(own_region, found, is_required=region.is_required)
    hops = {hop.name: hop for hop in diagnosis.hops}
    yield from (hops[name] for name in (HopName.NSM, HopName.ENTROPY, HopName.PROXY) if name in hops)
    region_name = own_region or (found.name if found else DEFAULT_REGION)
    yield from see_dns_and_kms(hops, KmsPlace(kms_address, diagnosis.kms_host, region_name))
    yield from (hops[name] for name in (HopName.TLS, HopName.CLOCK) if name in hops)


def _see_vsock(address: Address) -> Hop:
    if not isinstance(address, VsockAddress):
        return Hop(HopName.VSOCK, HopState.OK, f"not needed for {address}")
    try:
        cid = local_vsock_cid()
    except TransportError as error:
        return Hop.failed(HopName.VSOCK, error)
    local_cid = "the kernel does not report its CID" if cid is None else f"this instance has CID {cid}"
    return Hop(HopName.VSOCK, HopState.OK, f"this instance can open vsock sockets; {local_cid}")


def _without_description(address: Address, error: ToolError) -> Iterator[Hop]:
    """Yield the hops that are known if the enclave did not answer Describe."""
    is_busy = isinstance(error, EnclaveError) and error.reply.code == EnclaveCode.BUSY
    is_absent = isinstance(error, TransportError) and error.operation == CONNECT
    if is_busy or is_absent:
        yield Hop.failed(HopName.ENCLAVE, error)
        return
    yield Hop(HopName.ENCLAVE, HopState.OK, f"{address} accepts connections")
    yield _legacy_protocol() if _is_unknown(error) else Hop.failed(HopName.PROTOCOL, error)


def _without_diagnosis(description: JsonObject, error: ToolError) -> Iterator[Hop]:
    """Yield the hops that are known if the enclave did not answer Diagnose."""
    if isinstance(error, EnclaveError) and error.reply.code in _REGION_CODES:
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
        "kmstool in C or an older kmstool-enclave, which cannot check the hops beyond the enclave",
        "run this version of kmstool-enclave to have those hops checked",
    )


def _see_protocol(description: JsonObject) -> Hop:
    told = {name: description.get(name) for name in (VERSION, PROTOCOL, DELIVERY)}
    said = ", ".join(f"{name.lower()} {str(value)[:64]}" for name, value in told.items())
    return Hop(HopName.PROTOCOL, HopState.OK, said)


def _see_region(own: str | None, found: Region | None, *, is_required: bool) -> Hop:
    if own and is_required:
        detail = "set with --region, but the enclave was started with a region of its own"
        return Hop(HopName.REGION, HopState.FAILED, detail, "omit --region")
    if own:
        return Hop(HopName.REGION, HopState.OK, f"{own[:64]}, set in the enclave")
    if found is None:
        return Hop(HopName.REGION, HopState.OK, f"{DEFAULT_REGION}, the default")
    return Hop(HopName.REGION, HopState.OK, f"{found.name}, {'set with' if is_required else 'from'} {found.origin}")
