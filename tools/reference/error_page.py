"""Generate docs/reference/errors.md: every error text, with its hint, its class, its exit code and its module."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from tools.reference.error_texts import ErrorText, error_texts
from tools.reference.markdown import code, generated_note, table
from tools.reference.sources import Sources
from vsock_wire.cli.program import _as_input_error as usage_error_of
from vsock_wire.protocol.kms_operations import KMS_OPERATIONS

_INTRODUCTION = """\
# Errors

A program that fails prints its name, the error and, where one is known, a hint, all on standard error:

```text
{example}
```

This page lists every error text with its hint, and the class and exit code of the error. `{{name}}` stands for what
varies. To find an error, search for the words that do not vary. [Exit codes](commands.md#exit-codes) explains the
codes.

- `ValueError` reports a mistake in a Python program that calls the library. As part of another error's text, it says
  what is wrong with a value.
- `ErrorReply`, `RequestError` and `FieldError` travel to the client in a reply, as [Wire protocol](protocol.md#errors)
  describes. `kmstool-instance` prints them.
- `Hop` is a hop that `kmstool-instance doctor` found to fail.
- Texts of kmstool and of AWS's vsock-proxy are kept to the letter.

## Every program

| Error and hint | Class (exit code) |
|---|---|
| `internal error: {{class}}; this is a bug, at:`<br>The place follows. Please report it. | a bug (1) |
| `{{program}}: needs: pip install 'nitro-kmstool[{{extra}}]'` | a library is not installed (2) |
| `{{path}}: {{reason of the system}}` | `OSError` (1) |
| `{{what is wrong with the command line}}`<br>hint: `{usage_hint}` | wrong usage (2) |

## KMS requests

What goes wrong with a request to KMS follows the first words of the error. [KMS refusals](kms-refusals.md) has the
hints for KMS's own errors.

{failures}"""
_TITLES = {
    "instance_tool": "Parent instance",
    "enclave_tool": "Enclave",
    "vsock_proxy": "vsock-proxy",
    "nitro_attestation": "Attestation documents, measurements and key policies",
    "vsock_wire": "Addresses, connections and messages",
    "nitro_simulator": "Simulator",
}


def error_page() -> str:
    """Return the page."""
    errors = error_texts(Sources.read())
    example = next(error for error in errors if error.module == "instance_tool.console.settings" and error.hint)
    example_text = f"kmstool-instance: error: {example.text}\nhint: {example.hint}"
    usage_hint = usage_error_of("{command}", Exception("text")).hint
    introduction = _INTRODUCTION.format(example=example_text, usage_hint=usage_hint, failures=_failures())
    parts = [generated_note("make man"), introduction]
    for package, title in _TITLES.items():
        parts.append(f"## {title}\n")
        of_package = [error for error in errors if error.module.partition(".")[0] == package]
        for module, of_module in itertools.groupby(of_package, key=lambda error: error.module):
            parts += [f"### {module}\n", _table(of_module)]
    return "\n".join(parts)


def _failures() -> str:
    rows = [(code(f"{spec.failure}: {{error}}"), f"`{operation}`") for operation, spec in KMS_OPERATIONS.items()]
    return table(("Error", "Operation"), rows)


def _table(errors: Iterable[ErrorText]) -> str:
    return table(("Error and hint", "Class (exit code)"), _rows(errors))


def _rows(errors: Iterable[ErrorText]) -> Iterator[tuple[str, str]]:
    """Yield a row for each text, with all hints that it can have."""
    for (text, kind, exit_code), group in itertools.groupby(errors, key=lambda e: (e.text, e.kind, e.exit_code)):
        hints = [error.hint for error in group if error.hint]
        cell = "<br>".join([code(text), *(f"hint: {code(hint)}" for hint in hints)])
        yield cell, f"`{kind}`" + (f" ({exit_code})" if exit_code else "")
