from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from nitro_attestation.errors import AttestationError, MeasurementError
from nitro_attestation.measurements import (
    MAX_MEASUREMENTS_BYTES,
    identifying_pcrs,
    parse_measurements,
    parse_pcr_options,
    verify_measurements,
)
from tests.support.attestation.documents import PCRS, SIGNED_PCRS, make_fields, measurements

BUILT = measurements()
MEASURED = {index: PCRS[index] for index in (0, 1, 2)}
ZEROS = "0" * 96


def _parse(output: object) -> dict[int, bytes]:
    return parse_measurements(json.dumps(output).encode())


def _changed(**changes: Any) -> dict[str, Any]:
    return {"Measurements": BUILT["Measurements"] | changes}


@pytest.mark.parametrize(
    "output",
    [
        BUILT,
        {"EifVersion": 4, **BUILT, "IsSigned": False, "CheckCRC": True, "ImageName": "hello", "Metadata": {"a": [1]}},
        [{"EnclaveName": "hello", "EnclaveCID": 16, "State": "RUNNING", "Flags": "NONE", **BUILT}],
    ],
    ids=["build-enclave", "describe-eif", "describe-enclaves"],
)
def test_output_of_nitro_cli_is_read(output: object) -> None:
    assert _parse(output) == MEASURED


HASH_ALGORITHMS = {
    "nitro-cli up to 1.4.4": "Sha384 { ... }",
    "nitro-cli 1.5.0": "Sha512_48 { .. }",
}
OUTPUTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "build-enclave": lambda printed: printed,
    "describe-eif": lambda printed: {
        "EifVersion": 4,
        **printed,
        "IsSigned": "PCR8" in printed["Measurements"],
        "CheckCRC": True,
        "ImageName": "hello",
        "ImageVersion": "1.0",
        "Metadata": {"BuildTool": "nitro-cli"},
    },
    "sign-eif": lambda printed: printed,
    "describe-enclaves": lambda printed: [{"EnclaveName": "hello", "EnclaveCID": 16, "Flags": "NONE", **printed}],
}
"""What each command of nitro-cli that prints measurements puts around them."""


@pytest.mark.parametrize("algorithm", HASH_ALGORITHMS.values(), ids=HASH_ALGORITHMS)
@pytest.mark.parametrize("wrap", OUTPUTS.values(), ids=OUTPUTS)
@pytest.mark.parametrize("pcrs", [MEASURED, MEASURED | {8: SIGNED_PCRS[8]}], ids=["unsigned", "signed"])
def test_both_spellings_of_sha384_are_read(
    algorithm: str, wrap: Callable[[dict[str, Any]], object], pcrs: dict[int, bytes]
) -> None:
    printed = {"Measurements": {"HashAlgorithm": algorithm, **{f"PCR{i}": pcr.hex() for i, pcr in pcrs.items()}}}
    assert _parse(wrap(printed)) == pcrs


@pytest.mark.parametrize(
    "algorithm",
    ["Sha512 { .. }", "Sha512_480 { .. }", "Sha512_32 { .. }", "Sha3840", "Sha384 {", "Sha384 x", "sha512_48", None],
)
def test_other_hash_algorithm_is_refused(algorithm: object) -> None:
    with pytest.raises(MeasurementError, match="HashAlgorithm: expected Sha384 or Sha512_48"):
        _parse(_changed(HashAlgorithm=algorithm))


def test_signed_image_has_pcr8_too() -> None:
    assert _parse(measurements(SIGNED_PCRS)) == MEASURED | {8: SIGNED_PCRS[8]}


def test_output_of_nitro_cli_pcr_is_read() -> None:
    assert _parse({"PCR8": SIGNED_PCRS[8].hex().upper()}) == {8: SIGNED_PCRS[8]}


@pytest.mark.parametrize(
    ("output", "named"),
    [
        ([], "no enclave is running"),
        ({"PCR": "ab" * 48}, "PCR: the name does not say which PCR it is"),
        ([BUILT, BUILT], "one enclave, got 2"),
        ([7], "JSON object"),
        ("PCR0", "JSON object"),
        ({}, "measurements: no PCR found"),
        ({"EnclaveID": "i-1", "EnclaveCID": 16}, "no PCR found"),
        ({"Measurements": [1]}, "Measurements: expected an object"),
        ({"Measurements": {}}, "no PCR found"),
        (_changed(HashAlgorithm="Sha256 { ... }"), "HashAlgorithm"),
        (_changed(HashAlgorithm=384), "HashAlgorithm"),
        (_changed(PCR0="EXAMPLE" * 13), "PCR0: expected 96 hexadecimal digits, got 91 characters"),
        (_changed(PCR1="ab" * 32), "PCR1"),
        (_changed(PCR2=12), "PCR2: expected 96 hexadecimal digits, got int"),
        (_changed(PCR2="é" * 96), "PCR2"),
        (_changed(PCR32="ab" * 48), "PCR31"),
        ({**BUILT, "CheckCRC": False}, "CheckCRC"),
        ({**BUILT, "IsSigned": True, "SignatureCheck": False}, "SignatureCheck"),
    ],
)
def test_other_output_is_refused_naming_what_is_wrong(output: object, named: str) -> None:
    with pytest.raises(MeasurementError) as error:
        _parse(output)
    assert named in str(error.value)


@pytest.mark.parametrize("text", [b"", b"PCR0", b"\xff\xfe", b'{"PCR0": "aa", "PCR0": "bb"}', b"[" * 100_000])
def test_text_that_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(MeasurementError, match="measurements: not valid JSON"):
        parse_measurements(text)


def test_text_over_the_limit_is_refused() -> None:
    with pytest.raises(MeasurementError, match="longer than 262144 bytes"):
        parse_measurements(json.dumps(BUILT).encode() + b" " * MAX_MEASUREMENTS_BYTES)


@pytest.mark.parametrize(
    ("output", "hint"),
    [
        (_changed(PCR0=ZEROS), "debug mode"),
        (_changed(PCR2=ZEROS), "debug mode"),
        (_changed(PCR8=ZEROS), "not signed"),
        ([{**BUILT, "Flags": "DEBUG_MODE"}], "debug mode"),
    ],
)
def test_zeros_and_debug_mode_are_refused_with_a_hint(output: object, hint: str) -> None:
    with pytest.raises(MeasurementError) as error:
        _parse(output)
    assert hint in (error.value.hint or "")


def test_pcr_options_are_read() -> None:
    assert parse_pcr_options([f"3={'AB' * 48}", f"31={'cd' * 48}"]) == {3: b"\xab" * 48, 31: b"\xcd" * 48}


@pytest.mark.parametrize("entry", ["", "3", "=ab", "PCR3=" + "ab" * 48, "32=" + "ab" * 48, "-1=" + "ab" * 48, "3=ab"])
def test_pcr_option_of_another_form_is_refused(entry: str) -> None:
    with pytest.raises(MeasurementError, match=r"--pcr: expected N=HEX|PCR3: expected 96"):
        parse_pcr_options([entry])


def test_pcr_option_twice_is_refused() -> None:
    with pytest.raises(MeasurementError, match="PCR3 is given twice"):
        parse_pcr_options([f"3={'ab' * 48}", f"03={'ab' * 48}"])


def test_pcr_option_must_agree_with_the_measurements() -> None:
    assert identifying_pcrs(MEASURED, {0: PCRS[0], 3: PCRS[3]}) == {0: PCRS[0], 3: PCRS[3]}
    with pytest.raises(MeasurementError, match="--pcr 0"):
        identifying_pcrs(MEASURED, {0: PCRS[1]})


def test_image_is_identified_by_pcr0_and_its_signature_by_pcr8() -> None:
    assert identifying_pcrs(_parse(measurements(SIGNED_PCRS)), {}) == {0: PCRS[0], 8: SIGNED_PCRS[8]}
    assert identifying_pcrs(MEASURED, {1: PCRS[1]}) == {0: PCRS[0], 1: PCRS[1]}


def test_document_of_the_same_image_passes() -> None:
    verify_measurements(make_fields(), MEASURED)


def test_document_of_another_image_is_refused_naming_the_pcr() -> None:
    other = make_fields(pcrs=PCRS | {1: b"\x01" * 48, 2: b"\x02" * 48})
    with pytest.raises(AttestationError) as error:
        verify_measurements(other, MEASURED)
    assert (error.value.field, error.value.reason) == ("PCR1", f"expected {PCRS[1].hex()}, got {'01' * 48}")
    assert "PCR2" in (error.value.hint or "")


def test_document_in_debug_mode_is_refused_and_the_hint_says_so() -> None:
    with pytest.raises(AttestationError) as error:
        verify_measurements(make_fields(debug=True), MEASURED)
    assert error.value.field == "PCR0"
    assert "debug mode" in (error.value.hint or "")


def test_unsigned_image_is_refused_where_a_signed_one_is_expected() -> None:
    with pytest.raises(AttestationError) as error:
        verify_measurements(make_fields(), {8: SIGNED_PCRS[8]})
    assert error.value.field == "PCR8"
    assert "not signed" in (error.value.hint or "")


def test_pcr_that_the_document_does_not_have_is_refused() -> None:
    with pytest.raises(AttestationError, match=r"PCR20: expected abab.*, got none"):
        verify_measurements(make_fields(), {20: b"\xab" * 48})
