"""The command line of ``vsock-proxy``: AWS's options and ours."""

from __future__ import annotations

import functools
import sys
from typing import Any

import click

from vsock_proxy import check
from vsock_proxy.daemon.lifecycle import PACKAGE, serve
from vsock_proxy.options import ROUTE_OPTIONS, Seconds, parse_serve_settings
from vsock_proxy.settings import CONNECT_TIMEOUT_S, DNS_REFRESH_S, DRAIN_TIMEOUT_S, IDLE_TIMEOUT_S
from vsock_wire.cli.logs import LOG_FORMATS, set_up_logging
from vsock_wire.cli.program import HELP, run_program, spell_out_help
from vsock_wire.cli.shared_options import IDLE_TIMEOUT, LOG_FORMAT, QUIET, VERBOSE, with_options
from vsock_wire.errors import ExitCode, ToolError
from vsock_wire.net.address import MAX_TCP_PORT
from vsock_wire.version import version_text

PROGRAM = "vsock-proxy"

_EPILOG = (
    "LOCAL_PORT is a vsock port or an address: vsock://CID:PORT, unix:PATH, tcp://HOST:PORT. All three arguments are "
    "optional if the config file has routes. SIGHUP reloads the config file; SIGTERM drains connections and exits. "
    f"'{PROGRAM} check [OPTIONS] [LOCAL_PORT REMOTE_ADDR REMOTE_PORT]' shows what the configuration allows and whether "
    "its routes work."
)

_SERVE_OPTIONS = (
    click.option(
        "-w",
        "--num_workers",
        "--num-workers",
        "max_connections",
        metavar="N",
        help="Maximum number of concurrent connections; more are refused. [default: as many as the file descriptor "
        "limit allows]",
    ),
    click.option(
        "--connect-timeout",
        type=Seconds(),
        default=CONNECT_TIMEOUT_S,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for a destination to answer, over all its addresses.",
    ),
    IDLE_TIMEOUT.declare(
        click.option,
        type=Seconds(may_be_zero=True),
        default=IDLE_TIMEOUT_S,
        help="Close a connection after this long without traffic; 0 means never.",
    ),
    click.option(
        "--drain-timeout",
        type=Seconds(may_be_zero=True),
        default=DRAIN_TIMEOUT_S,
        show_default=True,
        metavar="SECONDS",
        help="How long connections may take to finish after SIGTERM.",
    ),
    click.option(
        "--dns-refresh",
        type=Seconds(),
        default=DNS_REFRESH_S,
        show_default=True,
        metavar="SECONDS",
        help="How often to resolve host names again.",
    ),
    click.option(
        "--metrics",
        type=click.IntRange(0, MAX_TCP_PORT),
        metavar="PORT",
        help="Serve Prometheus metrics on this port of 127.0.0.1.",
    ),
    LOG_FORMAT.declare(click.option, type=click.Choice(LOG_FORMATS)),
    VERBOSE.declare(click.option, help="Log more; repeat for more detail."),
    QUIET.declare(click.option, is_flag=False, count=True, help="Log warnings and errors only; -qq logs errors only."),
)


def main() -> None:
    """Run the program."""
    spell_out_help()
    arguments = sys.argv[1:]
    if arguments[:1] == ["check"]:
        run_program(f"{PROGRAM} check", functools.partial(check.command, arguments[1:]), click.ClickException)
    run_program(PROGRAM, functools.partial(command, arguments), click.ClickException)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80}, epilog=_EPILOG)
@with_options(ROUTE_OPTIONS, _SERVE_OPTIONS)
@click.version_option(version_text(), "-V", "--version", prog_name=PROGRAM)
def command(**options: Any) -> ExitCode:
    """Forward connections from an enclave's vsock to TCP destinations that an allowlist permits.

    \b
    Examples:
      vsock-proxy 8000 kms.us-east-1.amazonaws.com 443
      vsock-proxy --config /etc/nitro_enclaves/vsock-proxy.yaml
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    _refuse_mistyped_command(options["local_port"])
    try:
        return _serve(options)
    except ToolError as error:
        if options["local_port"] is not None:  # AWS's command line, whose errors all exit with 1
            error.exit_code = ExitCode.FAILED
        raise


def _refuse_mistyped_command(word: str | None) -> None:
    """Raise NoSuchCommand if a word that should be a port or an address is nearly the name of a command."""
    if word is not None and word.isalpha():
        error = click.NoSuchCommand(word, possibilities=["check", HELP])
        if error.possibilities:
            raise error


def _serve(options: dict[str, Any]) -> ExitCode:
    settings = parse_serve_settings(**options)
    set_up_logging(PACKAGE, verbosity=settings.verbosity)
    return serve(settings)
