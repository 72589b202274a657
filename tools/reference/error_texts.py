"""Find every error text of the project in the calls that create errors."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import click

from nitro_attestation.errors import AttestationError, NitroAttestationError
from nitro_simulator.errors import KmsFault
from tools.reference.sources import Place, Sources, bound_arguments
from tools.reference.text_patterns import Renderer
from vsock_wire.errors import ExitCode, ToolError
from vsock_wire.protocol.diagnosis import Hop
from vsock_wire.protocol.messages import ErrorReply

_ROOTS = (ToolError, NitroAttestationError, click.ClickException, ValueError)
_TEXT_ARGUMENTS: Mapping[type, tuple[str, int]] = {ErrorReply: ("message", 0), Hop: ("detail", 2)}
"""Classes that report a failure but are not exceptions, with the position of their text."""
_MAX_CALLERS = 3
"""Maximum number of functions that pass a text on to each other."""
_ENOUGH_WORDS = 4
"""A text with this many words of its own can be recognized without the parts that its callers add."""


@dataclass(frozen=True, order=True)
class ErrorText:
    """One error as a reader sees it.

    Attributes:
        module: where it is created.
        text: with ``{name}`` for each variable part.
        kind: the name of its class.
        exit_code: of a program that it ends; empty if it ends none or its class does not define one.
        hint: what to do, or empty.
    """

    module: str
    text: str
    kind: str
    exit_code: str
    hint: str


def error_texts(sources: Sources) -> list[ErrorText]:
    """Return every error text once, sorted by module."""
    found = set()
    for name, places in list(sources.calls.items()):
        for place in places:
            kind = _kind(name, place)
            if kind is not None and not _is_forwarded(place):
                found |= set(_from_call(sources, place, kind))
    return sorted(error for error in found if _words(error.text))


def _kind(name: str, place: Place) -> type | None:
    """Return the class that ``place`` instantiates to report a failure."""
    found = getattr(click if ast.unparse(place.call.func).startswith("click.") else place.module, name, None)
    if name == "ValueError":
        found = ValueError
    if not inspect.isclass(found):
        return None
    if found is Hop:
        return found if "FAILED" in "".join(map(ast.unparse, place.call.args[:2])) else None
    return found if found is ErrorReply or issubclass(found, _ROOTS) else None


def _is_forwarded(place: Place) -> bool:
    """Return whether a call only passes on the whole text of another error."""
    texts = [*place.call.args, *(keyword.value for keyword in place.call.keywords)]
    return any(ast.unparse(text) in ("str(error)", "text[:1].lower() + text[1:].rstrip('.')") for text in texts[:1])


def _from_call(sources: Sources, place: Place, kind: type) -> Iterator[ErrorText]:
    """Yield the texts of one call or, if it has few words of its own, the texts that its callers pass."""
    renderer = Renderer(sources, place)
    own = [_error(place, kind, text, hint) for text, hint in _rendered(renderer, place, kind)]
    if renderer.free and min((len(_words(error.text)) for error in own), default=0) < _ENOUGH_WORDS:
        fewest = min((len(_words(error.text)) for error in own), default=0)
        found = [error for error in _from_callers(sources, place, kind, ()) if len(_words(error.text)) > fewest]
        if found:
            yield from found
            return
    yield from own


def _from_callers(
    sources: Sources, place: Place, kind: type, inner: tuple[tuple[Place, Place], ...]
) -> Iterator[ErrorText]:
    """Yield the texts that callers of the function around ``place`` compose."""
    outermost = inner[-1][1] if inner else place
    if len(inner) == _MAX_CALLERS or outermost.function is None:
        return
    for caller in sources.callers(outermost):
        steps = (*inner, (outermost, caller))
        bound, has_free = _bound_by(sources, steps)
        rendered = _rendered(Renderer(sources, place, bound), place, kind)
        found = [_error(caller, kind, text, hint) for text, hint in rendered]
        if has_free and any(len(_words(error.text)) < _ENOUGH_WORDS for error in found):
            yield from _from_callers(sources, place, kind, steps)
        else:
            yield from found


def _bound_by(sources: Sources, steps: Sequence[tuple[Place, Place]]) -> tuple[dict[str, list[str]], bool]:
    """Return the texts of the parameters around the innermost call, and whether one has a parameter of a caller.

    Args:
        sources: all modules.
        steps: from the innermost call outwards: a call, and one of the function around it.
    """
    bound: dict[str, list[str]] = {}
    free: set[str] = set()
    for made_in, called_at in reversed(steps):
        renderer = Renderer(sources, called_at, bound)
        if made_in.function is not None:
            arguments = bound_arguments(called_at.call, made_in.function)
            bound = {name: renderer.texts(value) for name, value in arguments.items()}
        free |= renderer.free
    return bound, bool(free)


def _rendered(renderer: Renderer, place: Place, kind: type) -> Iterator[tuple[str, str]]:
    text, hint = _text_and_hint(renderer, place.call, kind)
    hints = hint or [""]
    for number, one in enumerate(text):
        yield one, hints[number] if len(hints) == len(text) else hints[0]
    for more in hints[1:] if len(hints) != len(text) else ():
        yield text[0], more


def _text_and_hint(renderer: Renderer, call: ast.Call, kind: type) -> tuple[list[str], list[str]]:
    """Return texts and hints of the instance that ``call`` creates, following the constructors of our own classes."""
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    hint = keywords.get("hint")
    hints = [] if hint is None else renderer.texts(hint)
    if kind in _TEXT_ARGUMENTS:
        name, position = _TEXT_ARGUMENTS[kind]
        node = keywords.get(name) or (call.args[position] if len(call.args) > position else None)
        if kind is Hop and hint is None and len(call.args) > position + 1:
            hints = renderer.texts(call.args[position + 1])
        return ([] if node is None else renderer.texts(node)), hints
    for base, next_base in itertools.pairwise(kind.__mro__):
        inner = renderer.sources.constructors.get((base.__module__, base.__name__)) if base not in _ROOTS else None
        if inner is not None and inner.function is not None:
            bound = {name: renderer.texts(value) for name, value in bound_arguments(call, inner.function).items()}
            return _text_and_hint(Renderer(renderer.sources, inner, bound), inner.call, next_base)
    return (renderer.texts(call.args[0]) if call.args else []), hints


def _error(place: Place, kind: type, text: str, hint: str) -> ErrorText:
    return ErrorText(place.module.__name__, _shown(kind, text), kind.__name__, _exit_code(kind), hint)


def _shown(kind: type, text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".") if issubclass(kind, click.ClickException) else text


def _exit_code(kind: type) -> str:
    if issubclass(kind, KmsFault) or not issubclass(kind, ToolError | NitroAttestationError | click.ClickException):
        return ""
    if issubclass(kind, ToolError):
        return str(int(kind.exit_code))
    return str(int(ExitCode.FAILED if issubclass(kind, AttestationError) else ExitCode.USAGE))


def _words(text: str) -> list[str]:
    """Return the words of a text without the names of its variable parts."""
    return re.findall(r"[^\W\d_]{2,}", re.sub(r"\{[^}]*\}", "", text))
