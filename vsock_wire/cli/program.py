"""How every command line tool of the project starts, logs, reports a failure and ends."""

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

    A ToolError is printed as ``NAME: error: ...`` and, where one is known, ``hint: ...``. Of any other exception only
    the type and the place are printed, because the text of an unexpected exception may hold anything, secrets included.
    The exception for a library that is not installed passes through, to ``launch``.

    Args:
        name: the program's name.
        command: a click command.
        usage_error: click's root of usage errors; handed in, because this package uses the standard library only.
        leaves_at_once: whether a success ends the process without Python's own tidying, which takes a tenth of a
            decrypt: no handler of ``atexit`` runs, and what is open is left to the kernel.
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
    except OSError as error:  # of sockets nothing comes here but TransportError: this is a file, or standard output
        _leave_stdout()
        report_error(
            name, ToolError(f"{error.filename or 'standard output'}: {(error.strerror or str(error)).lower()}")
        )
        sys.exit(ExitCode.FAILED)
    except Exception as error:
        if is_missing_library(error):  # launch, which called us, knows what to install
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
        subject: what it was about, such as "line 3", where there is more than one.
    """
    if sys.stderr is None:  # closed; print would turn to standard output, which is for results only
        return
    about = f"{subject}: " if subject else ""
    print(f"{name}: error: {about}{printable(str(error))}", file=sys.stderr)
    if error.hint:
        print(f"hint: {printable(error.hint)}", file=sys.stderr)


def set_up_logging(package: str, *, verbosity: int) -> None:
    """Log what ``package`` and vsock_wire say to standard error.

    Other libraries' loggers get no handler: at debug level botocore logs whole requests, session token included.

    Args:
        package: the name of the program's own.
        verbosity: 0 for errors only, 1 adds warnings, 2 information, 3 and more debugging details.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_PrintableFormatter(LOG_FORMAT))
    for name in (package, "vsock_wire"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(_LEVELS[max(0, min(verbosity, len(_LEVELS) - 1))])
    logging.getLogger().addHandler(logging.NullHandler())  # else Python prints other libraries' warnings itself


class _PrintableFormatter(logging.Formatter):
    """Keeps one record on one line, whatever a peer has put into it."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _exit_interrupted(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(ExitCode.INTERRUPTED)


def _as_input_error(name: str, error: Exception) -> InputError:
    text: str = getattr(error, "format_message", error.__str__)()
    path = getattr(getattr(error, "ctx", None), "command_path", name)  # with the names of click's subcommands
    return InputError(text[:1].lower() + text[1:].rstrip("."), hint=f"for usage, run: {path} --help")


def _leave_stdout() -> None:
    """Keep the interpreter from flushing into a closed pipe or a full disk again at exit, and complaining of it."""
    if sys.stdout is None:
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report_bug(name: str, error: Exception) -> None:
    if sys.stderr is None:
        return
    print(f"{name}: error: internal error: {type(error).__name__}; this is a bug, at:", file=sys.stderr)
    for frame in traceback.extract_tb(error.__traceback__)[-6:]:
        print(f"  {frame.filename}:{frame.lineno} in {frame.name}", file=sys.stderr)
