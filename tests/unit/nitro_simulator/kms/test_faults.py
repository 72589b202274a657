"""Errors of KMS that a test plans."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError
from botocore.loaders import Loader

from nitro_simulator.kms.faults import COMMON_FAULTS, documented_fault
from nitro_simulator.kms.request_model import kms_service_model
from tests.support.kms.world import KmsWorld
from vsock_wire.protocol.kms_operations import KMS_OPERATIONS

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

OPERATIONS = sorted(KMS_OPERATIONS)
IN_MODEL = sorted(
    {shape.name for name in OPERATIONS for shape in kms_service_model().operation_model(name).error_shapes}
)
SHAPES = Loader().load_service_model("kms", "service-2")["shapes"]
FAULTS_IN_MODEL = {name for name, shape in SHAPES.items() if shape.get("fault")}


def test_six_operations_are_meant() -> None:
    assert len(OPERATIONS) == 6


@pytest.mark.parametrize("code", [*IN_MODEL, *COMMON_FAULTS])
def test_every_documented_error_reaches_a_client(kms_client: KMSClient, world: KmsWorld, code: str) -> None:
    world.kms.fail(code)

    with pytest.raises(ClientError) as error:
        kms_client.generate_random(NumberOfBytes=8)

    response = error.value.response
    assert response["Error"]["Code"] == code
    is_fault = code in FAULTS_IN_MODEL or code in {"InternalFailure", "ServiceUnavailableException"}
    assert (response["ResponseMetadata"]["HTTPStatusCode"] >= 500) == is_fault
    kms_client.generate_random(NumberOfBytes=8)
    assert [entry.verdict for entry in world.kms.journal.entries()] == [code, "OK"]


def test_count_and_operation_limit_what_fails(world: KmsWorld) -> None:
    world.kms.fail("ThrottlingException", operation="GenerateRandom", count=2)
    world.kms.fail("KMSInternalException", message="as a test says")

    assert world.fault("ListKeys").message == "as a test says"
    world.call("ListKeys")
    for _ in range(2):
        fault = world.fault("GenerateRandom", NumberOfBytes=1)
        assert (fault.code, fault.http_status) == ("ThrottlingException", 400)
    world.call("GenerateRandom", NumberOfBytes=1)


def test_errors_that_have_not_come_can_be_forgotten(world: KmsWorld) -> None:
    world.kms.fail("ThrottlingException", count=100)
    assert world.fault("ListKeys").code == "ThrottlingException"
    world.kms.stop_failing()
    world.call("ListKeys")


@pytest.mark.parametrize("code", ["", "Throttling", "KeyListEntry", "DecryptRequest"])
def test_error_that_kms_does_not_have_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match=f"^KMS has no error {code}$"):
        documented_fault(code)


def test_operation_and_count_must_exist(world: KmsWorld) -> None:
    with pytest.raises(ValueError, match="has no operation Decypt"):
        world.kms.fail("ThrottlingException", operation="Decypt")
    with pytest.raises(ValueError, match="count: expected 1 or more, got 0"):
        world.kms.fail("ThrottlingException", count=0)
