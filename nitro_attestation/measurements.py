"""Measurements of an enclave image: parse what nitro-cli prints, and compare it with a document (pure).

Source: AWS Nitro Enclaves user guide, "nitro-cli build-enclave", "nitro-cli describe-eif", "nitro-cli
describe-enclaves", "nitro-cli pcr", and "Where to get an enclave's measurements".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from nitro_attestation.document.payload import PCR_COUNT, AttestationDocument
from nitro_attestation.errors import AttestationError, MeasurementError
from nitro_attestation.quoting import quoted
from nitro_attestation.strict_json import decode_strict_json

MAX_MEASUREMENTS_BYTES = 262_144
"""Maximum size of a measurements file. describe-eif adds metadata of the container image, which can be long."""
PCR_BYTES = 48
"""Size of a SHA-384 digest, the only digest that Nitro Enclaves use."""
IMAGE_PCR = 0
SIGNER_PCR = 8
HASH_ALGORITHMS = ("Sha384", "Sha512_48")
"""Two names of SHA-384. nitro-cli prints its hasher's debug text: "Sha384 { ... }" up to 1.4.4, and "Sha512_48 { .. }"
(SHA-512 cut to 48 bytes, which is SHA-384) since 1.5.0. Source: nitro-cli's output and its sha2 dependency."""
DEBUG_FLAG = "DEBUG_MODE"
_UNNAMED_PCR = "PCR"
"""The name that nitro-cli pcr --input gives its result."""

_NONE: Mapping[int, bytes] = MappingProxyType({})
_HASH_ALGORITHM = re.compile(rf"(?:{'|'.join(HASH_ALGORITHMS)})\s*(?:\{{.*\}})?", re.ASCII | re.DOTALL)
_PCR_NAME = re.compile(r"PCR(0|[1-9][0-9]?)", re.ASCII)
_SOURCES_HINT = "nitro-cli build-enclave, describe-eif, describe-enclaves and pcr print measurements"
_DEBUG_HINT = (
    "an enclave in debug mode shows zeros, which do not identify an image: use the measurements that nitro-cli"
    " build-enclave prints, and run the enclave without --debug-mode"
)
_NO_ENCLAVE_HINT = (
    "nitro-cli describe-enclaves lists only the enclaves of the calling user: try sudo nitro-cli describe-enclaves, or"
    " nitro-cli describe-eif for an image that is not running"
)
_UNNAMED_HINT = (
    "nitro-cli pcr --input hashes any file and does not know which PCR it is for: pass the value as --pcr N=HEX, or use"
    " the measurements that nitro-cli build-enclave or describe-eif prints"
)
_UNSIGNED_HINT = (
    "PCR8 is all zeros if the image is not signed: nitro-cli build-enclave signs it with --private-key and"
    " --signing-certificate"
)


def parse_measurements(text: bytes) -> dict[int, bytes]:
    """Parse the measurements of one enclave image.

    Does not establish that the image can be trusted: that depends on where the file comes from.

    Args:
        text: JSON as ``nitro-cli`` prints it for build-enclave, describe-eif, describe-enclaves (of one enclave) or
            pcr, at most MAX_MEASUREMENTS_BYTES bytes.

    Returns:
        Values of PCR_BYTES bytes, by PCR index; at least one.

    Raises:
        MeasurementError: the text is malformed or contains no PCR; a PCR is all zeros or not a SHA-384 digest; or
            nitro-cli reports that no enclave is running, that it runs in debug mode, or that the image is damaged.
    """
    output = _only_enclave(_decode_json(text))
    _check_flags(output)
    measured = output.get("Measurements", output)
    if not isinstance(measured, dict):
        raise MeasurementError(f"Measurements: expected an object, got {type(measured).__name__}")
    _check_algorithm(measured.get("HashAlgorithm", HASH_ALGORITHMS[0]))
    if _UNNAMED_PCR in measured:
        raise MeasurementError("PCR: the name does not say which PCR it is", hint=_UNNAMED_HINT)
    pcrs = {int(match[1]): _pcr(name, measured[name]) for name in measured if (match := _PCR_NAME.fullmatch(name))}
    if not pcrs:
        raise MeasurementError("measurements: no PCR found", hint=_SOURCES_HINT)
    if max(pcrs) >= PCR_COUNT:
        raise MeasurementError(f"measurements: expected PCR0 to PCR{PCR_COUNT - 1}, got PCR{max(pcrs)}")
    return pcrs


def parse_pcr_options(entries: Iterable[str]) -> dict[int, bytes]:
    """Return the PCRs of repeated ``--pcr N=HEX`` options, by index.

    Raises:
        MeasurementError: an entry is malformed, an index is given twice, or a value is all zeros.
    """
    pcrs: dict[int, bytes] = {}
    for entry in entries:
        index_text, _, value = entry.partition("=")
        if not (re.fullmatch(r"[0-9]{1,2}", index_text, re.ASCII) and int(index_text) < PCR_COUNT):
            raise MeasurementError(f"--pcr: expected N=HEX with N from 0 to {PCR_COUNT - 1}, got {quoted(entry)}")
        if (index := int(index_text)) in pcrs:
            raise MeasurementError(
                f"--pcr: PCR{index} is given twice",
                hint="for a policy for several images, pass --measurements once for each image",
            )
        pcrs[index] = _pcr(f"PCR{index}", value)
    return pcrs


def identifying_pcrs(measured: Mapping[int, bytes], given: Mapping[int, bytes] = _NONE) -> dict[int, bytes]:
    """Return the PCRs that identify an image: PCR0 and PCR8 of its measurements, and all those in ``given``.

    PCR1 and PCR2 are left out: they measure parts of what PCR0 measures as a whole.

    Args:
        measured: PCRs of the image's measurements, as parse_measurements returns them.
        given: PCRs from elsewhere, such as PCR3 of the parent instance's role.

    Raises:
        MeasurementError: a PCR has different values in the two.
    """
    for index in sorted(measured.keys() & given.keys()):
        if measured[index] != given[index]:
            raise MeasurementError(f"--pcr {index}: differs from the value in the measurements")
    return {index: value for index, value in measured.items() if index in (IMAGE_PCR, SIGNER_PCR)} | dict(given)


def verify_measurements(document: AttestationDocument, expected: Mapping[int, bytes]) -> None:
    """Check that a document has the expected PCRs. Does not verify the document.

    Raises:
        AttestationError: a PCR is missing or differs; the error names the first one, and its hint lists the others.
    """
    wrong = [index for index in sorted(expected) if document.pcrs.get(index) != expected[index]]
    if not wrong:
        return
    index, *others = wrong
    got = document.pcrs.get(index)
    hints = [f"also different: {', '.join(f'PCR{other}' for other in others)}"] if others else []
    if document.is_debug:
        hints.append("the enclave runs in debug mode, which shows zeros: run it without --debug-mode")
    elif index == SIGNER_PCR and got is not None and not any(got):
        hints.append(_UNSIGNED_HINT)
    raise AttestationError(
        f"PCR{index}",
        f"expected {expected[index].hex()}, got {'none' if got is None else got.hex()}",
        hint="; ".join(hints) or "the document comes from another image, or the measurements from another build",
    )


def _decode_json(text: bytes) -> object:
    if len(text) > MAX_MEASUREMENTS_BYTES:
        raise MeasurementError(f"measurements: longer than {MAX_MEASUREMENTS_BYTES} bytes")
    try:
        return decode_strict_json(text.decode("utf-8"))
    except ValueError:
        raise MeasurementError("measurements: not valid JSON", hint=_SOURCES_HINT) from None


def _only_enclave(output: object) -> dict[str, Any]:
    if isinstance(output, list):
        if not output:
            raise MeasurementError("measurements: no enclave is running", hint=_NO_ENCLAVE_HINT)
        if len(output) != 1:
            raise MeasurementError(
                f"measurements: expected one enclave, got {len(output)}",
                hint="jq '.[0]' takes the first of what nitro-cli describe-enclaves prints",
            )
        (output,) = output
    if not isinstance(output, dict):
        raise MeasurementError("measurements: not a JSON object", hint=_SOURCES_HINT)
    return output


def _check_flags(output: Mapping[str, Any]) -> None:
    """Refuse output in which nitro-cli itself reports a problem.

    For an enclave in debug mode, describe-enclaves prints the image's measurements, although its documents show zeros.
    """
    if DEBUG_FLAG in str(output.get("Flags", "")):
        raise MeasurementError(f"Flags: the enclave runs in debug mode ({DEBUG_FLAG})", hint=_DEBUG_HINT)
    for name in ("CheckCRC", "SignatureCheck"):
        if output.get(name) is False:
            raise MeasurementError(f"{name}: expected true, got false", hint="the enclave image file is damaged")


def _check_algorithm(algorithm: object) -> None:
    if not (isinstance(algorithm, str) and _HASH_ALGORITHM.fullmatch(algorithm)):
        expected = " or ".join(HASH_ALGORITHMS)
        raise MeasurementError(f"HashAlgorithm: expected {expected}, got {quoted(str(algorithm))}")


def _pcr(name: str, value: object) -> bytes:
    if not (isinstance(value, str) and re.fullmatch(r"[0-9A-Fa-f]+", value) and len(value) == 2 * PCR_BYTES):
        got = f"{len(value)} characters" if isinstance(value, str) else type(value).__name__
        raise MeasurementError(f"{name}: expected {2 * PCR_BYTES} hexadecimal digits, got {got}")
    pcr = bytes.fromhex(value)
    if not any(pcr):
        hint = _UNSIGNED_HINT if name == f"PCR{SIGNER_PCR}" else _DEBUG_HINT
        raise MeasurementError(f"{name}: all zeros, which is not a measurement", hint=hint)
    return pcr
