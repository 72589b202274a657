"""Search for a request in which some conditions hold and others fail (pure).

Every condition is about one key, so keys can be handled one by one. A statement that must not apply is a clause: one of
its conditions must fail, and the search tries them in turn.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from nitro_attestation.key_policy.symbolic.domains import Domain, Literal, Value, find_value
from nitro_attestation.key_policy.symbolic.patterns import TooComplexError

Clause: TypeAlias = tuple[Literal, ...]
"""Literals, at least one of which must be met."""
Witness: TypeAlias = dict[str, Value]
"""An example of a request: its values of the keys that matter, by canonical name."""
MAX_STEPS = 2_000


class Search:
    """A search over the values that one request can have.

    Args:
        domain_of: returns the domain of a key, given its canonical name.
        canonical: returns the canonical name of a key; synonyms have the same.
    """

    def __init__(self, domain_of: Callable[[str], Domain], canonical: Callable[[str], str]) -> None:
        self._domain_of = functools.cache(domain_of)
        self._canonical = canonical
        self._steps = 0
        self.chosen: Mapping[str, frozenset[Literal]] = {}
        """The literals that the last witness meets, by key."""

    def find(self, units: Iterable[Literal], clauses: Iterable[Clause] = ()) -> Witness | None:
        """Return a request that meets every unit and at least one literal of each clause, or None.

        Raises:
            TooComplexError: the search reached its limit.
        """
        self._steps = 0
        by_key: dict[str, frozenset[Literal]] = {}
        values: Witness = {}
        for literal in units:
            if not self._add(literal, by_key, values):
                return None
        ordered = sorted(clauses, key=len)
        return self._meet(ordered, by_key, values)

    def _meet(
        self, clauses: Sequence[Clause], by_key: dict[str, frozenset[Literal]], values: Witness
    ) -> Witness | None:
        if not clauses:
            self.chosen = by_key
            return values
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise TooComplexError
        first, *others = clauses
        for literal in first:
            more_by_key, more_values = dict(by_key), dict(values)
            if self._add(literal, more_by_key, more_values):
                found = self._meet(others, more_by_key, more_values)
                if found is not None:
                    return found
        return None

    def _add(self, literal: Literal, by_key: dict[str, frozenset[Literal]], values: Witness) -> bool:
        key = self._canonical(literal.condition.key)
        literals = by_key.get(key, frozenset()) | {literal}
        found = find_value(self._domain_of(key), literals)
        if found is None:
            return False
        by_key[key] = literals
        values[key] = found.value
        return True
