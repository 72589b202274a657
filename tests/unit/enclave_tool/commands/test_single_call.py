from __future__ import annotations

import pytest

from enclave_tool.commands.single_call import hint_at_context
from enclave_tool.errors import KmsError, TlsError
from vsock_wire.errors import ToolError
from vsock_wire.protocol.kms_operations import KmsRequest
from vsock_wire.protocol.vocabulary import Operation

REQUEST = KmsRequest(Operation.DECRYPT, {"EncryptionContext": {"A": "1,B=2"}})


def refusal(code: str) -> KmsError:
    return KmsError(code, "no", http_status=400, request_id="r", hint="look")


def test_refusal_of_several_context_pairs_in_one_says_so_before_its_own_hint() -> None:
    error = refusal("InvalidCiphertextException")
    hint_at_context(error, REQUEST)
    assert error.hint is not None
    assert error.hint.startswith("--encryption-context A=1,B=2 was taken as one pair: for several, pass ")
    assert error.hint.endswith("; look")


@pytest.mark.parametrize("error", [refusal("ThrottlingException"), TlsError("no", hint="look")], ids=repr)
def test_other_failure_keeps_its_hint(error: ToolError) -> None:
    hint_at_context(error, REQUEST)
    assert error.hint == "look"


def test_context_without_such_a_pair_keeps_the_hint() -> None:
    error = refusal("InvalidCiphertextException")
    hint_at_context(error, KmsRequest(Operation.DECRYPT, {"EncryptionContext": {"A": "1"}}))
    assert error.hint == "look"
