"""What a key policy can decide about a partly unknown request (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nitro_attestation.key_policy.model import Effect, KeyPolicy
from nitro_attestation.key_policy.symbolic.domains import Literal
from nitro_attestation.key_policy.symbolic.patterns import TooComplexError
from nitro_attestation.key_policy.symbolic.requests import RequestModel, canonical_key
from nitro_attestation.key_policy.symbolic.search import Clause, Search, Witness
from nitro_attestation.key_policy.symbolic.statements import Case, cases


@dataclass(frozen=True)
class Possibilities:
    """The possible decisions about the requests that match one model.

    Attributes:
        allowed: an example of a request that is allowed, or None.
        denied: an example of a request that a Deny stops, or None.
        unanswered: an example of a request that no statement is about, or None.
        can_be_left_to_iam: whether some request is allowed only by statements that name the account.
        is_certain: whether the search was completed; otherwise any decision is possible.
    """

    allowed: Witness | None
    denied: Witness | None
    unanswered: Witness | None
    can_be_left_to_iam: bool
    is_certain: bool = True


class PolicySearch:
    """A policy and a model of a request, as the cases in which the policy allows and denies the request."""

    def __init__(self, policy: KeyPolicy, request: RequestModel) -> None:
        self.allows = _cases(policy, request, Effect.ALLOW)
        self.denies = _cases(policy, request, Effect.DENY)
        self._search = Search(request.domain, canonical_key)
        self._no_deny = [_clause(case) for case in self.denies]

    @property
    def chosen(self) -> dict[str, frozenset[Literal]]:
        """The literals that the last witness meets, by canonical key."""
        return dict(self._search.chosen)

    def find_allowed(self, allow: Case) -> Witness | None:
        """Return a request that ``allow`` allows and no Deny stops, or None.

        Raises:
            TooComplexError: the search reached its limit.
        """
        return self._search.find(allow.literals, self._no_deny)

    def find_any_allowed(self) -> Witness | None:
        """Return a request that some Allow allows and no Deny stops, or None.

        Raises:
            TooComplexError: the search reached its limit.
        """
        return _first(self.find_allowed(allow) for allow in self.allows)

    def find_undenied(self) -> Witness | None:
        """Return a request that no Deny stops, whether or not an Allow allows it, or None.

        Raises:
            TooComplexError: the search reached its limit.
        """
        return self._search.find((), self._no_deny)

    def possibilities(self) -> Possibilities:
        """Return the possible decisions."""
        try:
            return self._possibilities()
        except TooComplexError:
            return Possibilities({}, {}, {}, can_be_left_to_iam=True, is_certain=False)

    def _possibilities(self) -> Possibilities:
        no_allow = [_clause(case) for case in self.allows]
        no_direct = [_clause(case) for case in self.allows if case.is_direct]
        by_account = [case for case in self.allows if not case.is_direct]
        left_to_iam = (self._search.find(case.literals, [*no_direct, *self._no_deny]) for case in by_account)
        return Possibilities(
            allowed=self.find_any_allowed(),
            denied=_first(self._search.find(case.literals) for case in self.denies),
            unanswered=self._search.find((), [*no_allow, *self._no_deny]),
            can_be_left_to_iam=_first(left_to_iam) is not None,
        )


def _cases(policy: KeyPolicy, request: RequestModel, effect: Effect) -> list[Case]:
    return [case for statement in policy.statements if statement.may_be(effect) for case in cases(statement, request)]


def _clause(case: Case) -> Clause:
    return tuple(literal.negated for literal in case.literals)


def _first(found: Iterable[Witness | None]) -> Witness | None:
    return next((witness for witness in found if witness is not None), None)
