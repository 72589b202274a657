from __future__ import annotations

import pytest

from vsock_wire.cli.labels import LABELS
from vsock_wire.protocol.delivery import MESSAGE
from vsock_wire.protocol.kms_operations import KMS_OPERATIONS
from vsock_wire.protocol.vocabulary import Operation


def test_every_operation_of_kms_has_labels() -> None:
    assert LABELS.keys() == KMS_OPERATIONS.keys()


@pytest.mark.parametrize("operation", LABELS)
def test_each_line_has_a_field_of_the_reply_and_the_secret_is_the_last(operation: Operation) -> None:
    spec = KMS_OPERATIONS[operation]
    fields = list(LABELS[operation].values())
    assert set(fields) <= {MESSAGE, *(field.name for field in spec.reply)}
    assert (fields[-1] == MESSAGE) == (spec.delivers is not None)
    assert (LABELS[operation].get("PLAINTEXT") == MESSAGE) == (spec.delivers is not None)
