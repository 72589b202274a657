"""Start-up and exit of every command-line tool of the project."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NamedTuple, NoReturn

from vsock_wire.cli.launcher import is_missing_library
from vsock_wire.cli.reports import report_bug, report_error
from vsock_wire.errors import ExitCode, InputError, ToolError

HELP = "help"
"""First word of a command line that asks for help: ``help COMMAND`` is ``COMMAND --help``."""
C_NAMES = frozenset({"kmstool_instance", "kmstool_enclave", "kmstool_enclave_cli"})
"""Names of the programs in C. A program that runs under one of them does as kmstool does where the two differ."""
NO_COLOR = "NO_COLOR"
"""Set and not empty, it turns colors off. Source: no-color.org."""


class CExitCodes(NamedTuple):
    """Exit codes of a program in C, which this one has under its C name.

    Attributes:
        failed: an operation failed.
        usage: the command line is not valid, or has no credentials.
        help: ``--help`` was given.
    """

    failed: int = 1
    usage: int = 1
    help: int = 0


def run_program(
    name: str,
    command: Callable[..., object],
    usage_error: type[Exception],
    *,
    leaves_at_once: bool = False,
    c_exit_codes: CExitCodes | None = None,
) -> NoReturn:
    """Run a click command and end the process with the exit code that fits its outcome.

    Prints a ToolError as ``NAME: error: ...``, followed by ``hint: ...`` if it has a hint. For any other exception,
    prints only its type and location, because its text may contain anything, including secrets. The exception for a
    library that is not installed propagates to ``launch``.

    Args:
        name: the program's name.
        command: a click command.
        usage_error: base class of click's usage errors; a parameter, because this package uses only the standard
            library.
        leaves_at_once: whether the process exits on success without Python's cleanup, which takes a tenth of the time
            of a decrypt. ``atexit`` handlers do not run, and the kernel closes what is open.
        c_exit_codes: the exit codes under a C name; None if the program has none.
    """
    codes = c_exit_codes if runs_under_c_name() else None
    signal.signal(signal.SIGINT, _exit_interrupted)
    spell_out_help()
    stdout = sys.stdout
    try:
        exit_code = command(prog_name=name, standalone_mode=False, **({} if allows_escapes() else {"color": False}))
        if sys.stdout is not None:
            sys.stdout.flush()
    except SystemExit as end:
        if sys.stdout is not stdout:  # click replaces it when the pipe is closed, and exits with 1
            _leave_stdout()
            sys.exit(ExitCode.CLOSED_PIPE)
        sys.exit(_exit_code(end.code, codes) if isinstance(end.code, int) else end.code)
    except Exception as error:
        if is_missing_library(error):  # our caller, launch, knows what to install
            raise
        sys.exit(_exit_code(_report(name, error, usage_error), codes))
    code = _exit_code(exit_code, codes)
    if leaves_at_once:
        if sys.stderr is not None:
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def runs_under_c_name() -> bool:
    """Return whether this program was started under one of C_NAMES."""
    return os.path.basename(sys.argv[0]) in C_NAMES  # noqa: PTH119 - pathlib takes longer to load


def spell_out_help() -> None:
    """Rewrite this process's command line from ``help COMMAND`` to ``COMMAND --help``."""
    if sys.argv[1:2] == [HELP]:
        sys.argv[1:] = [*sys.argv[2:], "--help"]


def allows_escapes() -> bool:
    """Return whether the environment allows colors and other control sequences on a terminal."""
    return not os.environ.get(NO_COLOR) and not is_dumb_terminal()


def is_dumb_terminal() -> bool:
    """Return whether the terminal understands no control sequences. Source: terminfo(5), the entry "dumb"."""
    return os.environ.get("TERM") == "dumb"


def _exit_code(result: object, codes: CExitCodes | None) -> int:
    """Return the exit code for what a command returns: its exit code, or 0 for help; anything else means success."""
    code = result if isinstance(result, int) else ExitCode.DONE
    if codes is None or code in (ExitCode.INTERRUPTED, ExitCode.CLOSED_PIPE):
        return code
    if code == ExitCode.DONE:
        return codes.help if isinstance(result, int) else code
    return codes.usage if code in (ExitCode.USAGE, ExitCode.NO_CREDENTIALS) else codes.failed


def _report(name: str, error: Exception, usage_error: type[Exception]) -> ExitCode:
    """Report an error, and return the exit code."""
    match error:
        case ToolError():
            report_error(name, error)
            return error.exit_code
        case BrokenPipeError():
            _leave_stdout()
            return ExitCode.CLOSED_PIPE
        case OSError():  # a file or standard output: errors of sockets arrive as TransportError
            _leave_stdout()
            text = f"{error.filename or 'standard output'}: {(error.strerror or str(error)).lower()}"
            report_error(name, ToolError(text))
        case _ if isinstance(error, usage_error):
            report_error(name, _as_input_error(name, error))
            return ExitCode.USAGE
        case _:
            report_bug(name, error)
    return ExitCode.FAILED


def _exit_interrupted(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.unraisablehook = lambda _: None  # an object that is only half made, such as an event loop, may complain
    raise SystemExit(ExitCode.INTERRUPTED)


def _as_input_error(name: str, error: Exception) -> InputError:
    text: str = getattr(error, "format_message", error.__str__)()
    path = getattr(getattr(error, "ctx", None), "command_path", name)  # includes click's subcommands
    possibilities: list[str] | None = getattr(error, "possibilities", None)
    if possibilities:  # of a mistyped option or command, the nearest first
        text = f"{error!s}".rstrip(".")
        text += f"; did you mean {' or '.join(repr(possibility) for possibility in possibilities)}?"
    return InputError(_as_phrase(text), hint=f"for usage, run: {path} --help")


def _as_phrase(sentence: str) -> str:
    """Drop the full stop and the capital letter of a sentence, unless it begins with a name such as LOCAL_PORT."""
    word = sentence.partition(" ")[0]
    is_plain = word[1:].isalpha() and word[1:].islower()
    return (word[:1].lower() + sentence[1:] if is_plain else sentence).rstrip(".")


def _leave_stdout() -> None:
    """Keep the interpreter from flushing to a closed pipe or a full disk again at exit, and reporting that."""
    if sys.stdout is None:
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
