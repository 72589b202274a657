"""The commands that have the enclave do something."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import Any, BinaryIO

import click

from instance_tool.batch import decrypt_lines
from instance_tool.ciphertext import parse_ciphertext, read_ciphertext, read_lines
from instance_tool.options import (
    DECRYPT_OPTIONS,
    PROGRAM,
    SHARED_OPTIONS,
    Settings,
    merged_options,
    parse_encryption_context,
    parse_settings,
    with_options,
)
from instance_tool.output import encode_result
from vsock_wire.errors import ExitCode, InputError, ToolError
from vsock_wire.messages import Decrypt
from vsock_wire.program import report_error


@click.command()
@click.argument("ciphertext", required=False)
@with_options(SHARED_OPTIONS, DECRYPT_OPTIONS)
@click.pass_context
def decrypt(ctx: click.Context, /, ciphertext: str | None = None, **_options: Any) -> None:
    """Decrypt one CIPHERTEXT, or many with --batch. The default command."""
    options = merged_options(ctx)
    settings = parse_settings(options)
    template = Decrypt(
        b"",
        encryption_context=parse_encryption_context(options["encryption_context"]),
        key_id=options["key_id"],
        encryption_algorithm=options["encryption_algorithm"],
    )
    if options["batch"]:
        if ciphertext not in (None, "-"):
            raise InputError("--batch reads its ciphertexts from standard input: leave CIPHERTEXT off")
        if options["no_newline"]:
            raise InputError("--batch writes one result per line: leave --no-newline off")
        _decrypt_batch(settings, template)
    elif ciphertext is None:
        raise InputError(
            "CIPHERTEXT: expected base64 text, or - for standard input, got nothing",
            hint=f"{PROGRAM} --help shows examples",
        )
    else:
        _decrypt_one(settings, template, ciphertext, newline=b"" if options["no_newline"] else b"\n")


@click.command()
@with_options(SHARED_OPTIONS)
@click.pass_context
def describe(ctx: click.Context, /, **_options: Any) -> None:
    """Print what the enclave says of itself, as JSON. Nothing in it is proven."""
    settings = parse_settings(merged_options(ctx))
    with settings.open_client() as client:
        click.echo(json.dumps(client.describe(), indent=2))


def _decrypt_one(settings: Settings, template: Decrypt, text: str, *, newline: bytes) -> None:
    output = _standard_output()
    ciphertext = read_ciphertext(_standard_input()) if text == "-" else parse_ciphertext(os.fsencode(text))
    request = dataclasses.replace(template, ciphertext=ciphertext)
    with settings.open_client_with_credentials() as client:
        result = client.decrypt(request)
    output.write(encode_result(result, settings.output_format) + newline)
    output.flush()


def _decrypt_batch(settings: Settings, template: Decrypt) -> None:
    def report(line_number: int, error: ToolError) -> None:
        report_error(PROGRAM, error, subject=f"line {line_number}")

    with settings.open_client_with_credentials() as client:
        failed = decrypt_lines(
            client,
            read_lines(_standard_input()),
            template,
            output_format=settings.output_format,
            write_to=_standard_output(),
            report=report,
        )
    if failed:
        sys.exit(ExitCode.FAILED)


def _standard_input() -> BinaryIO:
    if sys.stdin is None:  # started with it closed, as by <&-
        raise InputError("standard input: expected it to be open, got it closed")
    return sys.stdin.buffer


def _standard_output() -> BinaryIO:
    if sys.stdout is None:  # started with it closed, as by >&-; nothing may be decrypted only to be lost
        raise InputError("standard output: expected it to be open, got it closed")
    return sys.stdout.buffer
