"""Find requests of others than the enclave that a key policy allows (pure).

The search combines every Allow with each principal that it names, each action that gives access to plaintext, and each
document that others can present. A way is a request that the Allow allows and no Deny stops. The search finds one, or
shows that there is none.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nitro_attestation.key_policy.conditions.keys import (
    ATTESTED_OPERATIONS,
    DECRYPT,
    GENERATE_RANDOM,
    GRANT_OPERATIONS_KEY,
    KMS,
)
from nitro_attestation.key_policy.model import Effect, KeyPolicy, Statement
from nitro_attestation.key_policy.principals import PrincipalKind, PrincipalName
from nitro_attestation.key_policy.symbolic.decisions import PolicySearch
from nitro_attestation.key_policy.symbolic.domains import Domain, Literal
from nitro_attestation.key_policy.symbolic.others import (
    DocumentKind,
    NamedDigests,
    OtherDocument,
    accounts_of,
    named_digests,
    names_of,
    other_documents,
    requesters_named,
)
from nitro_attestation.key_policy.symbolic.patterns import TooComplexError
from nitro_attestation.key_policy.symbolic.requests import Requester, RequestModel
from nitro_attestation.key_policy.symbolic.search import Witness

CREATE_GRANT = "kms:CreateGrant"
RE_ENCRYPT = "kms:ReEncryptFrom"
SELF_ADMINISTRATION = ("kms:PutKeyPolicy", "kms:ReplicateKey")
_ANYBODYS = (DocumentKind.NONE, DocumentKind.NITRO_TPM, DocumentKind.ANOTHER_IMAGE, DocumentKind.DEBUG_MODE)
"""Documents that anyone can obtain. If one of them is sufficient, the search skips the others."""
_ATTESTED_ACTIONS = frozenset(f"{KMS}{operation}" for operation in ATTESTED_OPERATIONS)


@dataclass(frozen=True)
class Way:
    """A request of someone else that the policy allows.

    Attributes:
        statement: the Allow that allows it.
        name: who can make it, as named in the statement.
        request: the request.
        document: the kind of document that it carries.
        witness: its values of the keys that matter; None if the search reached its limit, so that it is not certain
            that there is such a request.
        chosen: the conditions that the request meets, by canonical key.
        granted: for CreateGrant, an action that the grant can then be used for; otherwise None.
    """

    statement: Statement
    name: PrincipalName
    request: RequestModel
    document: DocumentKind
    witness: Witness | None
    chosen: Mapping[str, frozenset[Literal]] = field(default_factory=dict)
    granted: str | None = None

    @property
    def action(self) -> str:
        """The action that can be called."""
        return self.request.action


class WaySearch:
    """A search of a policy for ways around the enclave.

    Args:
        policy: what to search.
        operations: the operations that only the enclave should be able to perform; Decrypt is always included.
        pcrs: of the enclave.
        key_arn: of the key, or None if unknown.
        at: the earliest time of a request, in seconds since 1970, or None for any time.
    """

    def __init__(
        self,
        policy: KeyPolicy,
        *,
        operations: Sequence[str],
        pcrs: Mapping[int, bytes],
        key_arn: str | None = None,
        at: int | None = None,
    ) -> None:
        self.named: NamedDigests = named_digests(policy, pcrs)
        self.allows = [statement for statement in policy.statements if statement.may_be(Effect.ALLOW)]
        operations = [operation for operation in operations if operation != GENERATE_RANDOM]
        self._attested = tuple(dict.fromkeys(f"{KMS}{operation}" for operation in (*operations, DECRYPT)))
        self._documents = tuple(other_documents(self.named, pcrs))
        self._policy = policy
        self._accounts = accounts_of(policy)
        self._new_request = functools.partial(RequestModel, key_arn=key_arn, at=at)
        self._searches: dict[tuple[str, Requester, int], PolicySearch] = {}

    def ways(self, statement: Statement) -> Iterator[Way]:
        """Yield the ways for each name in a statement and each action."""
        for name in names_of(statement):
            for action in (*self._attested, RE_ENCRYPT, CREATE_GRANT):
                if statement.is_about_action(action):
                    yield from self._ways_for(statement, name, action)

    def own_ways(self, statement: Statement, caller: Requester) -> Iterator[Way]:
        """Yield ways in which the caller itself can change who may use the key."""
        for action in SELF_ADMINISTRATION:
            request = self._new_request(action, caller)
            way = _find(PolicySearch(self._policy, request), statement, request, only_direct=True)
            if way is not None:
                yield way

    def _ways_for(self, statement: Statement, name: PrincipalName, action: str) -> Iterator[Way]:
        """Yield the easiest way for any document, and ways with images that are named or share the signer."""
        found: set[DocumentKind] = set()
        documents = self._documents if action in _ATTESTED_ACTIONS else self._documents[:1]
        for place, document in enumerate(documents):
            is_service = name.kind is PrincipalKind.SERVICE and document.kind is not DocumentKind.NONE
            if document.kind in found or is_service:
                continue
            ways = (
                self._way(statement, action, requester, place, document)
                for requester in requesters_named(name, self._accounts)
            )
            way = next((way for way in ways if way is not None), None)
            if way is None:
                continue
            yield replace(way, name=name, document=document.kind)
            if document.kind in _ANYBODYS:
                return
            found.add(document.kind)

    def _way(
        self, statement: Statement, action: str, requester: Requester, place: int, document: OtherDocument
    ) -> Way | None:
        if action == CREATE_GRANT:
            return self._way_by_grant(statement, requester)
        search = self._searches.get((action, requester, place))
        request = self._new_request(action, requester, document.pcrs, document.tpm_pcrs)
        if search is None:
            search = self._searches[action, requester, place] = PolicySearch(self._policy, request)
        return _find(search, statement, request)

    def _way_by_grant(self, statement: Statement, requester: Requester) -> Way | None:
        """Return a way to create a grant that someone can then use without a document."""
        for action in self._grantable:
            operation = action.removeprefix(KMS)
            given = {
                GRANT_OPERATIONS_KEY.lower(): Domain(may_be_absent=False, is_multivalued=True, required=(operation,))
            }
            request = self._new_request(CREATE_GRANT, requester, given=given)
            way = _find(PolicySearch(self._policy, request), statement, request)
            if way is not None:
                return replace(way, granted=action)
        return None

    @functools.cached_property
    def _grantable(self) -> list[str]:
        """The actions that a grant can allow to someone without a document, because no Deny stops everyone."""
        return [action for action in (*self._attested, RE_ENCRYPT) if self._is_open(action)]

    def _is_open(self, action: str) -> bool:
        everybody = PrincipalName("*", PrincipalKind.ANYONE)
        for requester in requesters_named(everybody, self._accounts):
            request = self._new_request(action, requester)
            try:
                if PolicySearch(self._policy, request).find_undenied() is not None:
                    return True
            except TooComplexError:
                return True
        return False


def _find(
    search: PolicySearch, statement: Statement, request: RequestModel, *, only_direct: bool = False
) -> Way | None:
    nobody = PrincipalName("", PrincipalKind.NOBODY)
    for case in search.allows:
        if case.statement is not statement or (only_direct and not case.is_direct):
            continue
        try:
            witness = search.find_allowed(case)
        except TooComplexError:
            return Way(statement, nobody, request, DocumentKind.NONE, None)
        if witness is not None:
            return Way(statement, nobody, request, DocumentKind.NONE, witness, search.chosen)
    return None
