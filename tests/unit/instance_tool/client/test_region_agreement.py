from __future__ import annotations

from typing import Any

import pytest

from instance_tool.client.client import EnclaveClient
from instance_tool.client.region_agreement import RegionAgreement
from instance_tool.credentials.region import Region, RegionSource
from instance_tool.errors import EnclaveError
from vsock_wire.errors import InputError
from vsock_wire.net.address import UnixAddress
from vsock_wire.protocol.messages import ErrorReply
from vsock_wire.protocol.vocabulary import EnclaveCode, KmstoolText

OK: dict[str, Any] = {"Status": "Ok", "Protocol": 2}


class Enclave:
    """Answers SetClient as an enclave with or without a region of its own, and records what it was sent."""

    def __init__(self, own: str | None = None, *, tells: bool = True, is_c: bool = False) -> None:
        self.events: list[str | None] = []
        self._own, self._tells, self._is_c = own, tells, is_c

    def send(self, region: str | None) -> dict[str, Any]:
        self.events.append(region)
        if region and self._own:
            code = None if self._is_c else EnclaveCode.REGION_CONFLICT
            raise EnclaveError(ErrorReply(KmstoolText.REGION_CONFLICT, code))
        if self._is_c:
            return {"Status": "Ok"}
        return {**OK, "Region": self._own} if self._tells else OK

    def hang_up(self) -> None:
        self.events.append("hang up")


class Source(RegionSource):
    """Gives these regions, and counts how often IMDS is asked."""

    def __init__(self, known: str | None, imds: str | None = None, *, is_required: bool = False) -> None:
        super().__init__()
        self.is_required = is_required
        self.looked_up = 0
        self._regions = known, imds

    def known(self) -> Region | None:
        return Region(self._regions[0], "AWS_REGION") if self._regions[0] else None

    def look_up(self) -> Region | None:
        self.looked_up += 1
        return Region(self._regions[1], "IMDS") if self._regions[1] else None


@pytest.mark.parametrize("kind", [{}, {"tells": False}, {"is_c": True}], ids=["own", "older", "C"])
class TestEveryEnclave:
    def test_without_a_region_gets_the_known_one(self, kind: dict[str, Any]) -> None:
        enclave, agreement = Enclave(**kind), RegionAgreement(Source("eu-west-1"))
        agreement.set_client(enclave.send, enclave.hang_up)
        agreement.set_client(enclave.send, enclave.hang_up)
        assert enclave.events == ["eu-west-1", "eu-west-1"]
        assert agreement.chosen == ("eu-west-1", "AWS_REGION")

    def test_with_a_region_of_its_own_keeps_it(self, kind: dict[str, Any]) -> None:
        enclave, agreement = Enclave("us-west-2", **kind), RegionAgreement(Source("eu-west-1"))
        agreement.set_client(enclave.send, enclave.hang_up)
        agreement.set_client(enclave.send, enclave.hang_up)
        assert enclave.events == ["eu-west-1", "hang up", None, None]
        assert agreement.chosen is None

    def test_with_a_region_of_its_own_refuses_one_of_the_command_line(self, kind: dict[str, Any]) -> None:
        enclave, agreement = Enclave("us-west-2", **kind), RegionAgreement(Source("eu-west-1", is_required=True))
        with pytest.raises(EnclaveError, match=r"^Could not set region"):
            agreement.set_client(enclave.send, enclave.hang_up)
        assert enclave.events == ["eu-west-1"]

    def test_gets_no_region_if_imds_has_none_or_the_default(self, kind: dict[str, Any]) -> None:
        for imds in (None, "us-east-1"):
            enclave, agreement = Enclave(**kind), RegionAgreement(Source(None, imds))
            agreement.set_client(enclave.send, enclave.hang_up)
            agreement.set_client(enclave.send, enclave.hang_up)
            assert enclave.events == [None, None]


class TestImds:
    def test_is_not_asked_if_the_enclave_says_that_it_has_a_region(self) -> None:
        enclave, source = Enclave("us-west-2"), Source(None, "eu-west-1")
        RegionAgreement(source).set_client(enclave.send, enclave.hang_up)
        assert (enclave.events, source.looked_up) == ([None], 0)

    def test_its_region_goes_to_an_enclave_without_one_on_the_same_connection(self) -> None:
        enclave, agreement = Enclave(), RegionAgreement(Source(None, "eu-west-1"))
        agreement.set_client(enclave.send, enclave.hang_up)
        agreement.set_client(enclave.send, enclave.hang_up)
        assert enclave.events == [None, "eu-west-1", "eu-west-1"]

    @pytest.mark.parametrize("kind", [{"tells": False}, {"is_c": True}], ids=["older", "C"])
    def test_its_region_goes_to_an_enclave_that_does_not_tell_on_a_new_connection(self, kind: dict[str, Any]) -> None:
        enclave = Enclave(**kind)
        RegionAgreement(Source(None, "eu-west-1")).set_client(enclave.send, enclave.hang_up)
        assert enclave.events == [None, "hang up", "eu-west-1"]
        regional = Enclave("us-west-2", **kind)
        RegionAgreement(Source(None, "eu-west-1")).set_client(regional.send, regional.hang_up)
        assert regional.events == [None, "hang up", "eu-west-1", "hang up", None]


class TestAnotherEnclave:
    """The enclave is replaced between two connections, by one that was started in another way."""

    def test_with_a_region_now_is_left_alone(self) -> None:
        agreement = RegionAgreement(Source("eu-west-1"))
        agreement.set_client(Enclave().send, lambda: pytest.fail("hung up"))
        regional = Enclave("us-west-2")
        agreement.set_client(regional.send, regional.hang_up)
        assert regional.events == ["eu-west-1", "hang up", None]
        assert agreement.chosen is None

    def test_without_a_region_now_gets_the_one_that_its_predecessor_did_not_need(self) -> None:
        agreement, regional, free = RegionAgreement(Source("eu-west-1")), Enclave("us-west-2"), Enclave()
        agreement.set_client(regional.send, regional.hang_up)
        agreement.set_client(free.send, free.hang_up)
        agreement.set_client(free.send, free.hang_up)
        assert free.events == [None, "eu-west-1", "eu-west-1"]
        assert agreement.chosen == ("eu-west-1", "AWS_REGION")

    def test_region_of_imds_is_not_sent_to_one_that_has_its_own_now(self) -> None:
        agreement, free, regional = RegionAgreement(Source(None, "eu-west-1")), Enclave(), Enclave("us-west-2")
        agreement.set_client(free.send, free.hang_up)
        agreement.set_client(regional.send, regional.hang_up)
        agreement.set_client(regional.send, regional.hang_up)
        assert regional.events == ["eu-west-1", "hang up", None, None]


class TestRegionThatCanBeNone:
    def test_does_not_matter_to_an_enclave_with_a_region_of_its_own(self) -> None:
        enclave = Enclave("us-west-2")
        RegionAgreement(RegionSource(None, {"AWS_REGION": "auto"})).set_client(enclave.send, enclave.hang_up)
        assert enclave.events == [None]

    @pytest.mark.parametrize("enclave", [Enclave(), Enclave(tells=False), Enclave(is_c=True)])
    def test_is_refused_if_the_enclave_may_need_it(self, enclave: Enclave) -> None:
        agreement = RegionAgreement(RegionSource(None, {"AWS_REGION": "auto"}))
        with pytest.raises(InputError, match=r"^AWS_REGION: expected the name of an AWS region"):
            agreement.set_client(enclave.send, enclave.hang_up)
        assert enclave.events == [None]

    def test_is_refused_at_once_if_it_is_required(self) -> None:
        with pytest.raises(InputError, match=r"^--region: expected"):
            RegionAgreement(RegionSource("auto")).set_client(Enclave().send, lambda: pytest.fail("hung up"))


def test_other_errors_are_raised() -> None:
    def refuse(_region: str | None) -> dict[str, Any]:
        raise EnclaveError(ErrorReply("Could not create new client", EnclaveCode.UNKNOWN_REGION))

    with pytest.raises(EnclaveError, match=r"^Could not create"):
        RegionAgreement(Source("xx-east-1")).set_client(refuse, lambda: pytest.fail("hung up"))


def test_client_takes_a_source_or_a_name_or_nothing() -> None:
    for region in (RegionSource("eu-west-1"), "eu-west-1", None):
        assert EnclaveClient(UnixAddress("/nobody"), region=region).region is None
