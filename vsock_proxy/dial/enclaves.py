"""Finds the CID of a running enclave by its name, with nitro-cli."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import cast

from vsock_proxy.config.enclaves import NamedEnclave
from vsock_proxy.errors import DialError
from vsock_wire.errors import quoted
from vsock_wire.net.address import MAX_CID, VsockAddress

NITRO_CLI = ("nitro-cli", "describe-enclaves")
ASK_TIMEOUT_S = 10.0
"""Seconds for nitro-cli, which asks each enclave's process in turn and needs a fraction of a second."""
MAX_ANSWER_BYTES = 1_048_576
"""An instance runs at most 4 enclaves, with less than 2 KB for each."""
KEPT_S = 5.0
"""Seconds for which an answer is used. An enclave that is started again has another CID."""

_PART_BYTES = 65_536
_HINT = (
    "nitro-cli describe-enclaves must show it, run as the user that runs this proxy: enclaves of other users are left"
    " out without a word"
)


class EnclaveFinder:
    """Asks nitro-cli which enclaves run; for use inside one event loop.

    Args:
        command: the program and arguments to run; tests replace it.
        kept_s: seconds for which an answer is used.
    """

    def __init__(self, command: tuple[str, ...] = NITRO_CLI, *, kept_s: float = KEPT_S) -> None:
        self._command = command
        self._kept_s = kept_s
        self._known: dict[str, int] = {}
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    def known(self, enclave: NamedEnclave) -> VsockAddress | None:
        """Return the address of an enclave if that was asked a moment ago."""
        if time.monotonic() - self._asked_at > self._kept_s or enclave.name not in self._known:
            return None
        return VsockAddress(self._known[enclave.name], enclave.port)

    async def find(self, enclave: NamedEnclave) -> VsockAddress:
        """Return the address of a running enclave.

        Raises:
            DialError: no enclave with this name runs, or nitro-cli cannot tell.
        """
        async with self._asking:  # callers that come meanwhile use the same answer
            if (known := self.known(enclave)) is not None:
                return known
            try:
                async with asyncio.timeout(ASK_TIMEOUT_S):
                    answer = await self._ask()
            except TimeoutError as error:
                text = f"enclave {enclave.name}: {self._command[0]} did not answer within {ASK_TIMEOUT_S:g} s"
                raise DialError(text, timed_out=True) from error
            except OSError as error:
                reason = (error.strerror or "cannot be run").lower()
                raise DialError(f"enclave {enclave.name}: {self._command[0]}: {reason}", hint=_HINT) from error
            self._known = parse_running_enclaves(answer)
            self._asked_at = time.monotonic()
        if enclave.name not in self._known:
            raise DialError(f"enclave {enclave.name}: none, or more than one, of this name runs", hint=_HINT)
        return VsockAddress(self._known[enclave.name], enclave.port)

    def suspect(self) -> None:
        """Ask again at the next connection, because an enclave does not answer at its CID."""
        self._asked_at = float("-inf")

    async def _ask(self) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        output = cast("asyncio.StreamReader", process.stdout)  # a pipe, as asked for
        answer = b""
        try:
            while len(answer) < MAX_ANSWER_BYTES and (part := await output.read(_PART_BYTES)):
                answer += part
            await process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        return answer


def parse_running_enclaves(answer: bytes) -> dict[str, int]:
    """Return the CIDs of the running enclaves by name, from the output of nitro-cli describe-enclaves.

    A name that two of them have is left out, because either could be meant.

    Raises:
        DialError: it is not such an output.
    """
    try:
        enclaves = json.loads(answer)
        running = [(str(one["EnclaveName"]), one["EnclaveCID"]) for one in enclaves if one["State"] == "RUNNING"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        text = quoted(answer[:256].decode("utf-8", "replace"))
        raise DialError(f"nitro-cli describe-enclaves: expected a list of enclaves, got {text}") from error
    names = [name for name, _ in running]
    return {name: cid for name, cid in running if names.count(name) == 1 and type(cid) is int and 0 < cid < MAX_CID}
