"""A group of commands whose options may stand before the command's name as well as after it."""

from __future__ import annotations

import click


class CommandGroup(click.Group):
    """A click group that hands the options before a command's name to the command.

    The command alone knows which options it has, so one that it does not have is refused by its own parser. The group
    declares options to tell them from the name, to check their values, and to show them in its help. If one is given on
    both sides, the one after the name counts; repeatable ones add up.

    Attributes:
        default_command: what to run if no command is named; None to run the group's own function.
    """

    default_command: str | None = None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the group's own options, and move them behind the name of the command."""
        _, rest, _ = self.make_parser(ctx).parse_args(list(args))
        before = args[: len(args) - len(rest)]
        if not rest and self.default_command and not ctx.resilient_parsing:
            rest = [self.default_command]
        super().parse_args(ctx, [*before, *rest])
        if not rest:
            return ctx.args
        if before[-1:] == ["--"]:
            before.pop()
        position = 1 if self._names_command_of_group(ctx, rest) else 0
        ctx.args[position:position] = before
        return ctx.args

    def _names_command_of_group(self, ctx: click.Context, words: list[str]) -> bool:
        """Return whether the words begin with the names of a group in this one and of a command in that."""
        command = self.get_command(ctx, words[0])
        return isinstance(command, click.Group) and words[1:2] != [] and words[1] in command.commands
