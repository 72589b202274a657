from __future__ import annotations

import os

from vsock_wire.rpc.shared_load import SharedLoad


def test_a_count_is_seen_by_other_processes() -> None:
    load = SharedLoad(3)
    pid = os.fork()
    if pid == 0:
        load.set(2, 70_000)
        os._exit(0)
    os.waitpid(pid, 0)
    assert load.total() == 70_000


def test_worker_that_serves_more_than_another_is_ahead() -> None:
    load = SharedLoad(2)
    assert not load.is_ahead(0)
    load.set(0, 1)
    assert load.is_ahead(0)
    assert not load.is_ahead(1)
    load.set(1, 1)
    assert not load.is_ahead(0)
    assert load.total() == 2
