from __future__ import annotations

import threading
import time

import pytest

from tests.support.wire.running_server import TIMEOUT_S, StartServer, echo
from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.protocol.vocabulary import MAX_IN_FLIGHT
from vsock_wire.rpc import server as server_module


class TestIndependentRequests:
    """Here, these are requests with an Id."""

    def test_are_answered_concurrently_and_as_soon_as_they_are_done(self, start: StartServer) -> None:
        may_answer = {number: threading.Event() for number in range(4)}

        def answer(request: JsonObject) -> JsonObject:
            assert may_answer[request["Id"]].wait(TIMEOUT_S)
            return echo(request)

        with start(answer).connect() as client:
            for number in range(4):
                client.send(Id=number)
            for number in (2, 0, 3, 1):
                may_answer[number].set()
                assert client.receive() == {"Status": "Ok", "Id": number}

    def test_no_more_than_the_limit_are_in_progress(self, start: StartServer) -> None:
        in_work, most, may_answer = [], [0], threading.Event()

        def answer(request: JsonObject) -> JsonObject:
            in_work.append(request["Id"])
            most[0] = max(most[0], len(in_work))
            assert may_answer.wait(TIMEOUT_S)
            in_work.remove(request["Id"])
            return echo(request)

        with start(answer).connect() as client:
            for number in range(3 * MAX_IN_FLIGHT):
                client.send(Id=number)
            deadline = time.monotonic() + TIMEOUT_S
            while len(in_work) < MAX_IN_FLIGHT and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.1)
            may_answer.set()
            answered = [reply["Id"] for reply in (client.receive() for _ in range(3 * MAX_IN_FLIGHT)) if reply]
        assert sorted(answered) == list(range(3 * MAX_IN_FLIGHT))
        assert most[0] == MAX_IN_FLIGHT

    def test_one_without_an_id_is_answered_before_the_next_one_is_read(self, start: StartServer) -> None:
        with start().connect() as client:
            client.sock.sendall(b"".join(b'{"n":%d}\0{"Id":%d}\0' % (number, number) for number in range(50)))
            replies = [reply for reply in (client.receive() for _ in range(100)) if reply]
        assert [reply["n"] for reply in replies if "n" in reply] == list(range(50))
        assert sorted(reply["Id"] for reply in replies if "Id" in reply) == list(range(50))
        for number in range(49):
            assert replies.index({"Status": "Ok", "n": number}) < replies.index({"Status": "Ok", "Id": number})

    def test_are_answered_in_order_if_no_threads_remain(
        self, start: StartServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server_module, "MAX_SIDE_THREADS", 0)
        with start().connect() as client:
            client.sock.sendall(b"".join(b'{"Id":%d}\0' % number for number in range(50)))
            assert [client.receive() for _ in range(50)] == [{"Status": "Ok", "Id": number} for number in range(50)]

    def test_a_client_that_leaves_with_many_in_progress_leaves_no_threads(self, start: StartServer) -> None:
        may_answer = threading.Event()

        def answer(request: JsonObject) -> JsonObject:
            assert may_answer.wait(TIMEOUT_S)
            return echo(request)

        running = start(answer)
        before = threading.active_count()
        client = running.connect()
        for number in range(MAX_IN_FLIGHT):
            client.send(Id=number)
        client.connection.close()
        may_answer.set()
        deadline = time.monotonic() + TIMEOUT_S
        while threading.active_count() > before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert threading.active_count() <= before

    def test_a_bug_in_one_costs_only_the_connection(self, start: StartServer) -> None:
        def answer(request: JsonObject) -> JsonObject:
            if request.get("Id") == 1:
                raise KeyError("the plaintext is hunter2")
            return echo(request)

        running = start(answer)
        with running.connect() as client:
            client.send(Id=1)
            assert client.receive() is None
        with running.connect() as client:
            assert client.ask(n=1) == {"Status": "Ok", "n": 1}
