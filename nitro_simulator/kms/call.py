"""One KMS request: its parameters, its caller, and the checks that every operation on a key starts with.

Error texts are AWS's where public reports quote them; otherwise ours name the field and what was expected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from nitro_attestation.key_policy.context import caller_context, encryption_context_keys, operation_context
from nitro_attestation.key_policy.evaluation import AccessRequest
from nitro_attestation.key_policy.principals import Principal, PrincipalMatch
from nitro_simulator.clock import iso_time
from nitro_simulator.errors import KmsFault, validation_fault
from nitro_simulator.kms.access.authorization import find_refusal
from nitro_simulator.kms.access.grants import Grant, grant_context, match_grant, may_retire
from nitro_simulator.kms.access.policies import AccountPolicies, policy_arn
from nitro_simulator.kms.keys.key import KeyState, KmsKey
from nitro_simulator.kms.keys.specs import ENCRYPT_DECRYPT, SYMMETRIC_DEFAULT
from nitro_simulator.kms.keys.store import KeyStore
from nitro_simulator.kms.recipient import VerifiedRecipient
from vsock_wire.protocol.json_codec import JsonObject

NO_KEY = "*"
"""The resource of a request that uses no key."""
_PARAMETER_KEYS = {
    "KeyPairSpec": "kms:DataKeyPairSpec",
    "MessageType": "kms:MessageType",
    "ReplicaRegion": "kms:ReplicaRegion",
    "SigningAlgorithm": "kms:SigningAlgorithm",
}
"""Parameters that are condition keys, too."""
_STATES = {
    KeyState.PENDING_DELETION: "pending deletion",
    KeyState.PENDING_IMPORT: "pending import",
    KeyState.UNAVAILABLE: "unavailable",
}
"""How KMS words them. Source: KMS developer guide, "Key states of AWS KMS keys"; the last one is ours."""


@dataclass
class Call:
    """A request that has passed the checks of its form.

    Attributes:
        operation: its name, as AWS spells it.
        params: its parameters, with bytes for the model's blobs.
        principal: the caller.
        keys: all keys of the account in this region.
        stores: the keys of each of the account's regions, by its name.
        policies: the account's policies besides key policies.
        now: the current time.
        grant_delay: how long a new grant counts only with its token.
        recipient: the verified Recipient, or None if the request had none.
        key: the key that it uses, once known.
        denial: why a policy denied it, once one has.
    """

    operation: str
    params: JsonObject
    principal: Principal
    keys: KeyStore
    stores: Mapping[str, KeyStore]
    policies: AccountPolicies
    now: datetime
    grant_delay: timedelta
    recipient: VerifiedRecipient | None = None
    key: KmsKey | None = None
    denial: str = ""

    def manage_key(self) -> KmsKey:
        """Return the key of the request's KeyId, which cannot be an alias, after the key policy has allowed it."""
        key = self.keys.find(self.params["KeyId"], with_aliases=False)
        self.authorize(key)
        return key

    def look_up_key(self) -> KmsKey:
        """Return the key of the request's KeyId, alias or not, after the key policy has allowed it."""
        key = self.keys.find(self.params["KeyId"])
        self.authorize(key)
        return key

    def use_key(
        self, key: KmsKey, *, usage: str = ENCRYPT_DECRYPT, action: str | None = None, context_field: str | None = None
    ) -> None:
        """Check that ``key`` may be used now: grant tokens, policies and grants, state and usage, in this order.

        Args:
            key: the key to use.
            usage: the key usage the operation needs.
            action: the name in policies, if it differs from that of the operation.
            context_field: the parameter with the encryption context, if the operation has one.
        """
        context = self.encryption_context(context_field) if context_field else {}
        self.authorize(key, action=action, encryption_context=context)
        check_enabled(key)
        if key.usage != usage:
            text = f"{key.arn} key usage is {key.usage} which is not valid for {self.operation}."
            raise KmsFault("InvalidKeyUsageException", text)
        if context and key.spec != SYMMETRIC_DEFAULT:
            raise validation_fault(f"{context_field}: a {key.spec} key cannot bind an encryption context")

    def authorize(
        self,
        key: KmsKey | None,
        *,
        action: str | None = None,
        encryption_context: Mapping[str, str] | None = None,
        new_grant: Grant | None = None,
        retired_grant: Grant | None = None,
    ) -> None:
        """Raise AccessDeniedException unless policies or a grant allow the request.

        Args:
            key: the key that it uses, or None if it uses none.
            action: the name in policies, if it differs from that of the operation.
            encryption_context: of the request, for its condition keys and for constraints of grants.
            new_grant: the grant that it creates.
            retired_grant: the grant that it retires.

        Raises:
            KmsFault: also InvalidGrantTokenException.
        """
        if self.key is None:
            self.key = key
        action = action or f"kms:{self.operation}"
        resource = NO_KEY if key is None else key.arn
        encryption_context = encryption_context or {}
        context = self._condition_context(action, key, encryption_context)
        request = AccessRequest(self.principal, action, resource, context | grant_context(new_grant))
        granted = self._granted(key, action, encryption_context, new_grant)
        if retired_grant is not None and may_retire(retired_grant, self.principal):
            granted = PrincipalMatch.DIRECT
        key_policy = None if key is None else key.policy
        refusal = find_refusal(request, self.policies, key_policy=key_policy, granted=granted)
        if refusal is not None:
            self.denial = refusal.explanation
            raise refusal.fault(request, resource, policy_arn(self.policies, refusal.kind, self.principal))

    def _granted(
        self, key: KmsKey | None, action: str, encryption_context: Mapping[str, str], new_grant: Grant | None
    ) -> PrincipalMatch:
        """Return whether a grant allows the request; a grant to create grants allows none that allow more."""
        tokens = self.params.get("GrantTokens", [])
        if any(self.keys.find_grant(token) is None for token in tokens):
            raise KmsFault("InvalidGrantTokenException")
        grants = [] if key is None else key.grants.list()
        operation = action.removeprefix("kms:")
        matches = {
            match_grant(grant, self.principal, operation, encryption_context, tokens=tokens, now=self.now)
            for grant in grants
            if new_grant is None or grant.allows_grant(new_grant)
        }
        wanted = (PrincipalMatch.DIRECT, PrincipalMatch.ACCOUNT)
        return next((match for match in wanted if match in matches), PrincipalMatch.NO)

    def encryption_context(self, field_name: str) -> dict[str, str]:
        """Return the encryption context of the request.

        Raises:
            KmsFault: two names differ only in case. Condition keys do not tell them apart, and KMS's behavior is not
                documented. Refusing them ensures that the wrong one of two cannot satisfy a policy.
        """
        context: dict[str, str] = self.params.get(field_name, {})
        if len({name.lower() for name in context}) != len(context):
            raise validation_fault(f"{field_name}: two names differ only in case")
        return context

    def stop_if_dry_run(self) -> None:
        """Raise DryRunOperationException if the request asks for a dry run."""
        if self.params.get("DryRunModifiers"):
            raise validation_fault("DryRunModifiers: not part of the simulator")
        if self.params.get("DryRun"):
            text = "The request would have succeeded, but the DryRun option is set."
            raise KmsFault("DryRunOperationException", text)

    def _condition_context(
        self, action: str, key: KmsKey | None, encryption_context: Mapping[str, str]
    ) -> dict[str, str | tuple[str, ...]]:
        """Return the request's values for condition keys; nobody calls the simulator through another AWS service."""
        algorithm = self.params.get("EncryptionAlgorithm", SYMMETRIC_DEFAULT)
        context: dict[str, str | tuple[str, ...]] = {
            **caller_context(self.principal),
            **operation_context(action, algorithm),
            **encryption_context_keys(encryption_context),
            **self.policies.context(),
            "aws:CurrentTime": iso_time(self.now),
            "aws:EpochTime": str(int(self.now.timestamp())),
            "aws:RequestedRegion": self.keys.region,
        }
        context |= {name: self.params[field] for field, name in _PARAMETER_KEYS.items() if field in self.params}
        if key is not None:
            context |= _key_context(key)
        return context | (self.recipient.condition_context if self.recipient else {})


def _key_context(key: KmsKey) -> dict[str, str]:
    context = {"kms:KeySpec": key.spec, "kms:KeyUsage": key.usage, "kms:KeyOrigin": "AWS_KMS"}
    if key.family is None:
        return {**context, "kms:MultiRegion": "false"}
    kind = "PRIMARY" if key.family.primary is key else "REPLICA"
    return {**context, "kms:MultiRegion": "true", "kms:MultiRegionKeyType": kind}


def check_enabled(key: KmsKey) -> None:
    """Raise KMS's error for a key that cannot be used in its state."""
    if key.state is KeyState.DISABLED:
        raise KmsFault("DisabledException", f"{key.arn} is disabled.")
    check_changeable(key)


def check_changeable(key: KmsKey) -> None:
    """Raise KMS's error for a key that can neither be used nor changed in its state."""
    if key.state in _STATES:
        raise KmsFault("KMSInvalidStateException", f"{key.arn} is {_STATES[key.state]}.")
