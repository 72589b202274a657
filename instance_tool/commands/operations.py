"""The commands that have the enclave call KMS."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from instance_tool.console.ciphertext import LineReader
from instance_tool.console.kms_requests import ciphertext_argument, keyed_request, kms_request, with_ciphertext
from instance_tool.console.options import (
    CONTEXT_OPTIONS,
    DECRYPT_OPTIONS,
    KEY_OPTION,
    PROGRAM,
    SHARED_OPTIONS,
    Settings,
    merged_options,
    parse_settings,
)
from instance_tool.console.output import encode_result
from vsock_wire.cli.program import report_error
from vsock_wire.cli.shared_options import ENCRYPTION_ALGORITHM, KEY_PAIR_SPEC, KEY_SPEC, RANDOM_LENGTH, with_options
from vsock_wire.cli.streams import read_file, standard_input, standard_output
from vsock_wire.errors import ExitCode, InputError, ToolError
from vsock_wire.protocol.kms_operations import (
    MAX_PLAINTEXT_BYTES,
    MAX_PUBLIC_KEY_BYTES,
    MAX_RANDOM_BYTES,
    KmsRequest,
)
from vsock_wire.protocol.recording import is_recording, record
from vsock_wire.protocol.vocabulary import Operation

_LENGTH = click.IntRange(1, MAX_RANDOM_BYTES)


@click.command()
@click.argument("ciphertext", required=False)
@with_options(SHARED_OPTIONS, DECRYPT_OPTIONS)
@click.pass_context
def decrypt(ctx: click.Context, /, ciphertext: str | None = None, **_options: Any) -> None:
    """Decrypt one CIPHERTEXT, or many with --batch. The default command.

    \b
    Examples:
      kmstool-instance decrypt --cid 16 --key-id alias/app - < secret.b64
      kmstool-instance decrypt --cid 16 --batch < ciphertexts > plaintexts
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    options = merged_options(ctx)
    settings = parse_settings(options)
    template = kms_request(Operation.DECRYPT, options)
    if options["batch"]:
        if ciphertext not in (None, "-"):
            raise InputError("--batch reads its ciphertexts from standard input: leave CIPHERTEXT off")
        if settings.is_explained:
            raise InputError("--explain tells of one call: leave --batch off")
        if options["no_newline"]:
            raise InputError("--batch writes one result per line: leave --no-newline off")
        _decrypt_batch(settings, template, is_quiet=options["quiet"])
    elif ciphertext is None:
        raise InputError(
            "CIPHERTEXT: expected base64 text, or - for standard input, got nothing",
            hint=f"{PROGRAM} --help shows examples",
        )
    else:
        _call(settings, with_ciphertext(template, ciphertext_argument(ciphertext)), newline=not options["no_newline"])


@click.command()
@with_options(SHARED_OPTIONS, CONTEXT_OPTIONS)
@KEY_SPEC.declare(click.option, type=click.Choice(["AES_256", "AES_128", "AES-256", "AES-128"]))
@click.option("--length", type=_LENGTH, metavar="BYTES", help="Size of the data key, instead of --key-spec.")
@click.pass_context
def genkey(ctx: click.Context, /, key_spec: str | None, length: int | None, **_options: Any) -> None:
    """Generate a data key: as it is, and under the KMS key --key-id.

    \b
    Example:
      kmstool-instance genkey --cid 16 --key-id alias/app --output json
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    options = merged_options(ctx)
    if key_spec and length:
        raise InputError("--key-spec and --length exclude each other")
    spec = {"NumberOfBytes": length} if length else {"KeySpec": (key_spec or "AES_256").replace("-", "_")}
    _call(parse_settings(options), keyed_request(Operation.GENERATE_DATA_KEY, options, **spec))


@click.command()
@with_options(SHARED_OPTIONS, CONTEXT_OPTIONS)
@KEY_PAIR_SPEC.declare(click.option)
@click.pass_context
def genkeypair(ctx: click.Context, /, key_pair_spec: str, **_options: Any) -> None:
    """Generate a key pair: public key, private key, and that under --key-id.

    \b
    Example:
      kmstool-instance genkeypair --cid 16 --key-id alias/app \\
          --key-pair-spec RSA_2048
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    options = merged_options(ctx)
    request = keyed_request(Operation.GENERATE_DATA_KEY_PAIR, options, KeyPairSpec=key_pair_spec)
    _call(parse_settings(options), request)


@click.command()
@with_options(SHARED_OPTIONS)
@RANDOM_LENGTH.declare(click.option, type=_LENGTH)
@click.option("-n", "--no-newline", is_flag=True, help="Write no newline behind the bytes.")
@click.pass_context
def genrandom(ctx: click.Context, /, length: int, **_options: Any) -> None:
    """Generate random bytes.

    \b
    Example:
      kmstool-instance genrandom --cid 16 --length 32 --output base64
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    options = merged_options(ctx)
    request = KmsRequest(Operation.GENERATE_RANDOM, {"NumberOfBytes": length})
    _call(parse_settings(options), request, newline=not options["no_newline"])


@click.command()
@with_options(SHARED_OPTIONS, (KEY_OPTION,))
@click.option("--public-key", type=click.Path(path_type=Path), required=True, help="The peer's public key, DER.")
@click.option("-n", "--no-newline", is_flag=True, help="Write no newline behind the secret.")
@click.pass_context
def derive(ctx: click.Context, /, public_key: Path, **_options: Any) -> None:
    """Derive the ECDH shared secret of --key-id and a peer's public key.

    \b
    Example:
      kmstool-instance derive --cid 16 --key-id alias/ecc --public-key peer.der
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    options = merged_options(ctx)
    public_key_der = read_file(public_key, "--public-key", max_bytes=MAX_PUBLIC_KEY_BYTES)
    request = keyed_request(
        Operation.DERIVE_SHARED_SECRET, options, PublicKey=public_key_der, KeyAgreementAlgorithm="ECDH"
    )
    _call(parse_settings(options), request, newline=not options["no_newline"])


@click.command()
@with_options(SHARED_OPTIONS, CONTEXT_OPTIONS)
@ENCRYPTION_ALGORITHM.declare(click.option)
@click.pass_context
def encrypt(ctx: click.Context, /, **_options: Any) -> None:
    """Encrypt standard input under --key-id, and print base64.

    KMS does not attest this operation: anybody whom the key policy lets
    encrypt can, with or without an enclave.

    \b
    Example:
      kmstool-instance encrypt --cid 16 --key-id alias/app < secret > secret.b64
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    options = merged_options(ctx)
    settings = parse_settings(options)
    template = keyed_request(Operation.ENCRYPT, options)
    plaintext = standard_input().read(MAX_PLAINTEXT_BYTES + 1)
    if not 1 <= len(plaintext) <= MAX_PLAINTEXT_BYTES:
        got = "nothing" if not plaintext else "more"
        raise InputError(f"standard input: expected 1 to {MAX_PLAINTEXT_BYTES} bytes to encrypt, got {got}")
    _call(settings, KmsRequest(Operation.ENCRYPT, {**template.parameters, "Plaintext": plaintext}))


def _call(settings: Settings, request: KmsRequest, *, newline: bool = True) -> None:
    output = standard_output()
    with settings.explaining(request.operation):
        with settings.open_client_with_credentials() as client:
            result = client.ask_enclave(request)
        encoded = encode_result(request.operation, result, settings.output_format) + (b"\n" if newline else b"")
        output.write(encoded)
        output.flush()
        if is_recording():
            from vsock_wire.protocol.trace import Printed  # noqa: PLC0415 - not for calls that nobody records

            record(Printed(len(encoded)))


def _decrypt_batch(settings: Settings, template: KmsRequest, *, is_quiet: bool) -> None:
    from instance_tool.console.batch import decrypt_lines  # noqa: PLC0415 - a single decrypt must not wait for them
    from instance_tool.console.progress import Progress  # noqa: PLC0415

    progress = Progress(is_quiet=is_quiet)

    def report(line_number: int, error: ToolError) -> None:
        progress.clear()
        report_error(PROGRAM, error, subject=f"line {line_number}")

    lines = LineReader(standard_input())
    with settings.open_client_with_credentials() as client:
        failed = decrypt_lines(
            client,
            lines,
            template,
            output_format=settings.output_format,
            write_to=standard_output(),
            report=report,
            show_progress=progress.show,
            is_ready=lines.is_ready,
        )
    progress.clear()
    if failed:
        sys.exit(ExitCode.FAILED)
