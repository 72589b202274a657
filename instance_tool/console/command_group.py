"""Click groups: with suggestions for mistyped commands, and with options on both sides of a command's name."""

from __future__ import annotations

import click


class SuggestingGroup(click.Group):
    """A click group that suggests a command for a name that does not exist, even if its commands load late."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is named."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(
                error.command_name, possibilities=self.list_commands(ctx), ctx=error.ctx
            ) from None


class CommandGroup(SuggestingGroup):
    """A click group that passes the options before a command's name on to the command.

    The command's own parser rejects options that the command does not have. The group declares options so that it can
    tell them from the command's name, check their values, and show them in its help. If an option is given both before
    and after the name, the one after it wins; repeatable options add up.

    Attributes:
        default_command: the command to run if none is named; None to run the group's own function.
    """

    default_command: str | None = None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the group's options, and move them to after the name of the command."""
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
        """Return whether the words start with the name of a subgroup and of one of its commands."""
        command = self.get_command(ctx, words[0])
        return isinstance(command, click.Group) and words[1:2] != [] and words[1] in command.commands
