"""Generate docs/reference/commands.md: every command of every program, with all its options."""

from __future__ import annotations

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
from tools.reference.markdown import code, generated_note, table
from tools.reference.surroundings import ENVIRONMENT, FILES

_INTRODUCTION = """\
# Commands

Every command of every program, with all its options, as `--help` prints them. The shortest call of each program:

```text
kmstool-enclave --region us-east-1
kmstool-instance --cid 16 CIPHERTEXT
kmstool-enclave-cli decrypt --ciphertext CIPHERTEXT
vsock-proxy 8000 kms.us-east-1.amazonaws.com 443
kmstool-sim demo
```

The first runs in the enclave, the second on the parent instance.
"""


def command_page() -> str:
    """Return the page."""
    parts = [generated_note("make man"), _INTRODUCTION, *_exit_status()]
    for name, command in TOOLS.items():
        root, *others = contexts(name, command)
        parts += [f"## {name}\n", *_command(root)]
        parts += _named_table("Environment variables", "Variable", ENVIRONMENT[name].items())
        parts += _named_table("Files", "File", FILES[name].items())
        for context in others:
            parts += [f"### {context.command_path}\n", *_command(context)]
    return "\n".join(parts)


def _exit_status() -> Iterator[str]:
    yield "## Exit codes\n"
    yield "All programs use the same exit codes.\n"
    yield table(("Code", "Meaning"), [(str(int(code_)), text) for code_, text in EXIT_STATUS.items()])


def _command(context: click.Context) -> Iterator[str]:
    summary, description = summary_and_description(context)
    yield f"{_prose(summary)}\n"
    yield f"```text\n{context.command_path} {usage(context)}\n```\n"
    for block in description:
        if block.startswith(LITERAL):
            title, *lines = block.splitlines()[1:]
            if title.rstrip().endswith(":"):
                yield f"{title}\n"
            else:
                lines = [title, *lines]
            yield "\n".join(["```text", *_without_indent(lines), "```\n"])
        else:
            yield f"{_prose(' '.join(block.split()))}\n"
    yield table(("Option", "Meaning"), [(code(names), _prose(text)) for names, text in option_records(context)])


def _named_table(title: str, head: str, entries: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield f"**{title}**\n"
    yield table((head, "Meaning"), [(code(name), _prose(text)) for name, text in entries])


def _without_indent(lines: list[str]) -> list[str]:
    indent = min((len(line) - len(line.lstrip()) for line in lines if line), default=0)
    return [line[indent:] for line in lines]


def _prose(text: str) -> str:
    """Escape Markdown's special characters in ``text``."""
    for mark in "\\`*_[]<>":
        text = text.replace(mark, f"\\{mark}")
    return text
