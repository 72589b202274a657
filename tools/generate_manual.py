"""Writes share/, manual pages and completions for bash, zsh and fish: ``python -m tools.generate_manual``.

Everything is read from the commands themselves, so a page says what ``--help`` says. The files are checked in, because
a wheel is built without what the tools import; a test holds them to the commands.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

import enclave_tool.commands.kmstool_enclave
import enclave_tool.commands.kmstool_enclave_cli
import instance_tool.main
import nitro_simulator.cli
import vsock_proxy.cli
from vsock_wire import __version__

ROOT = Path(__file__).parents[1]
SHARE = ROOT / "share"
TOOLS: Mapping[str, click.Command] = {
    "kmstool-enclave": enclave_tool.commands.kmstool_enclave.command,
    "kmstool-enclave-cli": enclave_tool.commands.kmstool_enclave_cli.command,
    "kmstool-instance": instance_tool.main.command,
    "kmstool-sim": nitro_simulator.cli.command,
    "vsock-proxy": vsock_proxy.cli.command,
}
SHELLS: Mapping[str, tuple[type[ShellComplete], str]] = {
    "bash": (BashComplete, "bash-completion/completions/{}"),
    "zsh": (ZshComplete, "zsh/site-functions/_{}"),
    "fish": (FishComplete, "fish/vendor_completions.d/{}.fish"),
}
"""Where each shell looks, below share/. Source: bash-completion's README; zsh's site-functions; fish, "Completions"."""
EXIT_STATUS = (
    ("0", "done"),
    ("1", "failed"),
    ("2", "usage"),
    ("3", "the enclave, the proxy or KMS was not reached"),
    ("4", "no credentials"),
    ("5", "refused by KMS"),
    ("130", "interrupted"),
)
_LITERAL = "\b"
"""Click's mark, on a line of its own, for a paragraph that is not to be filled."""


def main() -> None:
    """Write every file."""
    for name, text in files().items():
        path = SHARE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def files() -> dict[str, str]:
    """Return the text of each file by its path below share/."""
    texts = {}
    for name, command in TOOLS.items():
        texts[f"man/man1/{name}.1"] = manual_page(name, command)
        for shell, path in SHELLS.values():
            variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
            texts[path.format(name)] = shell(command, {}, name, variable).source().rstrip("\n") + "\n"
    return texts


def manual_page(name: str, command: click.Command) -> str:
    """Return a tool's page, as man(7) has it."""
    context = click.Context(command, info_name=name, **command.context_settings)
    summary, description = _parts(command.help or "")
    lines = [
        f'.TH {name.upper()} 1 "" "kmstool {__version__}" "User Commands"',
        ".SH NAME",
        f"{_escaped(name)} \\- {_escaped(summary[:1].lower() + summary[1:].rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_escaped(name)}",
        _escaped(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        *_paragraphs([f"{summary}", *description, *_blocks(command.epilog or "")]),
        ".SH OPTIONS",
        *_options(command, context),
    ]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for sub_name in command.list_commands(context):
            if (sub_command := command.get_command(context, sub_name)) is not None:
                lines += _section(sub_name, sub_command, context)
    lines.append(".SH EXIT STATUS")
    for code, meaning in EXIT_STATUS:
        lines += [".TP", f".B {code}", _escaped(meaning)]
    others = [other for other in TOOLS if other != name]
    lines += [".SH SEE ALSO", ",\n".join(f".BR {_escaped(other)} (1)" for other in others).replace(",\n", " ,\n")]
    return "\n".join(lines) + "\n"


def _section(name: str, command: click.Command, parent: click.Context) -> Iterator[str]:
    """Yield the lines about one command; options that the page has described already are only named."""
    context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    summary, description = _parts(command.help or "")
    known = set(_records(parent.command, parent))
    yield f".SS {_escaped(' '.join([name, *command.collect_usage_pieces(context)]))}"
    yield from _paragraphs([summary, *description, *_blocks(command.epilog or "")])
    yield from _options(command, context, known)
    described = [record for record in _records(command, context) if record in known]
    flags = [flag for names, _ in described for flag in re.findall(r"--[\w-]+", names) if flag != "--help"]
    if flags:
        yield from (".PP", _escaped(f"Of the options above: {', '.join(flags)}."))
    if isinstance(command, click.Group):
        for sub_name in command.list_commands(context):
            if (sub_command := command.get_command(context, sub_name)) is not None:
                yield from _section(f"{name} {sub_name}", sub_command, context)


def _options(
    command: click.Command, context: click.Context, known: set[tuple[str, str]] | None = None
) -> Iterator[str]:
    for names, text in _records(command, context):
        if (names, text) not in (known or ()):
            yield from (".TP", f".B {_escaped(names)}", _escaped(" ".join(text.split())) or "\\&")


def _records(command: click.Command, context: click.Context) -> list[tuple[str, str]]:
    records = (parameter.get_help_record(context) for parameter in command.get_params(context))
    return [record for record in records if record is not None and record[0].startswith("-")]


def _parts(text: str) -> tuple[str, list[str]]:
    """Return the first sentence's paragraph and the others of a command's help."""
    first, *others = _blocks(text)
    return " ".join(first.split()), others


def _blocks(text: str) -> list[str]:
    return [block for block in re.split(r"\n[ \t]*\n", inspect.cleandoc(text)) if block.strip()] or [""]


def _paragraphs(blocks: list[str]) -> Iterator[str]:
    for block in blocks:
        if not block:
            continue
        yield ".PP"
        if block.startswith(_LITERAL):
            yield ".nf"
            yield from map(_escaped, block.splitlines()[1:])
            yield ".fi"
        else:
            yield _escaped(" ".join(block.split()))


def _escaped(text: str) -> str:
    """Return ``text`` as roff shows it as it is: its marks are backslash, minus, and what begins a line."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped


if __name__ == "__main__":
    main()
