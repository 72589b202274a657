from __future__ import annotations

import threading

import pytest

from instance_tool.client.client import EnclaveClient
from instance_tool.client.pool import EnclavePool
from instance_tool.errors import BusyError
from vsock_wire.net.address import UnixAddress

TIMEOUT_S = 10.0
"""A test that passes never waits this long."""


class Clients:
    """Makes clients that are never connected, and remembers them."""

    def __init__(self) -> None:
        self.made: list[EnclaveClient] = []

    def new(self) -> EnclaveClient:
        self.made.append(EnclaveClient(UnixAddress("/nobody")))
        return self.made[-1]


@pytest.fixture
def clients() -> Clients:
    return Clients()


def test_sequential_callers_get_the_same_client(clients: Clients) -> None:
    pool = EnclavePool(clients.new, size=3)
    for _ in range(5):
        with pool.lend():
            pass
    assert len(clients.made) == 1


def test_concurrent_callers_get_different_clients(clients: Clients) -> None:
    pool = EnclavePool(clients.new, size=3)
    with pool.lend() as first, pool.lend() as second, pool.lend() as third:
        assert len({first, second, third}) == 3


def test_client_is_returned_after_an_error(clients: Clients) -> None:
    pool = EnclavePool(clients.new, size=1)
    with pytest.raises(KeyError), pool.lend():
        raise KeyError
    with pool.lend() as client:
        assert [client] == clients.made


def test_caller_over_the_size_waits_for_a_client(clients: Clients) -> None:
    pool = EnclavePool(clients.new, size=1, wait_s=TIMEOUT_S)
    lent: list[EnclaveClient] = []

    def ask() -> None:
        with pool.lend() as client:
            lent.append(client)

    with pool.lend() as first:
        thread = threading.Thread(target=ask)
        thread.start()
    thread.join()
    assert lent == [first]


def test_caller_that_waits_too_long_gets_an_error(clients: Clients) -> None:
    pool = EnclavePool(clients.new, size=1, wait_s=0.01)
    with (
        pool.lend(),
        pytest.raises(BusyError, match=r"^connections to the enclave: all 1 stayed busy for 0.01 s$") as caught,
        pool.lend(),
    ):
        pass
    assert "--enclave-connections" in (caught.value.hint or "")


def test_failure_to_make_a_client_frees_its_place(clients: Clients) -> None:
    errors = [KeyError()]

    def new() -> EnclaveClient:
        if errors:
            raise errors.pop()
        return clients.new()

    pool = EnclavePool(new, size=1, wait_s=TIMEOUT_S)
    with pytest.raises(KeyError), pool.lend():
        pass
    with pool.lend():
        pass


def test_close_closes_idle_clients() -> None:
    closed: list[EnclaveClient] = []

    class Client(EnclaveClient):
        def close(self) -> None:
            closed.append(self)

    pool = EnclavePool(lambda: Client(UnixAddress("/nobody")), size=2)
    with pool.lend() as first, pool.lend() as second:
        pass
    pool.close()
    assert set(closed) == {first, second}
