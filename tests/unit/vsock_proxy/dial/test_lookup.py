"""The system's resolver, asked without making the loop wait."""

from __future__ import annotations

import asyncio
import socket
import threading
from ipaddress import ip_address

import pytest

from vsock_proxy.dial.lookup import look_up
from vsock_proxy.errors import ResolveError
from vsock_proxy.settings import AddressFamily


def test_system_resolver_gives_addresses_of_the_family_asked_for() -> None:
    assert asyncio.run(look_up("localhost", AddressFamily.IPV4)) == (ip_address("127.0.0.1"),)


def test_system_resolver_refuses_a_name_that_cannot_exist() -> None:
    with pytest.raises(ResolveError, match=r"DNS lookup failed: nowhere\.invalid"):
        asyncio.run(look_up("nowhere.invalid", AddressFamily.ANY))


def test_cancelled_lookup_does_not_delay_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        release.wait(10)
        return []

    monkeypatch.setattr("socket.getaddrinfo", hang)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(look_up("a.com", AddressFamily.ANY), 0.01)

    asyncio.run(give_up())
    assert not release.is_set()
    release.set()


@pytest.mark.parametrize("error", [ValueError("embedded null"), KeyError("x"), MemoryError()])
def test_any_error_in_the_lookup_reaches_its_caller(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> list[object]:
        raise error

    monkeypatch.setattr("socket.getaddrinfo", fail)
    with pytest.raises(ResolveError, match=f"DNS lookup failed: a.com: {type(error).__name__.lower()}"):
        asyncio.run(asyncio.wait_for(look_up("a.com", AddressFamily.ANY), 10))


def test_name_without_addresses_of_the_family_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [])
    with pytest.raises(ResolveError, match="No accepted IP was found"):
        asyncio.run(look_up("a.com", AddressFamily.IPV6))


def test_process_without_a_free_thread_reports_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def check() -> None:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(ResolveError, match="cannot start another thread"):
            await look_up("a.com", AddressFamily.ANY)

    asyncio.run(check())


def test_name_in_china_without_cn_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> list[object]:
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", fail)
    with pytest.raises(ResolveError) as caught:
        asyncio.run(look_up("kms.cn-north-1.amazonaws.com", AddressFamily.ANY))
    assert "use kms.cn-north-1.amazonaws.com.cn" in str(caught.value.hint)


@pytest.mark.parametrize("code", [socket.EAI_ADDRFAMILY, socket.EAI_NODATA])
def test_name_that_exists_only_in_the_other_family_is_told_from_one_that_does_not_exist(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(code, "Address family for hostname not supported")

    monkeypatch.setattr("socket.getaddrinfo", fail)
    with pytest.raises(ResolveError, match="No accepted IP was found: v4 has no address of the family"):
        asyncio.run(look_up("v4", AddressFamily.IPV6))
    with pytest.raises(ResolveError, match="DNS lookup failed: v4: address family for hostname not supported"):
        asyncio.run(look_up("v4", AddressFamily.ANY))
