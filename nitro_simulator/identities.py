"""Issues temporary credentials for roles, and access keys for users. KMS recognizes both."""

from __future__ import annotations

import secrets
import threading
from base64 import b32encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nitro_attestation.key_policy.principals import Principal
from nitro_simulator.clock import Clock, iso_time, utc_now
from vsock_wire.protocol.messages import Credentials

ACCOUNT_ID = "111122223333"
"""The account number in AWS's examples."""
INSTANCE_ID = "i-0123456789abcdef0"
"""An EC2 instance's role session has the instance id as its name."""
DEFAULT_LIFETIME_S = 21_600
"""Roles of EC2 instances get credentials for about six hours."""
MAX_IDENTITIES = 10_000
"""Beyond this the oldest is forgotten, so that a long run with short lifetimes does not grow forever."""


@dataclass(frozen=True)
class Identity:
    """Issued credentials and their owner.

    Attributes:
        credentials: with their session token; those of a user have none.
        principal: the role session or user that owns them.
        expires_at: when they expire; those of a user never do.
    """

    credentials: Credentials
    principal: Principal
    expires_at: datetime


class Identities:
    """All credentials issued in one account. Thread-safe.

    Args:
        account_id: 12 digits.
        partition: such as ``aws`` or ``aws-cn``.
        clock: gives the current time.
    """

    def __init__(self, account_id: str = ACCOUNT_ID, *, partition: str = "aws", clock: Clock = utc_now) -> None:
        self.account_id = account_id
        self.partition = partition
        self._clock = clock
        self._lock = threading.Lock()
        self._identities: dict[str, Identity] = {}

    def issue(
        self, role_name: str, *, lifetime_s: float = DEFAULT_LIFETIME_S, session_name: str = INSTANCE_ID
    ) -> Credentials:
        """Issue new temporary credentials for a role, which need not have been declared before.

        Args:
            role_name: without a path.
            lifetime_s: seconds from now; AWS's bounds do not apply, and a negative value gives expired credentials.
            session_name: the last part of the session's ARN.
        """
        expires_at = self._clock() + timedelta(seconds=lifetime_s)
        credentials = Credentials(
            access_key_id=_new_key_id("ASIA", self.account_id),
            secret_access_key=secrets.token_urlsafe(30),
            session_token=secrets.token_urlsafe(300),
            expiration=iso_time(expires_at),
        )
        self._add(Identity(credentials, self.principal(role_name, session_name), expires_at))
        return credentials

    def issue_access_key(self, user_name: str) -> Credentials:
        """Issue an access key of a user, which need not have been declared before. It has no session token.

        Args:
            user_name: without a path.
        """
        credentials = Credentials(
            access_key_id=_new_key_id("AKIA", self.account_id), secret_access_key=secrets.token_urlsafe(30)
        )
        self._add(Identity(credentials, self.user(user_name), datetime.max.replace(tzinfo=UTC)))
        return credentials

    def principal(self, role_name: str, session_name: str = INSTANCE_ID) -> Principal:
        """Return the principal that policies see for a session of the role."""
        return Principal(
            arn=f"arn:{self.partition}:sts::{self.account_id}:assumed-role/{role_name}/{session_name}",
            account_id=self.account_id,
            role_arn=f"arn:{self.partition}:iam::{self.account_id}:role/{role_name}",
        )

    def user(self, user_name: str) -> Principal:
        """Return the principal that policies see for a user."""
        return Principal(f"arn:{self.partition}:iam::{self.account_id}:user/{user_name}", self.account_id)

    def find(self, access_key_id: str) -> Identity | None:
        """Return the identity with this access key id, expired or not, or None if it was never issued."""
        with self._lock:
            return self._identities.get(access_key_id)

    def _add(self, identity: Identity) -> None:
        with self._lock:
            self._identities[identity.credentials.access_key_id] = identity
            if len(self._identities) > MAX_IDENTITIES:
                del self._identities[next(iter(self._identities))]


def _new_key_id(prefix: str, account_id: str) -> str:
    """Return a key id that contains its account, as AWS's do: 40 bits after the first, which is 1."""
    start = 1 << 47 | int(account_id) << 7 | secrets.randbits(7)
    return prefix + b32encode(start.to_bytes(6, "big") + secrets.token_bytes(4)).decode("ascii")
