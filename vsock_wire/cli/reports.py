"""Reports of errors on standard error, as text or as JSON."""

from __future__ import annotations

import contextlib
import json
import sys
import traceback
from collections.abc import Callable, Mapping

from vsock_wire.errors import ExitCode, ToolError, printable

Describe = Callable[[ToolError], Mapping[str, object]]
"""Returns the fields of an error's JSON object."""

_BUG_FRAMES = 6
_describe: Describe | None = None


def report_errors_as_json(describe: Describe | None) -> None:
    """From now on, report each error as one line of JSON.

    Args:
        describe: returns the fields of the object; None goes back to text.
    """
    global _describe  # noqa: PLW0603 - like standard error, which it is about
    _describe = describe


def report_error(name: str, error: ToolError, *, line_number: int | None = None) -> None:
    """Print ``error`` and its hint to standard error.

    Args:
        name: the program's name.
        error: what failed.
        line_number: the line of the input that it is about, if the command handles many.
    """
    if _describe is not None:
        line = {} if line_number is None else {"Line": line_number}
        _print(json.dumps({**line, **_describe(error)}))
        return
    about = "" if line_number is None else f"line {line_number}: "
    _print(f"{name}: error: {about}{printable(str(error))}")
    if error.hint:
        _print(f"hint: {printable(error.hint)}")


def report_warning(name: str, text: str) -> None:
    """Print a warning to standard error.

    Args:
        name: the program's name.
        text: what is not as it should be.
    """
    _print(f"{name}: warning: {printable(text)}")


def report_bug(name: str, error: Exception) -> None:
    """Print the type and the place of an exception, but not its text, which may contain anything."""
    text = f"internal error: {type(error).__name__}; this is a bug"
    frames = traceback.extract_tb(error.__traceback__)[-_BUG_FRAMES:]
    places = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
    if _describe is not None:
        _print(json.dumps({"Error": text, "At": places, "ExitCode": int(ExitCode.FAILED)}))
        return
    _print(f"{name}: error: {text}, at:")
    for place in places:
        _print(f"  {place}")


def _print(line: str) -> None:
    if sys.stderr is None:  # closed: print would fall back to standard output, which is for results only
        return
    with contextlib.suppress(OSError):  # nobody reads it any more
        print(line, file=sys.stderr)
