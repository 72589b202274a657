"""Find and count texts that match some wildcard patterns and not others (pure).

A list of patterns is one automaton that processes all of them at once. Its state is a set of places, stored as the bits
of an integer. ``step`` advances every place by one character. A text matches if the set contains the place after the
last token of some pattern. For several lists, each to be matched or not, the search runs over tuples of such states: a
breadth-first search finds a shortest text, and counting the paths to each tuple counts the texts of one length.

The sets are small for policies that people write. For others, the search stops at a limit and raises TooComplexError.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nitro_attestation.errors import NitroAttestationError
from nitro_attestation.key_policy.conditions.operators import ARN_PARTS, LITERAL_QUESTION_MARK, LITERAL_STAR

MAX_STATES = 4_000
MAX_COUNTED_STATES = 300
MAX_EXCLUDED = 8
"""Maximum number of excluded texts that the search works around in each state."""
_COLON = ":"
_FRESH = "xyzw0123456789_"


class TooComplexError(NitroAttestationError):
    """A search reached its limit, so its result is unknown. Callers inside this package handle it."""

    def __init__(self) -> None:
        super().__init__("key policy: too many conditions to evaluate")


@dataclass(frozen=True)
class _Token:
    """One place of a pattern: the characters it matches (None for all except ``excluded``), and whether it repeats."""

    characters: str | None
    excluded: str = ""
    is_repeated: bool = False

    def takes(self, character: str) -> bool:
        return character in self.characters if self.characters is not None else character not in self.excluded


class PatternList:
    """A list of patterns, and whether a text must match one of them or none."""

    def __init__(self, patterns: Iterable[Sequence[_Token]], *, is_wanted: bool) -> None:
        self.is_wanted = is_wanted
        self._tokens: list[_Token | None] = []
        self.start = self.accepting = self._repeated = 0
        for pattern in patterns:
            self.start |= 1 << len(self._tokens)
            for token in pattern:
                self._repeated |= token.is_repeated << len(self._tokens)
                self._tokens.append(token)
            self.accepting |= 1 << len(self._tokens)
            self._tokens.append(None)
        self.start = self._skip(self.start)
        self._taking: dict[str, int] = {}

    @property
    def characters(self) -> set[str]:
        """The characters that its patterns distinguish from others."""
        tokens = [token for token in self._tokens if token is not None]
        return {character for token in tokens for character in (token.characters or token.excluded)}

    def step(self, places: int, character: str) -> int:
        """Return the places after one more character."""
        taking = self._taking.get(character)
        if taking is None:
            tokens = enumerate(self._tokens)
            taking = sum(1 << place for place, token in tokens if token is not None and token.takes(character))
            self._taking[character] = taking
        moved = places & taking
        return self._skip((moved & self._repeated) | ((moved & ~self._repeated) << 1))

    def is_dead(self, places: int) -> bool:
        """Return whether no continuation of the text can meet the list."""
        return self.is_wanted and not places

    def is_met(self, places: int) -> bool:
        """Return whether a text that ends here meets the list."""
        return bool(places & self.accepting) == self.is_wanted

    def _skip(self, places: int) -> int:
        while (more := places | ((places & self._repeated) << 1)) != places:
            places = more
        return places


def wildcard_tokens(pattern: str, *, ignore_case: bool = False) -> tuple[_Token, ...]:
    """Return the tokens of a pattern in which * matches any characters and ? matches one."""
    return tuple(_token(character, ignore_case) for character in pattern)


def exact_tokens(text: str, *, ignore_case: bool = False) -> tuple[_Token, ...]:
    """Return the tokens of a text that matches only itself."""
    return tuple(_token(_as_literal(character), ignore_case) for character in text)


def arn_tokens(pattern: str) -> tuple[_Token, ...]:
    """Return the tokens of an ARN pattern, in which only the wildcards of the last part match colons."""
    *parts, last = pattern.split(_COLON, ARN_PARTS - 1)
    tokens: list[_Token] = []
    for part in parts:
        tokens += [_token(character, ignore_case=False, excluded=_COLON) for character in part]
        tokens.append(_Token(_COLON))
    return (*tokens, *wildcard_tokens(last))


def digest_tokens(length: int, digits: str) -> tuple[_Token, ...]:
    """Return the tokens that match any text of ``length`` of these digits."""
    return (_Token(digits),) * length


def find_text(lists: Sequence[PatternList], *, excluded: frozenset[str] = frozenset()) -> str | None:
    """Return a shortest text that meets all lists and is not excluded, or None if there is none.

    Raises:
        TooComplexError: there are too many states.
    """
    alphabet = _alphabet(lists)
    looks = 1 + min(len(excluded), MAX_EXCLUDED)  # the first text that reaches a state may turn out to be excluded
    start = tuple(each.start for each in lists)
    queue, seen, is_excluded = deque([(start, "")]), {start: 1}, False
    while queue:
        state, text = queue.popleft()
        if all(map(PatternList.is_met, lists, state)):
            if text not in excluded:
                return text
            is_excluded = True
        for character in alphabet:
            after = tuple(map(PatternList.step, lists, state, character * len(lists)))
            if any(map(PatternList.is_dead, lists, after)) or seen.get(after, 0) >= looks:
                continue
            seen[after] = seen.get(after, 0) + 1
            queue.append((after, text + character))
            if len(queue) > MAX_STATES or len(seen) > MAX_STATES:
                raise TooComplexError
    if is_excluded and looks <= len(excluded):
        raise TooComplexError
    return None


def count_texts(lists: Sequence[PatternList], length: int, alphabet: str) -> int:
    """Return the number of texts of this length and alphabet that meet all lists.

    Raises:
        TooComplexError: there are too many states.
    """
    ways = {tuple(each.start for each in lists): 1}
    for _ in range(length):
        after: dict[tuple[int, ...], int] = {}
        for state, number in ways.items():
            for character in alphabet:
                moved = tuple(map(PatternList.step, lists, state, character * len(lists)))
                if not any(map(PatternList.is_dead, lists, moved)):
                    after[moved] = after.get(moved, 0) + number
        if len(after) > MAX_COUNTED_STATES:
            raise TooComplexError
        ways = after
    return sum(number for state, number in ways.items() if all(map(PatternList.is_met, lists, state)))


def _alphabet(lists: Sequence[PatternList]) -> list[str]:
    """Return every character that some pattern distinguishes, and one that stands for all others."""
    told = set[str]().union(*(each.characters for each in lists))
    fresh = next((character for character in _FRESH if character not in told), "\ufffd")
    return [fresh, *sorted(told, key=lambda character: (character in "0f", character))]


def _token(character: str, ignore_case: bool, excluded: str = "") -> _Token:
    if character == "*":
        return _Token(None, excluded, is_repeated=True)
    if character == "?":
        return _Token(None, excluded)
    character = {LITERAL_STAR: "*", LITERAL_QUESTION_MARK: "?"}.get(character, character)
    return _Token(character.lower() + character.upper() if ignore_case else character)


def _as_literal(character: str) -> str:
    return {"*": LITERAL_STAR, "?": LITERAL_QUESTION_MARK}.get(character, character)
