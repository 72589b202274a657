"""The encryption context of a command line: repeated NAME=VALUE options, or JSON."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping

from vsock_wire.cli.program import runs_under_c_name
from vsock_wire.cli.values import parse_text
from vsock_wire.errors import InputError, quoted
from vsock_wire.protocol.json_codec import decode_json

Entries = tuple[tuple[str, str], ...]
_REFUSALS = ("AccessDeniedException", "InvalidCiphertextException")
"""What KMS answers to a wrong context: the second if the ciphertext was made with another one, the first if the key
policy has a condition on it."""


def parse_context_option(text: str) -> Entries:
    """Return the names and values of one --encryption-context: NAME=VALUE, or a JSON object of strings.

    ``A=1,B=2`` is one entry, as in kmstool. kmstool drops an option without ``=``, and KMS then refuses to decrypt.

    Raises:
        ValueError: the text is neither.
        InputError: the argument was not UTF-8.
    """
    entries = _json_entries(parse_text(text))
    if entries is not None:
        return entries
    name, separator, value = text.partition("=")
    if not name or not separator:
        forms = "NAME=VALUE or a JSON object of strings" if text.lstrip().startswith("{") else "NAME=VALUE"
        raise ValueError(f"expected {forms}, got {quoted(text)}")
    return ((name, value),)


def gather_entries(_ctx: object, _parameter: object, values: Iterable[Entries]) -> Entries:
    """Return the entries of all --encryption-context options, in their order; a callback of click."""
    return tuple(itertools.chain.from_iterable(values))


def parse_encryption_context(entries: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the encryption context that all entries make up.

    Raises:
        InputError: a name occurs twice. Under a C name, the last one counts, as in kmstool.
    """
    context: dict[str, str] = {}
    for name, value in entries:
        if name in context and not runs_under_c_name():
            raise InputError("--encryption-context: a name is given twice")
        context[name] = value
    return context


def one_pair_hint(context: object, kms_code: str | None) -> str | None:
    """Return a hint for a refusal that may come from an entry which looks like several, or None.

    Args:
        context: the encryption context of the request, or None.
        kms_code: KMS's code; None if the enclave, kmstool in C, gives none.
    """
    if not isinstance(context, Mapping) or kms_code not in (None, *_REFUSALS):
        return None
    for name, value in context.items():
        pairs = [pair.partition("=") for pair in re.split(r",(?=[^,=]+=)", f"{name}={value}")]
        if len(pairs) > 1 and all(separator for _, separator, _ in pairs):
            options = " ".join(f"--encryption-context {pair_name}={pair_value}" for pair_name, _, pair_value in pairs)
            as_json = json.dumps({pair_name: pair_value for pair_name, _, pair_value in pairs}, separators=(",", ":"))
            return (
                f"--encryption-context {name}={value} was taken as one pair: for several, pass {options}, or"
                f" --encryption-context '{as_json}'"
            )
    return None


def _json_entries(text: str) -> Entries | None:
    """Return the entries of a JSON object of strings, or None if the text is anything else."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        members = decode_json(text)
    except ValueError:
        return None
    if not isinstance(members, dict) or not all(name and isinstance(value, str) for name, value in members.items()):
        raise ValueError(f"expected a JSON object of strings, got {quoted(text)}")
    return tuple(members.items())
