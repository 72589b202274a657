"""The help of every command fits into 80 columns, has an example, and describes each option."""

from __future__ import annotations

import click
import pytest

from tools.reference.command_tree import TOOLS, contexts

COLUMNS = 80
CONTEXTS = [context for name, command in TOOLS.items() for context in contexts(name, command)]


@pytest.mark.parametrize("context", CONTEXTS, ids=lambda context: context.command_path)
class TestHelp:
    def test_fits_a_terminal_and_has_an_example(self, context: click.Context) -> None:
        text = context.get_help()
        assert [line for line in text.splitlines() if len(line) > COLUMNS] == []
        tool = context.find_root().info_name
        examples = [line for line in text.splitlines() if not line.startswith("Usage:") and f"{tool} " in line]
        assert examples, "no example"

    def test_describes_each_option(self, context: click.Context) -> None:
        options = [parameter for parameter in context.command.params if isinstance(parameter, click.Option)]
        assert [option.name for option in options if not option.help] == []


def test_every_command_is_covered() -> None:
    paths = {context.command_path for context in CONTEXTS}
    assert {
        "kmstool-instance policy explain",
        "kmstool-enclave",
        "vsock-proxy",
        "vsock-proxy check",
        "kmstool-sim up",
    } <= paths
    assert len(paths) > 25


@pytest.mark.parametrize("tool", TOOLS)
def test_every_program_has_log_format(tool: str) -> None:
    options = [
        flag
        for context in CONTEXTS
        if context.find_root().info_name == tool
        for parameter in context.command.params
        for flag in parameter.opts
    ]
    assert "--log-format" in options
