from __future__ import annotations

import json
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance_tool.console.output import OutputFormat, encode_result
from tests.support.kms.decrypting import decrypt_result
from vsock_wire.errors import InputError
from vsock_wire.protocol.kms_operations import KmsResult
from vsock_wire.protocol.vocabulary import Operation

RESULT = decrypt_result(b"Hello, KMS!", "arn:key", "SYMMETRIC_DEFAULT")


class TestRaw:
    @given(st.binary(max_size=50))
    def test_is_the_plaintext_itself(self, plaintext: bytes) -> None:
        assert encode_result(Operation.DECRYPT, decrypt_result(plaintext), OutputFormat.RAW) == plaintext

    def test_line_break_is_refused_in_a_batch(self) -> None:
        with pytest.raises(
            InputError, match=r"^plaintext: has a line break, which --batch cannot write with --output raw$"
        ) as caught:
            encode_result(Operation.DECRYPT, decrypt_result(b"hunter2\nhunter3"), OutputFormat.RAW, line_number=1)
        assert "hunter" not in f"{caught.value!r} {caught.value.hint}"

    @pytest.mark.parametrize("plaintext", [b"", b"a\rb", b"a\0b", "\u2028".encode()])
    def test_anything_else_is_accepted_in_a_batch(self, plaintext: bytes) -> None:
        assert encode_result(Operation.DECRYPT, decrypt_result(plaintext), OutputFormat.RAW, line_number=1) == plaintext


@pytest.mark.parametrize(
    ("operation", "result", "output"),
    [
        (Operation.GENERATE_DATA_KEY, KmsResult(b"\1\n", {"CiphertextBlob": b"\4"}), b"\1\n"),
        (Operation.GENERATE_DATA_KEY_PAIR, KmsResult(b"\1\n", {"PublicKey": b"\4"}), b"\1\n"),
        (Operation.GENERATE_RANDOM, KmsResult(b"\0\n"), b"\0\n"),
        (Operation.DERIVE_SHARED_SECRET, KmsResult(b"\0\n"), b"\0\n"),
        (Operation.ENCRYPT, KmsResult(None, {"CiphertextBlob": b"\4\n"}), b"\4\n"),
        (Operation.GENERATE_DATA_KEY, KmsResult(None, {"CiphertextBlob": b"\4", "Digest": "ab" * 32}), b"ab" * 32),
        (Operation.GENERATE_DATA_KEY, KmsResult(None, {"CiphertextBlob": b"\4", "Output": b"\7\n"}), b"\7\n"),
    ],
)
def test_raw_output_of_every_operation_is_the_bytes_alone(
    operation: Operation, result: KmsResult, output: bytes
) -> None:
    assert encode_result(operation, result, OutputFormat.RAW) == output


class TestBase64:
    @given(st.binary(max_size=200))
    def test_is_one_line_that_decodes_to_the_plaintext(self, plaintext: bytes) -> None:
        encoded = encode_result(Operation.DECRYPT, decrypt_result(plaintext), OutputFormat.BASE64, line_number=1)
        assert b64decode(encoded, validate=True) == plaintext
        assert b"\n" not in encoded


class TestJson:
    def test_has_all_known_fields(self) -> None:
        assert json.loads(encode_result(Operation.DECRYPT, RESULT, OutputFormat.JSON)) == {
            "Plaintext": "SGVsbG8sIEtNUyE=",
            "KeyId": "arn:key",
            "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        }

    def test_leaves_out_fields_that_an_older_enclave_does_not_send(self) -> None:
        assert json.loads(encode_result(Operation.DECRYPT, decrypt_result(b""), OutputFormat.JSON)) == {"Plaintext": ""}

    def test_names_the_line_of_a_batch(self) -> None:
        assert json.loads(encode_result(Operation.DECRYPT, RESULT, OutputFormat.JSON, line_number=7))["Line"] == 7

    @given(st.text(max_size=20))
    def test_is_one_printable_line_whatever_a_peer_sends(self, key_id: str) -> None:
        encoded = encode_result(Operation.DECRYPT, decrypt_result(b"x", key_id), OutputFormat.JSON)
        assert encoded.decode("ascii").isprintable()
        assert json.loads(encoded)["KeyId"] == key_id
