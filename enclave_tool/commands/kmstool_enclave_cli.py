"""kmstool-enclave-cli: one operation for a program inside the enclave, by flags and labelled lines."""

from __future__ import annotations

import os
from typing import Any, BinaryIO, NoReturn

import click

from enclave_tool.commands.options import (
    CONTEXT_OPTIONS,
    CREDENTIAL_OPTIONS,
    ROUTE_OPTIONS,
    find_credentials,
    parse_surroundings,
    read_base64,
    read_standard_input,
)
from enclave_tool.errors import KmsError, RecipientError
from enclave_tool.kms.callers import KmsClients, KmsRoute
from enclave_tool.kms.regional import Tries
from enclave_tool.kms.transport import tls_context
from enclave_tool.nsm.device import open_nsm
from enclave_tool.nsm.entropy import seed_kernel_entropy
from enclave_tool.recipient.recipient import Recipient
from vsock_wire.cli.labels import LABELS
from vsock_wire.cli.program import run_program, set_up_logging
from vsock_wire.cli.shared_options import (
    ENCRYPTION_ALGORITHM,
    KEY_ID,
    KEY_PAIR_SPEC,
    KEY_SPEC,
    RANDOM_LENGTH,
    VERBOSE,
    with_options,
)
from vsock_wire.cli.streams import standard_output
from vsock_wire.cli.values import parse_encryption_context, parse_hex
from vsock_wire.errors import InputError, ToolError
from vsock_wire.protocol.attestation import MAX_ATTESTED_BYTES
from vsock_wire.protocol.json_codec import encode_base64
from vsock_wire.protocol.kms_operations import (
    KMS_OPERATIONS,
    MAX_CIPHERTEXT_BYTES,
    MAX_PLAINTEXT_BYTES,
    MAX_PUBLIC_KEY_BYTES,
    MAX_RANDOM_BYTES,
    KmsRequest,
    encode_kms_result,
)
from vsock_wire.protocol.vocabulary import DEFAULT_REGION, Operation
from vsock_wire.version import version_text

PROGRAM = "kmstool-enclave-cli"
SYMMETRIC_DEFAULT = "SYMMETRIC_DEFAULT"


class OperationError(ToolError):
    """An operation failed; its text starts with kmstool's, where kmstool has one for it."""

    def __init__(self, operation: Operation, error: ToolError) -> None:
        details = ""
        self.exit_code = error.exit_code
        if isinstance(error, KmsError):
            known = {"HTTP": error.http_status, "request id": error.request_id}
            details = ", ".join(f"{name} {value}" for name, value in known.items() if value is not None)
        text = f"{KMS_OPERATIONS[operation].failure}: {error}"
        super().__init__(f"{text} ({details})" if details else text, hint=error.hint)


class _Command(click.Command):
    """A command that takes flags only, and does not repeat a stray word: it may be a part of a secret."""

    allow_extra_args = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        if ctx.args:
            raise InputError(
                "arguments: expected flags and their values only, got another word",
                hint=f"{PROGRAM} {self.name} --help shows what it takes",
            )
        return rest


class _Group(click.Group):
    command_class = _Command


_SHARED = (
    click.option(
        "--region", envvar="REGION", show_envvar=True, metavar="REGION", default=DEFAULT_REGION, show_default=True,
        help="AWS region of KMS.",
    ),
    *ROUTE_OPTIONS,
    VERBOSE.declare(click.option),
)  # fmt: skip
_KEY_ID = KEY_ID.declare(click.option, required=True)
_KMS = (*_SHARED, *CREDENTIAL_OPTIONS)


@click.group(
    PROGRAM, cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80}
)  # fmt: skip
@click.version_option(version_text(), prog_name=PROGRAM)
def command() -> None:
    """Call AWS KMS from inside a Nitro Enclave, attested, and print base64.

    For programs in the enclave that run another program more easily than they
    import enclave_tool. Flags stand behind the command's name. Credentials come
    from the environment, from --credentials-fd, or from flags, which every
    process of the enclave can read.

    \b
    Exit codes: 0 done, 1 failed, 2 usage, 3 not reached, 4 no credentials,
    5 refused by KMS, 130 interrupted.

    \b
    Example:
      kmstool-enclave-cli decrypt --region us-east-1 --ciphertext "$TEXT"
    """  # noqa: D301 - \b is click's mark for text not to rewrap


@command.command()
@click.option("--ciphertext", metavar="BASE64", required=True, help="What to decrypt; - reads standard input.")
@KEY_ID.declare(click.option, help="The only KMS key that may open it; needed for an asymmetric one.")
@ENCRYPTION_ALGORITHM.declare(click.option)
@with_options(CONTEXT_OPTIONS, _KMS)
def decrypt(ciphertext: str, key_id: str | None, encryption_algorithm: str | None, **options: Any) -> None:
    """Decrypt --ciphertext, and print PLAINTEXT.

    Each of --key-id and --encryption-algorithm goes to KMS as it is given.
    Unlike kmstool's, --key-id needs no algorithm beside it, as a symmetric key
    has but one; an asymmetric algorithm without a key is an error, where
    kmstool ignores it: no ciphertext of such a key names the key.

    \b
    Example:
      kmstool-enclave-cli decrypt --ciphertext "$TEXT" --key-id alias/app
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    if encryption_algorithm not in (None, SYMMETRIC_DEFAULT) and not key_id:
        raise InputError("--encryption-algorithm: expected --key-id beside an asymmetric algorithm, got none")
    blob = read_base64("--ciphertext", ciphertext, MAX_CIPHERTEXT_BYTES, options)
    _call(Operation.DECRYPT, options, CiphertextBlob=blob, KeyId=key_id, EncryptionAlgorithm=encryption_algorithm)


@command.command()
@_KEY_ID
@KEY_SPEC.declare(click.option, type=click.Choice(["AES-256", "AES-128"]), required=True)
@with_options(CONTEXT_OPTIONS, _KMS)
def genkey(key_id: str, key_spec: str, **options: Any) -> None:
    """Generate a data key, and print CIPHERTEXT and PLAINTEXT.

    \b
    Example:
      kmstool-enclave-cli genkey --key-id alias/app --key-spec AES-256
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    _call(Operation.GENERATE_DATA_KEY, options, KeyId=key_id, KeySpec=key_spec.replace("-", "_"))


@command.command()
@_KEY_ID
@KEY_PAIR_SPEC.declare(click.option)
@with_options(CONTEXT_OPTIONS, _KMS)
def genkeypair(key_id: str, key_pair_spec: str, **options: Any) -> None:
    """Generate a key pair, and print CIPHERTEXT, PUBLIC_KEY and PLAINTEXT.

    CIPHERTEXT and PLAINTEXT are the private key, under --key-id and in DER.

    \b
    Example:
      kmstool-enclave-cli genkeypair --key-id alias/app \\
          --key-pair-spec ECC_NIST_P256
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    _call(Operation.GENERATE_DATA_KEY_PAIR, options, KeyId=key_id, KeyPairSpec=key_pair_spec)


@command.command()
@RANDOM_LENGTH.declare(click.option, type=click.IntRange(1, MAX_RANDOM_BYTES))
@with_options(_KMS)
def genrandom(length: int, **options: Any) -> None:
    """Generate random bytes, and print PLAINTEXT.

    \b
    Example:
      kmstool-enclave-cli genrandom --length 32
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    _call(Operation.GENERATE_RANDOM, options, NumberOfBytes=length)


@command.command()
@_KEY_ID
@click.option("--public-key", metavar="BASE64", required=True, help="The peer's, in DER; - reads standard input.")
@with_options(_KMS)
def derive(key_id: str, public_key: str, **options: Any) -> None:
    """Derive the ECDH shared secret with a peer, and print PLAINTEXT.

    \b
    Example:
      kmstool-enclave-cli derive --key-id alias/ecc --public-key - < peer.b64
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    der = read_base64("--public-key", public_key, MAX_PUBLIC_KEY_BYTES, options)
    _call(Operation.DERIVE_SHARED_SECRET, options, KeyId=key_id, PublicKey=der, KeyAgreementAlgorithm="ECDH")


@command.command()
@_KEY_ID
@ENCRYPTION_ALGORITHM.declare(click.option)
@with_options(CONTEXT_OPTIONS, _KMS)
def encrypt(key_id: str, encryption_algorithm: str | None, **options: Any) -> None:
    """Encrypt the bytes of standard input, and print CIPHERTEXT.

    KMS does not attest this operation: whom the key policy lets encrypt can,
    with or without an enclave.

    \b
    Example:
      kmstool-enclave-cli encrypt --key-id alias/app < secret
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    plaintext = read_standard_input(MAX_PLAINTEXT_BYTES, options)
    if not plaintext:
        raise InputError(f"standard input: expected 1 to {MAX_PLAINTEXT_BYTES} bytes to encrypt, got nothing")
    _call(Operation.ENCRYPT, options, KeyId=key_id, Plaintext=plaintext, EncryptionAlgorithm=encryption_algorithm)


@command.command()
@click.option("--nonce", metavar="HEX", help="For the document to carry, at most 512 bytes.")
@click.option("--user-data", metavar="HEX", help="For the document to carry, at most 512 bytes.")
@with_options(_SHARED)
def attest(nonce: str | None, user_data: str | None, **options: Any) -> None:
    """Print an attestation document of this enclave as DOCUMENT.

    Neither KMS nor credentials are needed. The document carries no public key.

    \b
    Example:
      kmstool-enclave-cli attest --nonce 00ff
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    set_up_logging("enclave_tool", verbosity=1 + options["verbose"])
    surroundings = parse_surroundings(options)
    fields = {"nonce": _attested_bytes("--nonce", nonce), "user_data": _attested_bytes("--user-data", user_data)}
    output = standard_output()
    with open_nsm(surroundings.nsm) as nsm:
        seed_kernel_entropy(nsm)
        document = nsm.attestation_document(**fields)
    _write_lines(output, {"DOCUMENT": encode_base64(document)})


def _attested_bytes(option: str, text: str | None) -> bytes | None:
    return None if text is None else parse_hex(option, text, max_bytes=MAX_ATTESTED_BYTES)


def main() -> NoReturn:
    """Run kmstool-enclave-cli."""
    run_program(PROGRAM, command, click.ClickException)


def _call(operation: Operation, options: dict[str, Any], **parameters: Any) -> None:
    """Call KMS and print what it gives; parameters that are None stay out of the request."""
    set_up_logging("enclave_tool", verbosity=1 + options["verbose"])
    surroundings = parse_surroundings(options)
    parameters["EncryptionContext"] = parse_encryption_context(options.get("encryption_context", ()))
    request = KmsRequest(operation, {name: value for name, value in parameters.items() if value not in (None, {})})
    credentials = find_credentials(options, os.environ)
    output = standard_output()
    route = KmsRoute(surroundings.proxy, tls_context(surroundings.ca_file), surroundings.endpoint_host)
    with open_nsm(surroundings.nsm) as nsm:
        seed_kernel_entropy(nsm)  # before any key is made
        clients = KmsClients(Recipient(nsm), route)
        caller = clients.caller(credentials, surroundings.region or DEFAULT_REGION)
        try:
            fields = encode_kms_result(operation, caller.call(request, Tries()))
            lines = {label: _field(operation, fields, name) for label, name in LABELS[operation].items()}
        except ToolError as error:
            raise OperationError(operation, error) from error
    _write_lines(output, lines)


def _field(operation: Operation, fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise RecipientError(f"KMS {operation}: expected {name} in answer, got none")
    return value


def _write_lines(output: BinaryIO, lines: dict[str, str]) -> None:
    output.write("".join(f"{label}: {text}\n" for label, text in lines.items()).encode("ascii"))
    output.flush()


if __name__ == "__main__":
    main()
