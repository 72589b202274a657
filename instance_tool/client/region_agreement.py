"""Agreeing on the region with an enclave, which may have one of its own.

If both sides set a region, SetClient fails, as in kmstool. ``--region`` is meant to fail then. A region that merely
stands in the environment or in a profile is not: the enclave's own region wins, and SetClient is sent again without it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from instance_tool.credentials.region import Region, RegionSource
from instance_tool.errors import EnclaveError
from vsock_wire.errors import InputError
from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.protocol.vocabulary import DEFAULT_REGION, REGION

_Send: TypeAlias = Callable[[str | None], JsonObject]
_logger = logging.getLogger(__name__)


class RegionAgreement:
    """Chooses the region that SetClient carries, and remembers what the enclave made of it for further connections.

    The enclave may have been replaced by another one between two connections.

    Args:
        source: finds the region.
    """

    def __init__(self, source: RegionSource) -> None:
        self._source = source
        self._chosen: Region | None = None
        self._is_left_to_enclave = False

    @property
    def chosen(self) -> Region | None:
        """The region that the enclave accepted from here; None if it has its own or the default, or was not asked."""
        return self._chosen

    def set_client(self, send: _Send, hang_up: Callable[[], None]) -> JsonObject:
        """Return the reply to SetClient with the region that both sides agree on.

        Args:
            send: sends SetClient with a region or without, and returns the reply.
            hang_up: closes the connection; ``send`` then opens another one.

        Raises:
            InputError: this instance's settings give a region that can be none, and the enclave has none of its own.
            EnclaveError: the enclave rejected the credentials, or a region that was required.
        """
        try:
            region = self._chosen or self._source.known()
        except InputError:
            if self._source.is_required or not (reply := send(None)).get(REGION):
                raise
            return reply  # the enclave has a region of its own, so this one does not matter
        if region is None or self._is_left_to_enclave:
            self._chosen = None
            reply = send(None)
            region = self._region_after(reply, region)
            if region is None:
                return reply
            if REGION not in reply:  # kmstool in C, or an older kmstool-enclave
                hang_up()  # a second SetClient that fails would end kmstool in C
        return self._send(region, send, hang_up)

    def _region_after(self, reply: JsonObject, known: Region | None) -> Region | None:
        """Return the region to send after a SetClient without one; None if that one stands."""
        if reply.get(REGION) or (self._is_left_to_enclave and REGION not in reply):
            return None  # the enclave has its own
        region = known or self._source.look_up()
        return None if region is None or (known is None and region.name == DEFAULT_REGION) else region

    def _send(self, region: Region, send: _Send, hang_up: Callable[[], None]) -> JsonObject:
        try:
            reply = send(region.name)
        except EnclaveError as error:
            if self._source.is_required or not error.says_region_is_set:
                raise
            _logger.info("region: the enclave sets its own; %s from %s is not used", region.name, region.origin)
            hang_up()
            self._chosen, self._is_left_to_enclave = None, True
            return send(None)
        _logger.info("region: %s, from %s", region.name, region.origin)
        self._chosen, self._is_left_to_enclave = region, False
        return reply
