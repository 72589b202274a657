"""Start a console script: load its program, or report which extra to install.

pip installs all console scripts with the bare distribution, but the libraries of each only with its extra. Every start
of a program waits for this module, so it imports only the standard library, and little of that.
"""

from __future__ import annotations

import importlib
import sys
from typing import NoReturn

from vsock_wire.errors import ExitCode

DISTRIBUTION = "nitro-kmstool"


def launch(program: str, module: str, *, extra: str) -> NoReturn:
    """Run the function ``main`` of a program's module and end the process.

    If a library is not installed, prints the one line ``PROGRAM: needs: pip install 'nitro-kmstool[EXTRA]'`` to
    standard error and exits with ExitCode.USAGE. This can happen late, when a command loads a library that only it
    needs.

    Args:
        program: the console script's name.
        module: full name of the module to load.
        extra: the extra of the distribution that installs the program's libraries.
    """
    try:
        sys.exit(importlib.import_module(module).main())
    except ModuleNotFoundError as error:
        if not is_missing_library(error):
            raise
    if sys.stderr is not None:
        print(f"{program}: needs: pip install '{DISTRIBUTION}[{extra}]'", file=sys.stderr)
    sys.exit(ExitCode.USAGE)


def is_missing_library(error: BaseException) -> bool:
    """Return whether an import failed because a third-party library is not installed.

    A missing module of this project is a bug. Its name has a dot, because all packages of the project are installed
    together. The name of a library that is not installed has no dot, whichever of its modules was imported.
    """
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return False
    return "." not in error.name and error.name not in sys.stdlib_module_names
