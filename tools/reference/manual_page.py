"""Generate a program's manual page in the format of man(7)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import click

from tools.reference.command_tree import (
    EXIT_STATUS,
    LITERAL,
    TOOLS,
    contexts,
    option_records,
    summary_and_description,
    usage,
)
from tools.reference.surroundings import ENVIRONMENT, FILES
from vsock_wire import __version__


def manual_page(name: str, command: click.Command) -> str:
    """Return the manual page of a program."""
    root, *others = contexts(name, command)
    summary, description = summary_and_description(root)
    lines = [
        f'.TH {name.upper()} 1 "" "kmstool {__version__}" "User Commands"',
        ".SH NAME",
        f"{_escaped(name)} \\- {_escaped(summary[:1].lower() + summary[1:].rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_escaped(name)}",
        _escaped(usage(root)),
        ".SH DESCRIPTION",
        *_paragraphs([summary, *description]),
        ".SH OPTIONS",
        *_entries(option_records(root)),
    ]
    if others:
        lines.append(".SH COMMANDS")
        for context in others:
            lines += _section(context, root)
    lines += [".SH EXIT STATUS", *_entries((str(int(code)), text) for code, text in EXIT_STATUS.items())]
    lines += [".SH ENVIRONMENT", *_entries(ENVIRONMENT[name].items())]
    lines += [".SH FILES", *_entries(FILES[name].items())]
    see_also = [f".BR {_escaped(other)} (1)" for other in TOOLS if other != name]
    lines += [".SH SEE ALSO", " ,\n".join(see_also)]
    return "\n".join(lines) + "\n"


def _section(context: click.Context, root: click.Context) -> Iterator[str]:
    """Yield the lines for one command; options that the page has already described are only named."""
    summary, description = summary_and_description(context)
    known = set(option_records(root))
    words = context.command_path.removeprefix(f"{root.info_name} ")
    yield f".SS {_escaped(f'{words} {usage(context)}')}"
    yield from _paragraphs([summary, *description])
    records = option_records(context)
    yield from _entries(record for record in records if record not in known)
    described = [names for names, text in records if (names, text) in known]
    flags = [flag for names in described for flag in re.findall(r"--[\w-]+", names) if flag != "--help"]
    if flags:
        yield from (".PP", _escaped(f"Options described above: {', '.join(flags)}."))


def _entries(entries: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, text in entries:
        yield from (".TP", f".B {_escaped(name)}", _escaped(text) or "\\&")


def _paragraphs(blocks: Iterable[str]) -> Iterator[str]:
    for block in filter(None, blocks):
        yield ".PP"
        if block.startswith(LITERAL):
            yield ".nf"
            yield from map(_escaped, block.splitlines()[1:])
            yield ".fi"
        else:
            yield _escaped(" ".join(block.split()))


def _escaped(text: str) -> str:
    """Escape backslashes, minus signs, and roff's special characters at the beginning of lines."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped
