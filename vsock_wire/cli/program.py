"""Start-up, logging, error reporting and exit of every command-line tool of the project."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from vsock_wire.cli.launcher import is_missing_library
from vsock_wire.errors import ExitCode, InputError, ToolError, printable

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)


def run_program(
    name: str, command: Callable[..., object], usage_error: type[Exception], *, leaves_at_once: bool = False
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
    """
    signal.signal(signal.SIGINT, _exit_interrupted)
    try:
        exit_code = command(prog_name=name, standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except ToolError as error:
        report_error(name, error)
        sys.exit(error.exit_code)
    except usage_error as error:
        report_error(name, _as_input_error(name, error))
        sys.exit(ExitCode.USAGE)
    except BrokenPipeError:
        _leave_stdout()
        sys.exit(ExitCode.FAILED)
    except OSError as error:  # a file or standard output: errors of sockets arrive as TransportError
        _leave_stdout()
        report_error(
            name, ToolError(f"{error.filename or 'standard output'}: {(error.strerror or str(error)).lower()}")
        )
        sys.exit(ExitCode.FAILED)
    except Exception as error:
        if is_missing_library(error):  # our caller, launch, knows what to install
            raise
        _report_bug(name, error)
        sys.exit(ExitCode.FAILED)
    code = exit_code if isinstance(exit_code, int) else ExitCode.DONE
    if leaves_at_once:
        if sys.stderr is not None:
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def report_error(name: str, error: ToolError, *, subject: str | None = None) -> None:
    """Print ``error`` and its hint to standard error.

    Args:
        name: the program's name.
        error: what failed.
        subject: what the error is about, such as "line 3", if the command handles more than one item.
    """
    if sys.stderr is None:  # closed: print would fall back to standard output, which is for results only
        return
    about = f"{subject}: " if subject else ""
    print(f"{name}: error: {about}{printable(str(error))}", file=sys.stderr)
    if error.hint:
        print(f"hint: {printable(error.hint)}", file=sys.stderr)


def set_up_logging(package: str, *, verbosity: int) -> None:
    """Send the log messages of ``package`` and vsock_wire to standard error.

    Other libraries' loggers get no handler: at debug level, botocore logs whole requests, session token included.

    Args:
        package: name of the program's own package.
        verbosity: 0 for errors only, 1 to add warnings, 2 to add information, 3 or more to add debug messages.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_PrintableFormatter(LOG_FORMAT))
    for name in (package, "vsock_wire"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(_LEVELS[max(0, min(verbosity, len(_LEVELS) - 1))])
    logging.getLogger().addHandler(logging.NullHandler())  # otherwise Python prints other libraries' warnings itself


class _PrintableFormatter(logging.Formatter):
    """Keeps each record on one line, whatever text from a peer it contains."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _exit_interrupted(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(ExitCode.INTERRUPTED)


def _as_input_error(name: str, error: Exception) -> InputError:
    text: str = getattr(error, "format_message", error.__str__)()
    path = getattr(getattr(error, "ctx", None), "command_path", name)  # includes click's subcommands
    return InputError(text[:1].lower() + text[1:].rstrip("."), hint=f"for usage, run: {path} --help")


def _leave_stdout() -> None:
    """Keep the interpreter from flushing to a closed pipe or a full disk again at exit, and reporting that."""
    if sys.stdout is None:
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report_bug(name: str, error: Exception) -> None:
    if sys.stderr is None:
        return
    print(f"{name}: error: internal error: {type(error).__name__}; this is a bug, at:", file=sys.stderr)
    for frame in traceback.extract_tb(error.__traceback__)[-6:]:
        print(f"  {frame.filename}:{frame.lineno} in {frame.name}", file=sys.stderr)
