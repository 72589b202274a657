"""A KMS without sockets: maps an operation, its JSON and its caller to a response or a fault, and keeps a journal.

It enforces what AWS's KMS enforces around attestation: document, chain, key policy, Recipient. Unlike other emulators
of KMS it is strict: what should be encrypted to a recipient never leaves it in plaintext.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from nitro_attestation.key_policy.model import default_policy
from nitro_attestation.key_policy.parsing import parse_policy
from nitro_attestation.key_policy.principals import Principal
from nitro_simulator.clock import Clock, utc_now
from nitro_simulator.errors import KmsFault
from nitro_simulator.identities import Identities
from nitro_simulator.kms.access.grants import Grant, GrantConstraint
from nitro_simulator.kms.access.policies import AccountPolicies
from nitro_simulator.kms.answers import AnswerRewriter, encode_answer
from nitro_simulator.kms.call import Call
from nitro_simulator.kms.faults import PlannedFaults, documented_fault
from nitro_simulator.kms.journal import OK, Journal, JournalEntry
from nitro_simulator.kms.keys.key import KmsKey
from nitro_simulator.kms.keys.specs import SYMMETRIC_DEFAULT, USAGES
from nitro_simulator.kms.keys.store import KeyStore
from nitro_simulator.kms.operations.table import OPERATIONS
from nitro_simulator.kms.recipient import SECRET_FIELDS, verify_recipient
from nitro_simulator.kms.recipient_cms import RecipientForm, seal_for_recipient
from nitro_simulator.kms.regions import find_region
from nitro_simulator.kms.request_model import parse_request
from vsock_wire.errors import PEER_TEXT_CHARS, printable
from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.protocol.vocabulary import DEFAULT_REGION

_CONTEXT_FIELDS = ("EncryptionContext", "SourceEncryptionContext", "DestinationEncryptionContext")


class SimulatedKms:
    """The keys, policies and journal of one account in one region; ``add_region`` makes more regions. Thread-safe.

    Unless ``policies`` says otherwise, every role and user has an IAM policy that allows ``kms:*``: a key policy that
    delegates to the account then allows the request.

    Args:
        attestation_root_sha256: SHA-256 of the root certificate that attestation documents must chain to, 32 bytes.
        identities: issues the credentials that callers sign with; also gives account and partition.
        region: such as ``us-east-1``.
        account_id: 12 digits, if not that of ``identities``.
        policies: the account's policies besides key policies.
        clock: gives the current time.
        recipient_form: the form of CiphertextForRecipient.
        rewrite_answer: makes KMS misbehave, to test clients; None answers as KMS does.
        grant_delay: how long a new grant counts only with its token; in AWS up to five minutes.

    Attributes:
        keys: all keys.
        identities: issues the credentials that callers sign with.
        policies: the account's policies besides key policies; change them at any time.
        journal: requests and their results.
        region: the region.
        regions: the KMS of every region of the account, by its name.
    """

    def __init__(
        self,
        *,
        attestation_root_sha256: bytes,
        identities: Identities,
        region: str = DEFAULT_REGION,
        account_id: str | None = None,
        policies: AccountPolicies | None = None,
        clock: Clock = utc_now,
        recipient_form: RecipientForm = RecipientForm.KMS,
        rewrite_answer: AnswerRewriter | None = None,
        grant_delay: timedelta = timedelta(0),
    ) -> None:
        self.identities = identities
        self.policies = policies or AccountPolicies()
        self.region = region
        self.clock = clock
        self.recipient_form = recipient_form
        self.rewrite_answer = rewrite_answer
        self.grant_delay = grant_delay
        self.journal = Journal()
        self.keys = KeyStore(
            region=region, account_id=account_id or identities.account_id, partition=identities.partition
        )
        self._root_sha256 = attestation_root_sha256
        self._planned = PlannedFaults()
        self.regions: dict[str, SimulatedKms] = {region: self}

    def create_key(
        self,
        *,
        policy: str | None = None,
        spec: str = SYMMETRIC_DEFAULT,
        usage: str | None = None,
        alias: str | None = None,
        is_multi_region: bool = False,
    ) -> KmsKey:
        """Create a key as its administrator, without a caller, a policy check or a journal entry.

        Args:
            policy: the key policy as JSON text, or None for KMS's default.
            spec: AWS's KeySpec: SYMMETRIC_DEFAULT, RSA_* or ECC_*.
            usage: AWS's KeyUsage; None is ENCRYPT_DECRYPT, or KEY_AGREEMENT for an elliptic curve of NIST.
            alias: an alias for it, ``alias/...``.
            is_multi_region: whether ``replicate_key`` can copy it into other regions.

        Raises:
            PolicyError: the policy is malformed.
        """
        text = policy or default_policy(self.keys.account_id, self.keys.partition)
        usage = usage or USAGES[spec][0]
        if usage not in USAGES[spec]:
            raise ValueError(f"usage: expected one of {', '.join(USAGES[spec])}, got {usage}")
        key = self.keys.create(
            spec=spec,
            usage=usage,
            policy=parse_policy(text),
            policy_text=text,
            description="",
            now=self.clock(),
            is_multi_region=is_multi_region,
        )
        if alias is not None:
            self.keys.create_alias(alias, key)
        return key

    def add_region(self, region: str) -> SimulatedKms:
        """Return the account's KMS in another region: with the same callers, policies and journal, and keys of its own.

        Raises:
            ValueError: the account is in that region, or it is in another partition.
        """
        if region in self.regions:
            raise ValueError(f"region: the account already has {region}")
        if find_region(region).partition != find_region(self.region).partition:
            raise ValueError(f"region: {region} is in another partition than {self.region}")
        kms = SimulatedKms(
            attestation_root_sha256=self._root_sha256,
            identities=self.identities,
            region=region,
            account_id=self.keys.account_id,
            policies=self.policies,
            clock=self._now,
            recipient_form=self.recipient_form,
            grant_delay=self.grant_delay,
        )
        kms.journal, kms.regions = self.journal, self.regions
        self.regions[region] = kms
        return kms

    def replicate_key(self, key: KmsKey, region: str) -> KmsKey:
        """Copy a multi-Region key and its policy into another region of the account, and return the replica."""
        store = self.regions[region].keys
        return store.replicate(
            key, policy=key.policy, policy_text=key.policy_text, description=key.description, now=self.clock()
        )

    def create_grant(
        self,
        key: KmsKey,
        *,
        grantee: str,
        operations: Sequence[str],
        encryption_context: Mapping[str, str] | None = None,
    ) -> str:
        """Create a grant as the key's administrator, and return its token.

        Args:
            key: what the grant is for.
            grantee: ARN of an account, role, session or user.
            operations: such as ``Decrypt``, by the names of GrantOperation.
            encryption_context: what a request's encryption context must contain; None for no constraint.
        """
        constraint = None if encryption_context is None else GrantConstraint(dict(encryption_context), is_exact=False)
        now = self.clock()
        issuer = f"arn:{self.keys.partition}:iam::{self.keys.account_id}:root"
        grant = Grant(grantee, tuple(operations), issuer, now, now + self.grant_delay, constraint)
        return key.grants.add(grant).new_token()

    def put_key_policy(self, key: KmsKey, policy: str) -> None:
        """Replace a key's policy as its administrator.

        Raises:
            PolicyError: the policy is malformed.
        """
        key.policy, key.policy_text = parse_policy(policy), policy

    def fail(self, code: str, *, operation: str | None = None, count: int = 1, message: str | None = None) -> None:
        """Answer the next requests with an error, whatever they ask for.

        Args:
            code: of any error of KMS, such as ``ThrottlingException``.
            operation: the only operation that fails, or None for all.
            count: how many requests fail.
            message: the text of the error, if not KMS's.

        Raises:
            ValueError: KMS has no such error, or no such operation.
        """
        if operation is not None and operation not in OPERATIONS:
            raise ValueError(f"the simulated KMS has no operation {operation}")
        self._planned.add(documented_fault(code, message), operation=operation, count=count)

    def stop_failing(self) -> None:
        """Forget all errors of ``fail`` that have not come yet."""
        self._planned.clear()

    def call(self, operation: str, request: JsonObject, principal: Principal) -> JsonObject:
        """Carry out one request.

        Args:
            operation: its name, as AWS spells it.
            request: its parsed JSON.
            principal: the caller who signed it.

        Returns:
            The JSON of the response.

        Raises:
            KmsFault: the request was refused; code and text are AWS's.
        """
        stores = {name: kms.keys for name, kms in self.regions.items()}
        for store in stores.values():
            store.remove_deleted(self.clock())
        call = Call(operation, {}, principal, self.keys, stores, self.policies, self.clock(), self.grant_delay)
        try:
            answer = self._answer(call, request)
        except KmsFault as fault:
            self._note(call, request, verdict=fault.code, reason=call.denial or fault.message or "")
            raise
        sizes = {name: len(value) for name, value in answer.items() if isinstance(value, bytes)}
        self._note(call, request, answered_bytes=sizes)
        encoded = encode_answer(answer)
        return self.rewrite_answer(operation, encoded) if self.rewrite_answer else encoded

    def note_refusal(self, operation: str, fault: KmsFault) -> None:
        """Add a journal entry for a request that was refused before its caller was known."""
        self.journal.add(JournalEntry(self.clock(), _shown(operation), fault.code, fault.message or ""))

    def _now(self) -> datetime:
        return self.clock()  # read each time, because tests may replace it

    def _answer(self, call: Call, request: object) -> JsonObject:
        handler = OPERATIONS.get(call.operation)
        if handler is None:
            raise KmsFault("UnknownOperationException")
        self._planned.raise_next(call.operation)
        call.params = parse_request(call.operation, request)
        if "Recipient" in call.params:
            recipient = call.params["Recipient"]
            call.recipient = verify_recipient(recipient, root_sha256=self._root_sha256, at=call.now)
        answer = handler(call)
        if call.recipient is not None:
            secret = answer.pop(SECRET_FIELDS[call.operation])
            answer["CiphertextForRecipient"] = seal_for_recipient(
                secret, call.recipient.public_key, form=self.recipient_form
            )
        return answer

    def _note(
        self,
        call: Call,
        request: object,
        *,
        verdict: str = OK,
        reason: str = "",
        answered_bytes: dict[str, int] | None = None,
    ) -> None:
        document = call.recipient.document if call.recipient else None
        self.journal.add(
            JournalEntry(
                time=self.clock(),
                operation=_shown(call.operation),
                verdict=verdict,
                reason=reason,
                caller_arn=call.principal.arn,
                key_arn=call.key.arn if call.key else None,
                context_names=tuple(name for field in _CONTEXT_FIELDS for name in call.params.get(field, {})),
                has_document=isinstance(request, dict) and request.get("Recipient") is not None,
                module_id=document.module_id if document else None,
                pcr0=document.pcrs[0].hex() if document and 0 in document.pcrs else None,
                answered_bytes=answered_bytes or {},
            )
        )


def _shown(operation: str) -> str:
    """Shorten a client's name of an operation to fit into a line."""
    return printable(operation[:PEER_TEXT_CHARS])
