from __future__ import annotations

import contextlib
import logging
import socket
import threading
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.wire.running_server import (
    PROGRAM,
    TIMEOUT_S,
    Client,
    Conversation,
    StartServer,
    StoppableListener,
    echo,
)
from vsock_wire.errors import TransportError
from vsock_wire.net.address import TcpAddress, UnixAddress
from vsock_wire.net.sockets import connect_socket, listen_socket
from vsock_wire.protocol.frames import MAX_MESSAGE_BYTES
from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.protocol.vocabulary import EnclaveCode
from vsock_wire.rpc import server as server_module
from vsock_wire.rpc.server import Limits, MessageServer


class TestManyClients:
    def test_fifty_concurrent_clients_each_get_their_own_answer_at_once(self, start: StartServer) -> None:
        all_are_in = threading.Barrier(50, timeout=TIMEOUT_S)

        def meet(request: JsonObject) -> JsonObject:
            all_are_in.wait()
            return echo(request)

        server = start(meet)
        clients = [server.connect() for _ in range(50)]
        for number, client in enumerate(clients):
            client.send(n=number)
        assert [client.receive() for client in clients] == [{"Status": "Ok", "n": number} for number in range(50)]
        for client in clients:
            client.connection.close()

    def test_answers_of_one_connection_come_in_order(self, start: StartServer) -> None:
        with start().connect() as client:
            client.sock.sendall(b"".join(b'{"n":%d}\0' % number for number in range(100)))
            assert [client.receive() for _ in range(100)] == [{"Status": "Ok", "n": number} for number in range(100)]

    def test_each_connection_has_its_own_session(self, short_dir: Path) -> None:
        made: list[int] = []

        def new_session() -> Conversation:
            made.append(len(made))
            number = made[-1]
            return Conversation(lambda _: {"Status": "Ok", "session": number})

        listener = StoppableListener(listen_socket(UnixAddress(str(short_dir / "s"))))
        server = MessageServer(PROGRAM, listener, new_session, Limits())

        def serve() -> None:
            with pytest.raises(SystemExit):
                server.serve()

        thread = threading.Thread(target=serve)
        thread.start()
        address = UnixAddress(str(short_dir / "s"))
        for number in range(3):
            with Client(connect_socket(address, timeout_s=TIMEOUT_S)) as client:
                assert [client.ask(), client.ask()] == [{"Status": "Ok", "session": number}] * 2
        listener.stop()
        thread.join()

    def test_tcp_clients_are_served_too(self, start: StartServer) -> None:
        with start(address=TcpAddress("127.0.0.1", 0)).connect() as client:
            assert client.ask(n=1) == {"Status": "Ok", "n": 1}


class TestBadClients:
    def test_half_a_message_and_silence_delays_nobody(self, start: StartServer) -> None:
        server = start(message_timeout_s=0.2)
        with server.connect() as silent, server.connect() as other:
            silent.sock.sendall(b'{"n":')
            assert other.ask(n=1) == {"Status": "Ok", "n": 1}
            assert silent.receive() is None
            assert other.ask(n=2) == {"Status": "Ok", "n": 2}

    def test_client_that_never_reads_delays_nobody_and_is_dropped(self, start: StartServer) -> None:
        server = start(lambda request: {"Status": "Ok", "x": "y" * 60_000, **request}, write_timeout_s=0.2)
        with server.connect() as deaf, server.connect() as other:
            deaf.sock.settimeout(TIMEOUT_S)
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                send_for_ever(deaf.sock)
            assert (other.ask(n=1) or {})["n"] == 1

    def test_idle_connection_is_closed(self, start: StartServer) -> None:
        with start(idle_timeout_s=0.05).connect() as client:
            assert client.receive() is None

    @pytest.mark.parametrize("how", ["before the reply", "in mid message", "at once", "after half closing"])
    def test_client_that_leaves_does_not_disturb_the_server(
        self, start: StartServer, caplog: pytest.LogCaptureFixture, how: str
    ) -> None:
        caplog.set_level(logging.DEBUG)
        is_asked, may_answer = threading.Event(), threading.Event()

        def wait(request: JsonObject) -> JsonObject:
            if request.get("wait"):
                is_asked.set()
                assert may_answer.wait(TIMEOUT_S)
            return echo(request)

        server = start(wait)
        client = server.connect()
        if how == "before the reply":
            client.send(wait=True)
            assert is_asked.wait(TIMEOUT_S)
        elif how == "in mid message":
            client.sock.sendall(b'{"n"')
        elif how == "after half closing":
            client.send(n=1)
            client.sock.shutdown(socket.SHUT_WR)
            assert client.receive() == {"Status": "Ok", "n": 1}
        client.connection.close()
        may_answer.set()
        with server.connect() as other:
            assert other.ask(n=2) == {"Status": "Ok", "n": 2}
        assert server.is_serving
        server.stop()
        assert [record for record in caplog.records if record.levelno > logging.INFO] == []

    def test_oversize_message_is_refused_and_the_next_one_served(self, start: StartServer) -> None:
        with start().connect() as client:
            client.sock.sendall(b"x" * (MAX_MESSAGE_BYTES + 1) + b"\0" + b'{"n":1}\0')
            refused, served = client.receive(), client.receive()
        assert refused is not None
        assert (refused["Status"], refused["Message"]) == ("Error", "Message size too large.")
        assert served == {"Status": "Ok", "n": 1}

    def test_endless_message_gets_one_reply_and_ends(self, start: StartServer) -> None:
        with start(message_timeout_s=0.3).connect() as client:
            stop_sending = threading.Event()

            def flood() -> None:
                while not stop_sending.is_set():
                    try:
                        client.sock.send(b"x" * 65_536)
                    except OSError:
                        return

            thread = threading.Thread(target=flood)
            thread.start()
            refused = client.receive()
            assert refused is not None
            assert refused["Message"] == "Message size too large."
            with contextlib.suppress(TransportError):  # a reset, where bytes were still under way
                assert client.receive() is None
            stop_sending.set()
            thread.join()

    def test_session_that_fails_costs_only_its_own_connection_and_shows_no_text(
        self, start: StartServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def fail(request: JsonObject) -> JsonObject:
            if request.get("fail"):
                raise KeyError("the secret")
            return echo(request)

        server = start(fail)
        with server.connect() as client, server.connect() as other:
            assert client.ask(fail=True) is None
            assert other.ask(n=1) == {"Status": "Ok", "n": 1}
        assert "KeyError" in caplog.text
        assert "the secret" not in caplog.text + "".join(capfd.readouterr())


class TestLimitPerHost:
    def test_connection_over_it_is_told_and_the_next_is_served_when_one_ends(self, start: StartServer) -> None:
        server = start(max_connections_per_cid=2)
        with server.connect() as first, server.connect() as second:
            assert (first.ask(n=1), second.ask(n=2)) == ({"Status": "Ok", "n": 1}, {"Status": "Ok", "n": 2})
            with server.connect() as third:
                refused = third.receive()
            assert refused is not None
            assert refused["Code"] == EnclaveCode.BUSY
            assert refused["Message"] == "Too many connections: 2 are open from this machine"
            assert "--max-connections-per-cid" in refused["Hint"]
            assert first.ask(n=3) == {"Status": "Ok", "n": 3}
        for _ in range(1_000):
            with server.connect() as next_one, contextlib.suppress(TransportError):
                if (next_one.ask(n=4) or {}).get("n") == 4:
                    return
        raise AssertionError("the connection that ended still counts")

    def test_hosts_do_not_use_up_each_others_limit(self, start: StartServer) -> None:
        server = start(address=TcpAddress("127.0.0.1", 0), max_connections_per_cid=1)
        with server.connect() as one, socket.socket() as other:
            assert one.ask(n=1) == {"Status": "Ok", "n": 1}
            other.bind(("127.0.0.2", 0))
            other.connect(("127.0.0.1", server.listener.getsockname()[1]))
            with Client(other) as client:
                assert client.ask(n=2) == {"Status": "Ok", "n": 2}

    @pytest.mark.parametrize(
        ("peer", "host"),
        [((3, 1_234), "CID 3"), (("192.0.2.1", 5), "192.0.2.1"), (("::1", 5, 0, 0), "::1"), ("", "this machine")],
    )
    def test_ports_of_one_host_count_together(self, peer: object, host: str) -> None:
        assert server_module._host_name(peer) == host


class TestLimit:
    def test_client_over_the_limit_is_told_and_closed(self, start: StartServer) -> None:
        server = start(max_connections=2)
        with server.connect() as first, server.connect() as second, server.connect() as third:
            assert first.ask(n=1)
            assert second.ask(n=2)
            reply = third.ask(n=3)
            assert reply is not None
            assert (reply["Status"], reply["Code"], reply["Service"]) == ("Error", "TooManyConnections", "enclave")
            assert reply["Message"].startswith("Too many connections")
            assert reply["Hint"] == "try again later, or start the-server with a larger --max-connections"
            assert third.receive() is None
            assert first.ask(n=4) == {"Status": "Ok", "n": 4}

    def test_client_that_leaves_makes_way_for_another(self, start: StartServer) -> None:
        server = start(max_connections=1)
        with server.connect() as first:
            assert first.ask(n=1)
        for _ in range(500):  # the server learns of the close in its own time
            with server.connect() as second:
                reply = second.ask(n=2)
                if reply == {"Status": "Ok", "n": 2}:
                    return
                assert reply is not None
                assert reply["Code"] == "TooManyConnections"
        pytest.fail("no place became free")

    def test_many_clients_over_the_limit_delay_nobody(self, start: StartServer) -> None:
        server = start(max_connections=1)
        with server.connect() as first:
            assert first.ask(n=1)
            crowd = [server.connect() for _ in range(60)]
            assert first.ask(n=2) == {"Status": "Ok", "n": 2}
            for client in crowd:
                client.connection.close()
        assert server.is_serving

    @pytest.mark.parametrize("max_connections", [1, 10])
    def test_failure_to_start_a_thread_turns_the_client_away_and_the_server_continues(
        self, start: StartServer, monkeypatch: pytest.MonkeyPatch, max_connections: int
    ) -> None:
        server = start(max_connections=max_connections)
        with server.connect() as first:
            assert first.ask(n=1)
            real_start = threading.Thread.start

            def refuse(_thread: threading.Thread) -> NoReturn:
                raise RuntimeError("can't start new thread")

            monkeypatch.setattr(threading.Thread, "start", refuse)
            with server.connect() as second:
                assert second.sock.recv(1_000) == b""
            monkeypatch.setattr(threading.Thread, "start", real_start)
            assert first.ask(n=2) == {"Status": "Ok", "n": 2}
        assert server.is_serving

    @pytest.mark.parametrize("number", [23, 24, 103])
    def test_failing_accept_is_tried_again(
        self, start: StartServer, number: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server_module, "ACCEPT_PAUSE_S", 0.001)
        server = start()
        server.listener.errors.append(OSError(number, "x"))
        with server.connect() as client:
            assert client.ask(n=1) == {"Status": "Ok", "n": 1}


class TestDrain:
    def test_request_in_progress_is_finished_and_answered(self, start: StartServer) -> None:
        is_asked, may_answer = threading.Event(), threading.Event()

        def wait(request: JsonObject) -> JsonObject:
            is_asked.set()
            assert may_answer.wait(TIMEOUT_S)
            return echo(request)

        server = start(wait)
        with server.connect() as client:
            client.send(n=1)
            assert is_asked.wait(TIMEOUT_S)
            server.begin_to_stop()
            assert server.is_serving
            may_answer.set()
            assert client.receive() == {"Status": "Ok", "n": 1}
            assert client.receive() is None
        server.stop()

    def test_idle_connections_do_not_hold_it_up(self, start: StartServer) -> None:
        server = start(drain_s=TIMEOUT_S)
        with server.connect() as client:
            assert client.ask(n=1)
            server.stop()
            assert client.receive() is None

    def test_half_a_message_does_not_hold_it_up(self, start: StartServer) -> None:
        server = start(drain_s=TIMEOUT_S)
        with server.connect() as client:
            assert client.ask(n=1)
            client.sock.sendall(b'{"n"')
            server.stop()

    def test_request_that_never_ends_is_abandoned_after_the_timeout(self, start: StartServer) -> None:
        is_asked, is_over = threading.Event(), threading.Event()

        def hang(request: JsonObject) -> JsonObject:
            is_asked.set()
            is_over.wait(TIMEOUT_S)
            return echo(request)

        server = start(hang, drain_s=0.05)
        with server.connect() as client:
            client.send(n=1)
            assert is_asked.wait(TIMEOUT_S)
            server.stop()
            is_over.set()
            client.receive()

    def test_no_more_connections_are_accepted(self, start: StartServer) -> None:
        server = start()
        server.stop()
        with pytest.raises(TransportError, match="connect to"):
            server.connect()


def test_refusals_are_logged_with_the_peer_but_without_the_request(
    start: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "vsock_wire")
    with start(lambda _: {"Status": "Error", "Message": "refused so"}).connect() as client:
        client.ask(secret="hunter2")
    assert "unix client: refused: refused so" in caplog.text
    assert "hunter2" not in caplog.text


def send_for_ever(sock: socket.socket) -> NoReturn:
    while True:
        sock.sendall(b'{"n":0}\0' * 100)
