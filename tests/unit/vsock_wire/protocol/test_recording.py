from __future__ import annotations

import threading

from vsock_wire.protocol.recording import is_recording, record, recording


class TestRecording:
    def test_nothing_is_kept_outside_a_recording(self) -> None:
        record("a step")
        with recording() as steps:
            pass
        record("a step")
        assert steps == []
        assert not is_recording()

    def test_steps_are_kept_in_order(self) -> None:
        with recording() as steps:
            assert is_recording()
            for step in (1, 2, 3):
                record(step)
        assert steps == [1, 2, 3]

    def test_inner_recording_keeps_its_steps_and_the_outer_one_continues_after_it(self) -> None:
        with recording() as outer:
            record(1)
            with recording() as inner:
                record(2)
            record(3)
        assert (outer, inner) == ([1, 3], [2])

    def test_other_threads_neither_see_it_nor_write_to_it(self) -> None:
        is_recording_there: list[bool] = []

        def other() -> None:
            is_recording_there.append(is_recording())
            record("from another thread")

        with recording() as steps:
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
        assert (is_recording_there, steps) == ([False], [])

    def test_concurrent_threads_keep_their_own_steps(self) -> None:
        both_record = threading.Barrier(2, timeout=10)
        kept: dict[int, list[object]] = {}

        def run(number: int) -> None:
            with recording() as steps:
                both_record.wait()
                record(number)
                both_record.wait()
            kept[number] = steps

        threads = [threading.Thread(target=run, args=(number,)) for number in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert kept == {1: [1], 2: [2]}
