"""The help of every command: in 80 columns, with an example, and with a word on each option."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from tools.generate_manual import TOOLS

COLUMNS = 80


def commands(name: str, command: click.Command, parent: click.Context | None = None) -> Iterator[click.Context]:
    context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    yield context
    if isinstance(command, click.Group):
        for sub_name in command.list_commands(context):
            sub_command = command.get_command(context, sub_name)
            assert sub_command is not None
            yield from commands(sub_name, sub_command, context)


CONTEXTS = [context for name, command in TOOLS.items() for context in commands(name, command)]


@pytest.mark.parametrize("context", CONTEXTS, ids=lambda context: context.command_path)
class TestHelp:
    def test_fits_a_terminal_and_has_an_example(self, context: click.Context) -> None:
        text = context.get_help()
        assert [line for line in text.splitlines() if len(line) > COLUMNS] == []
        tool = context.find_root().info_name
        examples = [line for line in text.splitlines() if not line.startswith("Usage:") and f"{tool} " in line]
        assert examples, "no example"

    def test_says_a_word_on_each_option(self, context: click.Context) -> None:
        options = [parameter for parameter in context.command.params if isinstance(parameter, click.Option)]
        assert [option.name for option in options if not option.help] == []


def test_every_command_is_looked_at() -> None:
    paths = {context.command_path for context in CONTEXTS}
    assert {"kmstool-instance policy explain", "kmstool-enclave", "vsock-proxy", "kmstool-sim up"} <= paths
    assert len(paths) > 25
