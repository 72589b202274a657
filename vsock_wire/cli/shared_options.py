"""Options that commands on both sides of the vsock share, each defined once.

This package uses only the standard library, so it only describes options. A tool passes ``click.option`` to make one::

    @with_options((KEY_ID.declare(click.option, required=True), VERBOSE.declare(click.option)))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from vsock_wire.cli.encryption_context import gather_entries, parse_context_option
from vsock_wire.cli.logs import LOG_FORMATS
from vsock_wire.cli.values import parse_text, parse_timeout

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])
_Option = TypeVar("_Option")


class SharedOption(NamedTuple):
    """The arguments of ``click.option`` for one option.

    Attributes:
        names: its flags, and the name of its parameter if that differs.
        attributes: its keyword arguments.
    """

    names: tuple[str, ...]
    attributes: Mapping[str, Any]

    def declare(self, option: Callable[..., _Option], *short: str, **changes: Any) -> _Option:
        """Return the option that ``option`` creates from this description.

        Args:
            option: ``click.option``.
            short: further flags for this command.
            changes: keyword arguments that override those of the description for this command.
        """
        return option(*short, *self.names, **{**self.attributes, **changes})


KEY_ID = SharedOption(("--key-id",), {"type": parse_text, "metavar": "KEY", "help": "KMS key: id, ARN or alias."})
ENCRYPTION_CONTEXT = SharedOption(
    ("--encryption-context",),
    {
        "type": parse_context_option,
        "multiple": True,
        "callback": gather_entries,
        "metavar": "NAME=VALUE",
        "help": "Entry of the encryption context, or a JSON object with all entries; repeatable.",
    },
)
ENCRYPTION_ALGORITHM = SharedOption(
    ("--encryption-algorithm",),
    {"type": parse_text, "metavar": "NAME", "help": "Encryption algorithm, for an asymmetric key."},
)
GRANT_TOKEN = SharedOption(
    ("--grant-token", "grant_tokens"),
    {
        "type": parse_text,
        "multiple": True,
        "metavar": "TOKEN",
        "help": "Token of a grant that is not yet in effect everywhere; repeatable.",
    },
)
DRY_RUN = SharedOption(
    ("--dry-run",), {"is_flag": True, "help": "Ask KMS whether it would perform the request; print no result."}
)
KEY_SPEC = SharedOption(("--key-spec",), {"help": "Type of data key."})
KEY_PAIR_SPEC = SharedOption(
    ("--key-pair-spec",), {"required": True, "metavar": "SPEC", "help": "Type of key pair, such as RSA_2048."}
)
RANDOM_LENGTH = SharedOption(
    ("--length",), {"required": True, "metavar": "BYTES", "help": "Number of bytes, 1 to 1024."}
)
MAX_CONNECTIONS = SharedOption(
    ("--max-connections",),
    {"show_default": True, "metavar": "N", "help": "Maximum number of concurrent clients."},
)
IDLE_TIMEOUT = SharedOption(
    ("--idle-timeout",),
    {
        "type": parse_timeout,
        "show_default": True,
        "metavar": "SECONDS",
        "help": "Close a connection that sends nothing for this long.",
    },
)
VERBOSE = SharedOption(
    ("-v", "--verbose"), {"count": True, "help": "Report progress on standard error; repeat for more."}
)
LOG_FORMAT = SharedOption(
    ("--log-format",), {"default": LOG_FORMATS[0], "show_default": True, "help": "Format of log lines."}
)
QUIET = SharedOption(("-q", "--quiet"), {"is_flag": True, "help": "Report errors only."})


def with_options(*groups: tuple[Callable[[Any], Any], ...]) -> Callable[[_Decorated], _Decorated]:
    """Return a decorator that gives a command all options of ``groups``, in this order."""

    def decorate(function: _Decorated) -> _Decorated:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return decorate
