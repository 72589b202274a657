"""The program ``vsock-proxy`` up to the moment it serves."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from vsock_proxy import cli
from vsock_proxy.settings import CONNECT_TIMEOUT_S, DNS_REFRESH_S, DRAIN_TIMEOUT_S, IDLE_TIMEOUT_S, ServeSettings
from vsock_wire.errors import ExitCode


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ServeSettings]]:
    """Collect the settings that would be served instead of serving; restores loggers at the end."""
    settings: list[ServeSettings] = []

    def serve(chosen: ServeSettings) -> ExitCode:
        settings.append(chosen)
        return ExitCode.INTERRUPTED

    monkeypatch.setattr(cli, "serve", serve)
    monkeypatch.setattr("vsock_proxy.options.raise_descriptor_limit", lambda: None)
    kept = {}
    for name in ("vsock_proxy", "vsock_wire"):
        logger = logging.getLogger(name)
        kept[logger] = (logger.handlers, logger.propagate, logger.level)
    yield settings
    for logger, (handlers, propagate, level) in kept.items():
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_defaults_are_those_of_the_limits(served: list[ServeSettings]) -> None:
    assert cli.command.main([], standalone_mode=False) == ExitCode.INTERRUPTED
    limits = served[0].limits
    assert (limits.connect_timeout_s, limits.idle_timeout_s) == (CONNECT_TIMEOUT_S, IDLE_TIMEOUT_S)
    assert (limits.drain_timeout_s, limits.dns_refresh_s) == (DRAIN_TIMEOUT_S, DNS_REFRESH_S)
    assert limits.max_connections is None
    assert (served[0].metrics_port, served[0].logs_json) == (None, False)


def test_every_option_reaches_the_settings(served: list[ServeSettings]) -> None:
    timeouts = ["--connect-timeout", "1", "--idle-timeout", "0", "--drain-timeout", "3", "--dns-refresh", "4"]
    others = ["--config", "/x", "-w", "5", "--metrics", "9", "-q", "--log-format", "json", "--cid", "3"]
    cli.command.main([*timeouts, *others, "8000", "a.com", "443"], standalone_mode=False)
    (settings,) = served
    assert settings.source.path == Path("/x")
    assert str(settings.source.route) == "vsock://3:8000 -> a.com:443"
    limits = settings.limits
    assert (limits.max_connections, limits.connect_timeout_s, limits.idle_timeout_s) == (5, 1, 0)
    assert (limits.drain_timeout_s, limits.dns_refresh_s) == (3, 4)
    assert (settings.metrics_port, settings.verbosity, settings.logs_json) == (9, 1, True)


@pytest.mark.parametrize(
    ("flags", "level"),
    [([], logging.INFO), (["-q"], logging.WARNING), (["-qq"], logging.ERROR), (["-v"], logging.DEBUG)],
)
def test_flags_choose_what_is_logged(served: list[ServeSettings], flags: list[str], level: int) -> None:
    cli.command.main(flags, standalone_mode=False)
    assert len(served) == 1
    assert logging.getLogger("vsock_proxy").getEffectiveLevel() == level


@pytest.mark.parametrize(
    ("arguments", "name", "words"),
    [(["check", "-4"], "vsock-proxy check", ["-4"]), (["-4", "check"], "vsock-proxy", ["-4", "check"])],
)
def test_check_is_a_command_only_as_the_first_word(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], name: str, words: list[str]
) -> None:
    started: list[tuple[str, list[str]]] = []

    def run(name: str, command: object, _usage_error: type[Exception]) -> None:
        started.append((name, command.args[0]))  # type: ignore[attr-defined] # a functools.partial
        raise SystemExit(0)

    monkeypatch.setattr(cli, "run_program", run)
    monkeypatch.setattr(sys, "argv", ["vsock-proxy", *arguments])
    with pytest.raises(SystemExit):
        cli.main()
    assert started == [(name, words)]


@pytest.mark.parametrize(("word", "meant"), [("chexk", "check"), ("hlep", "help")])
def test_word_that_is_nearly_a_command_is_not_a_port(word: str, meant: str) -> None:
    with pytest.raises(click.NoSuchCommand) as caught:
        cli.command.main([word, "8000"], standalone_mode=False)
    assert caught.value.possibilities == [meant]
