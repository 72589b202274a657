"""Where connections of each kind of route go, and what is sent first."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.support.proxy.scripted_nitro_cli import enclave, nitro_cli, times_asked
from vsock_proxy.config.config_file import parse_config
from vsock_proxy.config.destination import IpAddress, parse_destination
from vsock_proxy.dial.enclaves import EnclaveFinder
from vsock_proxy.dial.resolver import Resolver
from vsock_proxy.errors import NotAllowedError, ResolveError
from vsock_proxy.handshake.connect_answer import ESTABLISHED
from vsock_proxy.relay.arrival import RouteState
from vsock_proxy.relay.outcomes import RouteStats
from vsock_proxy.relay.plan import Target
from vsock_proxy.relay.router import Router
from vsock_proxy.settings import AddressFamily, Limits

INSIDE, OUTSIDE = ip_address("10.0.0.1"), ip_address("192.0.2.1")
NO_CLIENT = -1


class Scene:
    """A router with one route, and a name server that knows a.com and b.com."""

    def __init__(self, config: str, command: tuple[str, ...]) -> None:
        self.asked: list[str] = []
        self.resolver = Resolver(lookup=self._look_up, retry_first_s=0.001)
        self.finder = EnclaveFinder(command)
        self.router = Router(Limits(10), self.resolver, file="/etc/f.yaml", enclaves=self.finder)
        self.config = parse_config(config, source="f")
        self.router.apply(self.config)
        self.state = RouteState(self.config.routes[0], RouteStats(), Limits(10, connect_timeout_s=7, idle_timeout_s=8))

    async def _look_up(self, name: str, _family: AddressFamily) -> tuple[IpAddress, ...]:
        self.asked.append(name)
        if name not in ("a.com", "b.com"):
            raise ResolveError(f"DNS lookup failed: {name}")
        return (INSIDE, OUTSIDE) if name == "a.com" else (OUTSIDE,)

    async def plan(self, host: str = "", *, client: int = NO_CLIENT) -> Target:
        request = parse_destination(host, 443) if host else None
        plan = self.router.plan(self.state, client, request)
        return plan if isinstance(plan, Target) else await plan

    def plan_now(self, host: str = "") -> Target:
        plan = self.router.plan(self.state, NO_CLIENT, parse_destination(host, 443) if host else None)
        assert isinstance(plan, Target)
        return plan


def run(config: str, check: Callable[[Scene], Awaitable[None]], command: tuple[str, ...] = ("/nowhere",)) -> None:
    async def steps() -> None:
        scene = Scene(config, command)
        try:
            await check(scene)
        finally:
            await scene.resolver.close()

    asyncio.run(asyncio.wait_for(steps(), 20))


ALLOWLIST = "allowlist: [{address: a.com, port: 443}, {address: 10.0.0.0/8, port: 443}]\n"
CONNECT = f"{ALLOWLIST}routes: [{{listen: 1, connect: true}}]"


def test_target_of_a_fixed_destination_is_kept_until_its_rules_change() -> None:
    config = "allowlist: [{address: %s, port: 443}]\nroutes: [{listen: 1, address: a.com, port: 443}]"

    async def check(scene: Scene) -> None:
        assert scene.router.opening(scene.state) is None
        await scene.plan()
        first = scene.plan_now()
        assert first.names == ((socket.AF_INET, ("10.0.0.1", 443)), (socket.AF_INET, ("192.0.2.1", 443)))
        assert (first.name, first.host, first.to_client, first.to_upstream) == ("a.com:443", "a.com", b"", b"")
        assert scene.plan_now() is first
        scene.router.apply(parse_config(config % "10.0.0.0/8", source="f"))
        assert scene.plan_now().names == ((socket.AF_INET, ("10.0.0.1", 443)),)

    run(config % "a.com", check)


def test_client_of_a_connect_route_is_answered_before_its_bytes_are_relayed() -> None:
    async def check(scene: Scene) -> None:
        assert scene.router.opening(scene.state) is not None
        target = await scene.plan("a.com")
        assert (target.name, target.to_client) == ("a.com:443", ESTABLISHED)
        assert scene.plan_now("a.com") == target
        assert scene.plan_now("10.9.9.9").names == ((socket.AF_INET, ("10.9.9.9", 443)),)
        assert (await scene.plan("10.9.9.9")).host == ""

    run(CONNECT, check)


@pytest.mark.parametrize(("host", "asked"), [("192.0.2.1", []), ("::1", []), ("b.com", ["b.com"]), ("x.invalid", None)])
def test_client_of_a_connect_route_cannot_use_the_address_of_a_listed_name(host: str, asked: list[str] | None) -> None:
    """a.com resolves to 192.0.2.1, too. Names are looked up here only because a network is listed."""

    async def check(scene: Scene) -> None:
        with pytest.raises(ResolveError if asked is None else NotAllowedError):
            await scene.plan(host)
        assert scene.asked == (["x.invalid"] if asked is None else asked)

    run(CONNECT, check)


def test_name_whose_addresses_do_not_answer_is_looked_up_again() -> None:
    async def check(scene: Scene) -> None:
        target = await scene.plan("a.com")
        while len(scene.asked) < 2:
            scene.router.failed(scene.state, target)
            await asyncio.sleep(0.001)
        scene.router.failed(scene.state, await scene.plan("10.9.9.9"))
        assert set(scene.asked) == {"a.com"}

    run(CONNECT, check)


def ingress(to: str, options: str = "") -> str:
    enclaves = "enclaves: [{cid: 16, port: 5}, {name: web, port: 5}, {path: /run/e}]"
    return f"allowlist: []\n{enclaves}\nroutes: [{{listen: 'tcp://127.0.0.1:0', to: '{to}'{options}}}]"


@pytest.mark.parametrize(
    ("to", "name"),
    [("vsock://16:5", (socket.AF_VSOCK, (16, 5))), ("unix:/run/e", (socket.AF_UNIX, "/run/e"))],
)
def test_ingress_route_leads_to_its_enclave_at_once(to: str, name: object) -> None:
    async def check(scene: Scene) -> None:
        target = scene.plan_now()
        assert (target.name, target.names, target.to_upstream) == (to, (name,), b"")

    run(ingress(to), check)


def test_enclave_by_name_is_asked_for_and_asked_for_again_when_it_does_not_answer(tmp_path: Path) -> None:
    async def check(scene: Scene) -> None:
        target = await scene.plan()
        assert (target.name, target.names) == ("vsock://web:5", ((socket.AF_VSOCK, (18, 5)),))
        assert scene.plan_now() == target
        scene.router.failed(scene.state, target)
        nitro_cli(tmp_path, enclave("web", 19))
        assert (await scene.plan()).names == ((socket.AF_VSOCK, (19, 5)),)
        assert times_asked(tmp_path) == 2

    run(ingress("vsock://web:5"), check, nitro_cli(tmp_path, enclave("web", 18)))


def test_proxy_header_names_the_client_and_survives_that_it_has_left() -> None:
    async def check(scene: Scene) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
        with client, accepted:
            names = [socket.inet_aton("127.0.0.1")] * 2
            ports = [sock.getsockname()[1].to_bytes(2, "big") for sock in (client, accepted)]
            target = await scene.plan(client=accepted.fileno())
            assert target.to_upstream[16:] == b"".join([*names, *ports])
            assert accepted.fileno() != -1
        with socket.socket() as unconnected:
            assert (await scene.plan(client=unconnected.fileno())).to_upstream[12:] == b"\x21\x00\x00\x00"

    run(ingress("vsock://16:5", ", proxy_protocol: v2"), check)


def test_limits_of_a_route_replace_those_of_the_command_line() -> None:
    async def check(scene: Scene) -> None:
        own = RouteState(scene.config.routes[1], RouteStats(), Limits(10, connect_timeout_s=7, idle_timeout_s=8))
        assert (scene.state.connect_timeout_s, scene.state.idle_timeout_s, scene.state.slots.limit) == (7, 8, None)
        assert (own.connect_timeout_s, own.idle_timeout_s, own.slots.limit) == (1, 0, 3)

    second = "{listen: 2, connect: true, connect_timeout: 1, idle_timeout: 0, max_connections: 3}"
    run(f"allowlist: []\nroutes: [{{listen: 1, connect: true}}, {second}]", check)
