"""All keys and aliases of one account in one region."""

from __future__ import annotations

import re
import threading
import uuid
from datetime import datetime

from nitro_attestation.key_policy.model import KeyPolicy
from nitro_simulator.errors import KmsFault
from nitro_simulator.kms.access.grants import Grant
from nitro_simulator.kms.keys.ciphertext_blob import MULTI_REGION_PREFIX
from nitro_simulator.kms.keys.key import KeyFamily, KmsKey
from nitro_simulator.kms.keys.specs import new_material

_KEY = re.compile(
    rf"key/([0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}|{MULTI_REGION_PREFIX}[0-9a-f]{{32}})", re.ASCII
)


class KeyStore:
    """All keys and aliases of one account in one region. Thread-safe."""

    def __init__(self, *, region: str, account_id: str, partition: str = "aws") -> None:
        self.region = region
        self.account_id = account_id
        self.partition = partition
        self._lock = threading.Lock()
        self._keys: dict[str, KmsKey] = {}
        self._aliases: dict[str, str] = {}

    def create(
        self,
        *,
        spec: str,
        usage: str,
        policy: KeyPolicy,
        policy_text: str,
        description: str,
        now: datetime,
        is_multi_region: bool = False,
    ) -> KmsKey:
        """Create a new key.

        Args:
            spec: one of USAGES.
            usage: one of the spec's.
            policy: its key policy.
            policy_text: the JSON that ``policy`` was parsed from.
            description: free text.
            now: the current time.
            is_multi_region: whether other regions can have replicas of it.
        """
        number = uuid.uuid4()
        key_id = f"{MULTI_REGION_PREFIX}{number.hex}" if is_multi_region else str(number)
        arn = self.arn(f"key/{key_id}")
        key = KmsKey(key_id, arn, spec, usage, new_material(spec), policy, policy_text, description, now)
        if is_multi_region:
            key.family = KeyFamily(key)
        with self._lock:
            self._keys[key_id] = key
        return key

    def replicate(
        self, primary: KmsKey, *, policy: KeyPolicy, policy_text: str, description: str, now: datetime
    ) -> KmsKey:
        """Create a replica of a multi-Region key of another region; the arguments are those of ``create``.

        Raises:
            KmsFault: AlreadyExistsException: there is one in this region.
        """
        if primary.family is None:
            raise ValueError(f"{primary.arn} is not a multi-Region key")
        arn = self.arn(f"key/{primary.key_id}")
        replica = KmsKey(
            primary.key_id,
            arn,
            primary.spec,
            primary.usage,
            primary.material,
            policy,
            policy_text,
            description,
            now,
            family=primary.family,
        )
        with self._lock:
            if primary.key_id in self._keys:
                raise KmsFault("AlreadyExistsException", f"Key {arn} already exists")
            self._keys[primary.key_id] = replica
        primary.family.replicas.append(replica)
        return replica

    def remove_deleted(self, now: datetime) -> None:
        """Forget keys that were scheduled for deletion until now, and their aliases."""
        with self._lock:
            gone = [key for key in self._keys.values() if key.deletion_at is not None and key.deletion_at <= now]
            for key in gone:
                del self._keys[key.key_id]
                if key.family is not None:
                    key.family.replicas = [each for each in key.family.replicas if each is not key]
            self._aliases = {name: key_id for name, key_id in self._aliases.items() if key_id in self._keys}

    def create_alias(self, name: str, key: KmsKey) -> None:
        """Make ``name`` (``alias/...``) an alias of ``key``.

        Raises:
            KmsFault: AlreadyExistsException: it is already an alias.
        """
        with self._lock:
            if name in self._aliases:
                text = f"An alias with the name {self.arn(name)} already exists"
                raise KmsFault("AlreadyExistsException", text)
            self._aliases[name] = key.key_id

    def list_keys(self) -> list[KmsKey]:
        """Return all keys, oldest first."""
        with self._lock:
            return list(self._keys.values())

    def find_grant(self, token: str) -> tuple[KmsKey, Grant] | None:
        """Return the grant that a token belongs to, and its key; None if there is none, or none any more."""
        for key in self.list_keys():
            grant = key.grants.find_token(token)
            if grant is not None:
                return key, grant
        return None

    def find(self, reference: str, *, with_aliases: bool = True) -> KmsKey:
        """Return the key that ``reference`` names.

        Args:
            reference: key id, key ARN, alias name or alias ARN.
            with_aliases: whether the operation accepts aliases.

        Raises:
            KmsFault: NotFoundException.
        """
        resource = self._resource(reference)
        with self._lock:
            if resource.startswith("alias/") and with_aliases:
                key_id = self._aliases.get(resource)
                if key_id is None:
                    raise KmsFault("NotFoundException", f"Alias {self.arn(resource)} is not found.")
                return self._keys[key_id]
            key = self._keys.get(resource.removeprefix("key/"))
        if key is not None and resource.startswith("key/"):
            return key
        if _KEY.fullmatch(resource) is None:
            raise KmsFault("NotFoundException", f"Invalid keyId '{reference[:128]}'")
        raise KmsFault("NotFoundException", f"Key '{self.arn(resource)}' does not exist")

    def arn(self, resource: str) -> str:
        """Return the ARN of ``key/...`` or ``alias/...`` in this account and region."""
        return f"arn:{self.partition}:kms:{self.region}:{self.account_id}:{resource}"

    def _resource(self, reference: str) -> str:
        if not reference.startswith("arn:"):
            return reference if reference.startswith("alias/") else f"key/{reference}"
        parts = reference.split(":", 5)
        if len(parts) < 6 or parts[2] != "kms" or parts[3] != self.region:
            raise KmsFault("NotFoundException", f"Invalid arn {(parts + [''] * 4)[3][:64]}")
        if reference != self.arn(parts[5]):
            raise KmsFault("NotFoundException", f"Key '{reference[:256]}' does not exist")
        return parts[5]
