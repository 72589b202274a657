"""The Diagnose operation: its request, and its reply with the state of each hop between the enclave and KMS (pure).

The request may name a region, as SetClient does, and needs no credentials. Its reply proves nothing and contains no
secrets.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from vsock_wire.errors import ToolError, WireError, quoted
from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.protocol.messages import reply_text
from vsock_wire.protocol.vocabulary import Operation

MAX_HOPS = 32
"""Maximum number of hops that a client accepts; an enclave of this version reports six."""
MAX_HOP_TEXT_CHARS = 1_024
"""Maximum length of each text of a hop."""

MAX_ELAPSED_MS = 86_400_000
"""Maximum duration of a check: one day, like every timeout of a command line."""


class HopName(enum.StrEnum):
    """Hops between a shell on the parent instance and a plaintext, in the order in which they depend on each other."""

    VSOCK = "vsock"
    ENCLAVE = "enclave"
    PROTOCOL = "protocol"
    REGION = "region"
    NSM = "nsm"
    ENTROPY = "entropy"
    PROXY = "proxy"
    DNS = "dns"
    KMS = "kms"
    TLS = "tls"
    CLOCK = "clock"
    IMDS = "imds"
    ROLE = "role"
    DECRYPT = "decrypt"


class HopState(enum.StrEnum):
    """The state of a hop."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Hop:
    """One hop and its state.

    Attributes:
        name: which hop it is.
        state: whether it works, failed, or was not checked.
        detail: what the check found.
        hint: what to do if it failed, or None if that is unknown.
        elapsed_ms: how many milliseconds the check took, or None if that is of no interest.
    """

    name: HopName
    state: HopState
    detail: str
    hint: str | None = None
    elapsed_ms: float | None = None

    @classmethod
    def failed(cls, name: HopName, error: ToolError) -> Hop:
        """Return a hop that failed with ``error``."""
        return cls(name, HopState.FAILED, str(error), error.hint)

    @classmethod
    def skipped(cls, name: HopName, failed: HopName) -> Hop:
        """Return a hop that was not checked, because the hop ``failed`` comes first."""
        return cls(name, HopState.SKIPPED, f"not checked, because {failed} failed")

    def to_fields(self) -> JsonObject:
        """Return the hop as it appears in messages and in JSON output."""
        fields = {
            "Hop": self.name,
            "State": self.state,
            "Detail": self.detail[:MAX_HOP_TEXT_CHARS],
            "Hint": self.hint and self.hint[:MAX_HOP_TEXT_CHARS],
            "ElapsedMs": self.elapsed_ms,
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True)
class Diagnosis:
    """The result of Diagnose.

    Attributes:
        kms_host: the KMS host that the enclave connects to, with the port if that is not 443.
        hops: the hops that the enclave can check.
    """

    kms_host: str
    hops: tuple[Hop, ...]


def encode_diagnosis_request(region: str | None) -> JsonObject:
    """Return the request as a message; without a region, the enclave uses its own or the default."""
    message: JsonObject = {"Operation": Operation.DIAGNOSE}
    return message if region is None else {**message, "AwsRegion": region}


def encode_diagnosis(kms_host: str, hops: Iterable[Hop]) -> JsonObject:
    """Return the fields of the reply other than Status."""
    return {"KmsHost": kms_host, "Hops": [hop.to_fields() for hop in hops]}


def parse_diagnosis(reply: JsonObject) -> Diagnosis:
    """Parse a reply with status Ok, ignoring hops that this version does not know.

    Raises:
        WireError: a field is missing or malformed.
    """
    hops = reply.get("Hops")
    if not isinstance(hops, list) or len(hops) > MAX_HOPS or not all(isinstance(hop, dict) for hop in hops):
        raise WireError(f"reply: Hops: expected a list of at most {MAX_HOPS} objects")
    known = [hop for hop in hops if hop.get("Hop") in list(HopName)]
    return Diagnosis(_text(reply, "KmsHost"), tuple(_parse_hop(hop) for hop in known))


def _parse_hop(fields: JsonObject) -> Hop:
    elapsed_ms = fields.get("ElapsedMs")
    if elapsed_ms is not None and (type(elapsed_ms) not in (int, float) or not 0 <= elapsed_ms <= MAX_ELAPSED_MS):
        raise WireError(f"reply: ElapsedMs: expected a number of milliseconds, at most {MAX_ELAPSED_MS}")
    state = _text(fields, "State")
    if state not in list(HopState):
        raise WireError(f"reply: State: expected one of {', '.join(HopState)}, got {quoted(state)}")
    hint = None if fields.get("Hint") is None else _text(fields, "Hint")
    return Hop(HopName(fields["Hop"]), HopState(state), _text(fields, "Detail"), hint, elapsed_ms)


def _text(fields: JsonObject, name: str) -> str:
    text = reply_text(fields, name)
    if text is None or len(text) > MAX_HOP_TEXT_CHARS:
        raise WireError(f"reply: {name}: expected text of at most {MAX_HOP_TEXT_CHARS} characters")
    return text
