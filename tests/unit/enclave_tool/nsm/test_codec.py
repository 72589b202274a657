from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_tool.errors import NsmError
from enclave_tool.nsm.codec import (
    MAX_DEPTH,
    MAX_REQUEST_BYTES,
    MAX_RESPONSE_BYTES,
    NsmDescription,
    decode_attestation_response,
    decode_describe_response,
    decode_random_response,
    encode_attestation_request,
    encode_describe_request,
    encode_random_request,
)
from vsock_wire.protocol.attestation import MAX_ATTESTED_BYTES

DESCRIPTION = {
    "version_major": 1,
    "version_minor": 0,
    "version_patch": 0,
    "module_id": "i-0123-enc0123",
    "max_pcrs": 32,
    "locked_pcrs": [0, 1, 2, 4],
    "digest": "SHA384",
}

DECODERS: dict[str, Callable[[bytes], object]] = {
    "Attestation": decode_attestation_response,
    "GetRandom": decode_random_response,
    "DescribeNSM": decode_describe_response,
}
GOOD = {
    "Attestation": {"Attestation": {"document": b"a document"}},
    "GetRandom": {"GetRandom": {"random": bytes(256)}},
    "DescribeNSM": {"DescribeNSM": DESCRIPTION},
}


@pytest.fixture(params=list(DECODERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def refusal_of(name: str, response: bytes) -> NsmError:
    with pytest.raises(NsmError) as caught:
        DECODERS[name](response)
    assert caught.value.request == name
    return caught.value


class TestRequests:
    def test_bare_requests_are_text_strings(self) -> None:
        assert encode_describe_request() == b"\x6bDescribeNSM"
        assert encode_random_request() == b"\x69GetRandom"

    def test_attestation_request_has_the_modules_fields(self) -> None:
        request = encode_attestation_request(public_key_der=b"key", nonce=b"n")
        assert cbor2.loads(request) == {"Attestation": {"user_data": None, "nonce": b"n", "public_key": b"key"}}

    def test_largest_request_fits_the_driver(self) -> None:
        request = encode_attestation_request(
            public_key_der=bytes(MAX_ATTESTED_BYTES),
            user_data=bytes(MAX_ATTESTED_BYTES),
            nonce=bytes(MAX_ATTESTED_BYTES),
        )
        assert len(request) <= MAX_REQUEST_BYTES

    def test_field_over_its_limit_is_a_programming_error(self) -> None:
        with pytest.raises(ValueError, match=r"^public_key_der: expected at most 1024 bytes, got 1025$"):
            encode_attestation_request(public_key_der=bytes(1_025))
        with pytest.raises(ValueError, match=r"^user_data: expected at most 1024 bytes, got 1025$"):
            encode_attestation_request(user_data=bytes(1_025))
        with pytest.raises(ValueError, match=r"^nonce: expected at most 1024 bytes, got 1025$"):
            encode_attestation_request(nonce=bytes(1_025))

    def test_no_bytes_are_a_value_and_not_left_out(self) -> None:
        request = encode_attestation_request(public_key_der=b"", user_data=b"", nonce=b"")
        assert cbor2.loads(request) == {"Attestation": {"user_data": b"", "nonce": b"", "public_key": b""}}


class TestResponses:
    def test_good_ones_are_read(self) -> None:
        assert decode_attestation_response(cbor2.dumps(GOOD["Attestation"])) == b"a document"
        assert decode_random_response(cbor2.dumps(GOOD["GetRandom"])) == bytes(256)
        assert decode_describe_response(cbor2.dumps(GOOD["DescribeNSM"])) == NsmDescription(
            "i-0123-enc0123", (1, 0, 0), 32, frozenset({0, 1, 2, 4}), "SHA384"
        )

    def test_indefinite_lengths_are_read(self) -> None:
        assert decode_attestation_response(b"\xbf\x6bAttestation\xbf\x68document\x43abc\xff\xff") == b"abc"

    def test_truncated_at_every_length_is_refused(self, name: str) -> None:
        response = cbor2.dumps(GOOD[name])
        for length in range(len(response)):
            assert refusal_of(name, response[:length]).code is None

    @pytest.mark.parametrize("trailing", [b"\0", b"\xf6", b"\xff", b"x" * 100])
    def test_trailing_bytes_are_refused(self, name: str, trailing: bytes) -> None:
        assert "bytes follow" in str(refusal_of(name, cbor2.dumps(GOOD[name]) + trailing))

    def test_answer_to_another_request_is_refused(self, name: str) -> None:
        for other in set(DECODERS) - {name}:
            assert "belongs to another request" in str(refusal_of(name, cbor2.dumps(GOOD[other])))

    @pytest.mark.parametrize("code", ["InvalidArgument", "InternalError", "BufferTooSmall"])
    def test_error_of_the_module_keeps_its_code(self, name: str, code: str) -> None:
        error = refusal_of(name, cbor2.dumps({"Error": code}))
        assert (error.code, str(error)) == (code, f"NSM {name}: refused with {code}")

    @pytest.mark.parametrize(
        "code", [None, 3, b"x", [], {}, {"a": 1}, 1.5, pytest.param(2**16_000, id="huge"), "x" * 5_000, "\x1b[2J"]
    )
    def test_malformed_error_is_refused_with_a_short_text(self, name: str, code: object) -> None:
        assert len(str(refusal_of(name, cbor2.dumps({"Error": code})))) < 150

    @pytest.mark.parametrize(
        "answer",
        [
            None,
            True,
            0,
            "Ok",
            b"bytes",
            [],
            {},
            [{"Attestation": {"document": b"x"}}],
            {1: 2},
            {"Attestation": {"document": b"x"}, "GetRandom": {"random": b"x"}},
            {"Attestation": {"document": b"x"}, "Error": "InvalidArgument"},
            {"Error": "InvalidArgument", "More": 1},
            {"Attestation": None},
            {"GetRandom": b"random"},
            {"DescribeNSM": []},
            {"Attestation": {}},
            {"Attestation": {"document": None}},
            {"Attestation": {"document": "text"}},
            {"Attestation": {"document": b""}},
            {"Attestation": {"document": [1, 2]}},
            {"GetRandom": {}},
            {"GetRandom": {"random": b""}},
            {"GetRandom": {"random": bytes(257)}},
            {"GetRandom": {"random": "x" * 32}},
        ],
    )
    def test_malformed_answer_is_refused(self, name: str, answer: object) -> None:
        assert str(refusal_of(name, cbor2.dumps(answer))).startswith(f"NSM {name}: ")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            *itertools.product(DESCRIPTION, (None, {}, 1.5, True)),
            ("module_id", 7),
            ("digest", b"SHA384"),
            ("version_major", "1"),
            ("max_pcrs", [32]),
            ("locked_pcrs", [32]),
            ("locked_pcrs", [-1]),
            ("locked_pcrs", ["0"]),
            ("locked_pcrs", "0"),
        ],
    )
    def test_malformed_description_is_refused(self, field: str, value: object) -> None:
        refusal_of("DescribeNSM", cbor2.dumps({"DescribeNSM": {**DESCRIPTION, field: value}}))

    @pytest.mark.parametrize("field", list(DESCRIPTION))
    def test_incomplete_description_is_refused(self, field: str) -> None:
        fields = {key: value for key, value in DESCRIPTION.items() if key != field}
        assert field in str(refusal_of("DescribeNSM", cbor2.dumps({"DescribeNSM": fields})))

    def test_duplicate_keys_are_refused_at_any_depth(self) -> None:
        refusal_of("Attestation", b"\xa2\x6bAttestation\xa1\x68document\x41a\x6bAttestation\xa1\x68document\x41b")
        refusal_of("Attestation", b"\xa1\x6bAttestation\xa2\x68document\x41a\x68document\x41b")

    @pytest.mark.parametrize(
        "response",
        [
            b"",
            b"\xff",
            b"\x1c",
            b"\x81" * 12_000,
            b"\xa1" * 12_000,
            b"\xc0" * 12_000,
            b"\x9b" + b"\xff" * 8,
            b"\xbb" + b"\xff" * 8,
            b"\x5b\x7f" + b"\xff" * 7,
            b"\x7b\0\0\0\0\x7f\xff\xff\xff",
            b"\x5f\x61a\xff",
            b"\x62\xff\xff",
            b"\xc0\x61x",
            b"\xc1\xfb\x7f\xf0\0\0\0\0\0\0",
            b"\xc4\x82\x1b" + b"\xff" * 8 + b"\1",
            b"\xd8\x1e\x82\1\0",
            b"\xd8\x23\x61(",
            b"\xd8\x25\x41x",
            b"\xd8\x1d\x00",
            b"\xa1\xf9\x7e\0\0",
            b"\xa1\x80\0",
            b"\xa1\xa0\0",
        ],
    )
    def test_hostile_cbor_is_refused(self, name: str, response: bytes) -> None:
        assert refusal_of(name, response).code is None

    def test_response_over_the_drivers_limit_is_refused(self, name: str) -> None:
        assert "at most 12288 bytes" in str(refusal_of(name, bytes(MAX_RESPONSE_BYTES + 1)))

    @given(st.binary(max_size=80))
    def test_arbitrary_bytes_raise_nothing_but_nsm_errors(self, response: bytes) -> None:
        for decode in DECODERS.values():
            with contextlib.suppress(NsmError):
                decode(response)

    @given(st.sampled_from(sorted(GOOD)), st.integers(0, 200), st.binary(min_size=1, max_size=4))
    def test_damaged_answers_raise_nothing_but_nsm_errors(self, name: str, position: int, damage: bytes) -> None:
        response = cbor2.dumps(GOOD[name])
        with contextlib.suppress(NsmError):
            DECODERS[name](response[:position] + damage + response[position + len(damage) :])


class TestNesting:
    """Nesting of a response; the fields of a request are two nested maps."""

    @pytest.mark.parametrize("container", [b"\x81", b"\xa1\x00", b"\xd9\xd9\xf7"], ids=["array", "map", "tag"])
    def test_is_taken_up_to_the_limit_and_refused_beyond(self, container: bytes) -> None:
        def response(depth: int) -> bytes:
            fields = b"\xa2" + cbor2.dumps("random") + cbor2.dumps(b"x") + cbor2.dumps("more")
            return b"\xa1" + cbor2.dumps("GetRandom") + fields + container * (depth - 2) + b"\0"

        assert decode_random_response(response(MAX_DEPTH)) == b"x"
        with pytest.raises(NsmError, match="the response is not CBOR"):
            decode_random_response(response(MAX_DEPTH + 1))
