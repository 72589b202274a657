"""kmstool-enclave-cli: one operation per run, for programs inside the enclave, with flags and labeled output."""

from __future__ import annotations

from typing import NoReturn

import click

from enclave_tool.commands.c_command import OneShotCommand
from enclave_tool.commands.inputs import check_standard_input_is_free, read_base64
from enclave_tool.commands.options import CREDENTIAL_OPTIONS, KMS_OPTIONS, NSM_OPTIONS
from enclave_tool.commands.single_call import (
    PROGRAM,
    AttestSettings,
    CallSettings,
    KeyCallSettings,
    attest_and_print,
    call_and_print,
)
from vsock_wire.cli.kms_requests import read_plaintext
from vsock_wire.cli.logs import LOG_FORMATS
from vsock_wire.cli.program import CExitCodes, run_program
from vsock_wire.cli.settings import with_settings
from vsock_wire.cli.shared_options import (
    DRY_RUN,
    ENCRYPTION_ALGORITHM,
    ENCRYPTION_CONTEXT,
    GRANT_TOKEN,
    KEY_ID,
    KEY_PAIR_SPEC,
    KEY_SPEC,
    LOG_FORMAT,
    RANDOM_LENGTH,
    VERBOSE,
)
from vsock_wire.cli.values import parse_hex
from vsock_wire.errors import InputError
from vsock_wire.protocol.attestation import MAX_ATTESTED_BYTES
from vsock_wire.protocol.kms_operations import (
    MAX_CIPHERTEXT_BYTES,
    MAX_PUBLIC_KEY_BYTES,
    MAX_RANDOM_BYTES,
)
from vsock_wire.protocol.vocabulary import DEFAULT_REGION, Operation
from vsock_wire.version import version_text

EncryptionContext = tuple[tuple[str, str], ...]


class _Command(OneShotCommand):
    """A command that takes only flags, and never echoes a stray word, which may be part of a secret."""

    allow_extra_args = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        if ctx.args:
            raise InputError(
                "arguments: unexpected word, not shown because it may be part of a secret",
                hint=f"for usage, run: {PROGRAM} {self.name} --help",
            )
        return rest


class _Group(click.Group):
    command_class = _Command


_REGION_OPTION = click.option(
    "-r", "--region", envvar="REGION", show_envvar=True, metavar="REGION", default=DEFAULT_REGION, show_default=True,
    help="AWS region of KMS.",
)  # fmt: skip
_CONTEXT_OPTION = ENCRYPTION_CONTEXT.declare(click.option)
_KEY_ID_OPTION = KEY_ID.declare(click.option, "-K", required=True)
_LOG_OPTIONS = (VERBOSE.declare(click.option), LOG_FORMAT.declare(click.option, type=click.Choice(LOG_FORMATS)))
_CALL_OPTIONS = (_REGION_OPTION, *KMS_OPTIONS, *_LOG_OPTIONS, *CREDENTIAL_OPTIONS)
_GRANT_OPTIONS = (GRANT_TOKEN.declare(click.option), DRY_RUN.declare(click.option))
_calls_kms = with_settings(CallSettings, *_CALL_OPTIONS)
_uses_key = with_settings(KeyCallSettings, *_GRANT_OPTIONS, *_CALL_OPTIONS)


@click.group(
    PROGRAM, cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80}
)  # fmt: skip
@click.version_option(version_text(), prog_name=PROGRAM)
def command() -> None:
    """Make one attested call to AWS KMS from inside a Nitro Enclave.

    Prints base64. For programs in the enclave that cannot import enclave_tool.
    Flags go after the command's name. Credentials come from the environment,
    from --credentials-fd, or from flags, which every process in the enclave can
    read.

    \b
    Exit codes: 0 success, 1 failure, 2 usage error, 3 unreachable,
    4 no credentials, 5 refused by KMS, 130 interrupted, 141 closed pipe.

    \b
    Example:
      kmstool-enclave-cli decrypt --region us-east-1 --ciphertext "$TEXT"
    """  # noqa: D301 - \b is click's mark for text not to rewrap


@command.command()
@click.option(
    "-c", "--ciphertext", metavar="BASE64", required=True, help="Ciphertext to decrypt; - reads standard input."
)
@KEY_ID.declare(click.option, "-K", help="KMS key that must decrypt it; required for an asymmetric key.")
@ENCRYPTION_ALGORITHM.declare(click.option, "-a")
@_CONTEXT_OPTION
@_uses_key
def decrypt(
    settings: KeyCallSettings,
    ciphertext: str,
    key_id: str | None,
    encryption_algorithm: str | None,
    encryption_context: EncryptionContext,
) -> None:
    """Decrypt --ciphertext and print PLAINTEXT.

    Passes --key-id and --encryption-algorithm to KMS unchanged. Unlike in
    kmstool, --key-id does not need --encryption-algorithm, because a symmetric
    key has only one. An asymmetric algorithm without --key-id is an error:
    such a ciphertext does not name its key. kmstool ignores it.

    \b
    Example:
      kmstool-enclave-cli decrypt --ciphertext "$TEXT" --key-id alias/app
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    blob = read_base64("--ciphertext", ciphertext, MAX_CIPHERTEXT_BYTES, credentials_fd=settings.credentials_fd)
    parameters = {"CiphertextBlob": blob, "KeyId": key_id, "EncryptionAlgorithm": encryption_algorithm}
    call_and_print(settings, Operation.DECRYPT, parameters, encryption_context)


@command.command()
@_KEY_ID_OPTION
@KEY_SPEC.declare(click.option, "-p", type=click.Choice(["AES-256", "AES-128"]), required=True)
@_CONTEXT_OPTION
@_uses_key
def genkey(settings: KeyCallSettings, key_id: str, key_spec: str, encryption_context: EncryptionContext) -> None:
    """Generate a data key and print CIPHERTEXT and PLAINTEXT.

    \b
    Example:
      kmstool-enclave-cli genkey --key-id alias/app --key-spec AES-256
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    parameters = {"KeyId": key_id, "KeySpec": key_spec.replace("-", "_")}
    call_and_print(settings, Operation.GENERATE_DATA_KEY, parameters, encryption_context)


@command.command()
@_KEY_ID_OPTION
@KEY_PAIR_SPEC.declare(click.option)
@_CONTEXT_OPTION
@_uses_key
def genkeypair(
    settings: KeyCallSettings, key_id: str, key_pair_spec: str, encryption_context: EncryptionContext
) -> None:
    """Generate a key pair and print CIPHERTEXT, PUBLIC_KEY and PLAINTEXT.

    PLAINTEXT is the private key in DER; CIPHERTEXT is that key encrypted under
    --key-id.

    \b
    Example:
      kmstool-enclave-cli genkeypair --key-id alias/app \\
          --key-pair-spec ECC_NIST_P256
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    parameters = {"KeyId": key_id, "KeyPairSpec": key_pair_spec}
    call_and_print(settings, Operation.GENERATE_DATA_KEY_PAIR, parameters, encryption_context)


@command.command()
@RANDOM_LENGTH.declare(click.option, "-l", type=click.IntRange(1, MAX_RANDOM_BYTES))
@_calls_kms
def genrandom(settings: CallSettings, length: int) -> None:
    """Generate random bytes and print PLAINTEXT.

    \b
    Example:
      kmstool-enclave-cli genrandom --length 32
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    call_and_print(settings, Operation.GENERATE_RANDOM, {"NumberOfBytes": length})


@command.command()
@_KEY_ID_OPTION
@click.option("--public-key", metavar="BASE64", required=True, help="Peer's public key in DER; - reads standard input.")
@_uses_key
def derive(settings: KeyCallSettings, key_id: str, public_key: str) -> None:
    """Derive the ECDH shared secret with a peer and print PLAINTEXT.

    \b
    Example:
      kmstool-enclave-cli derive --key-id alias/ecc --public-key - < peer.b64
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    der = read_base64("--public-key", public_key, MAX_PUBLIC_KEY_BYTES, credentials_fd=settings.credentials_fd)
    parameters = {"KeyId": key_id, "PublicKey": der, "KeyAgreementAlgorithm": "ECDH"}
    call_and_print(settings, Operation.DERIVE_SHARED_SECRET, parameters)


@command.command()
@_KEY_ID_OPTION
@ENCRYPTION_ALGORITHM.declare(click.option, "-a")
@_CONTEXT_OPTION
@_uses_key
def encrypt(
    settings: KeyCallSettings, key_id: str, encryption_algorithm: str | None, encryption_context: EncryptionContext
) -> None:
    """Encrypt the bytes of standard input and print CIPHERTEXT.

    KMS cannot attest this operation: everyone whom the key policy allows to
    encrypt can do so, with or without an enclave.

    \b
    Example:
      kmstool-enclave-cli encrypt --key-id alias/app < secret
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    check_standard_input_is_free(settings.credentials_fd)
    plaintext = read_plaintext()
    parameters = {"KeyId": key_id, "Plaintext": plaintext, "EncryptionAlgorithm": encryption_algorithm}
    call_and_print(settings, Operation.ENCRYPT, parameters, encryption_context)


@command.command()
@click.option("--nonce", metavar="HEX", help="Nonce to put into the document, at most 1,024 bytes.")
@click.option("--user-data", metavar="HEX", help="Data to put into the document, at most 1,024 bytes.")
@click.option(
    "--public-key",
    metavar="BASE64",
    help="Public key to put into the document, at most 1,024 bytes; - reads standard input.",
)
@with_settings(AttestSettings, *NSM_OPTIONS, *_LOG_OPTIONS)
def attest(settings: AttestSettings, nonce: str | None, user_data: str | None, public_key: str | None) -> None:
    """Print an attestation document of this enclave as DOCUMENT.

    Needs neither KMS nor credentials. The document carries what is given. KMS
    encrypts to the public key in a document that it is sent: give only a key
    whose private half stays in this enclave.

    \b
    Example:
      kmstool-enclave-cli attest --nonce 00ff
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    key = None if public_key is None else read_base64("--public-key", public_key, MAX_ATTESTED_BYTES, least_bytes=0)
    attest_and_print(
        settings,
        nonce=_attested_bytes("--nonce", nonce),
        user_data=_attested_bytes("--user-data", user_data),
        public_key_der=key,
    )


def _attested_bytes(option: str, text: str | None) -> bytes | None:
    return None if text is None else parse_hex(option, text, max_bytes=MAX_ATTESTED_BYTES)


def main() -> NoReturn:
    """Run kmstool-enclave-cli."""
    run_program(PROGRAM, command, click.ClickException, c_exit_codes=CExitCodes(failed=255, help=1))


if __name__ == "__main__":
    main()
