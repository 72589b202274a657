"""Tests with real processes: every run must end and leave no process running."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from enclave_tool.delivery import program as delivery_program
from enclave_tool.delivery.policy import MAX_OUTPUT_BYTES, MAX_PROCESSES, Program, ProgramLimits
from enclave_tool.delivery.program import ProgramRunner
from enclave_tool.errors import DeliveryError
from vsock_wire.errors import InputError

SECRET = b"hunter2 hunter2"
AMPLE_S = 20.0
"""Passing tests never wait this long."""
MARK = f"9{os.getpid()}.5"
"""A number of seconds for which only processes of these tests sleep."""


def shell(script: str, *, time_s: float = AMPLE_S, memory_mib: int = 512) -> ProgramRunner:
    return ProgramRunner(Program(("/bin/sh", "-c", script), ProgramLimits(time_s, memory_mib << 20)))


def python(script: str, *, time_s: float = AMPLE_S, memory_mib: int = 512) -> ProgramRunner:
    argv = (sys.executable, "-I", "-S", "-c", script)
    return ProgramRunner(Program(argv, ProgramLimits(time_s, memory_mib << 20)))


def marked_processes() -> set[int]:
    """Return the processes that have MARK in their arguments."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if MARK.encode() in path.read_bytes():
                found.add(int(path.parent.name))
    return found


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    assert marked_processes() == set()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class TestGoodProgram:
    def test_gets_the_secret_on_standard_input_and_its_output_comes_back(self) -> None:
        assert shell("tr a-z A-Z").run(SECRET) == SECRET.upper()

    @pytest.mark.parametrize("size", [0, 1, 4_096, 70_000])
    def test_gets_every_byte_of_it(self, size: int) -> None:
        assert shell("wc -c").run(bytes(size)).strip() == str(size).encode()

    def test_may_write_as_much_as_the_limit(self) -> None:
        assert len(shell(f"cat >/dev/null; head -c {MAX_OUTPUT_BYTES} /dev/zero").run(SECRET)) == MAX_OUTPUT_BYTES

    def test_sees_its_arguments_and_a_clean_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SESSION_TOKEN", "theSessionToken")
        script = "import os, sys; sys.stdin.read(); print(sys.argv[1:], sorted(os.environ), os.getcwd())"
        argv = (sys.executable, "-I", "-S", "-c", script, "one $HOME", "--two", "*")
        output = ProgramRunner(Program(argv)).run(SECRET).decode()
        assert output == "['one $HOME', '--two', '*'] ['LANG', 'PATH'] /\n"

    def test_has_no_descriptor_of_the_server_and_a_session_of_its_own(self) -> None:
        script = (
            "import os, sys; sys.stdin.read(); os.getsid(0) == os.getpid() == os.getpgid(0) or sys.exit(9);"
            "print(*[d for d in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + d)])"
        )
        with Path("/dev/null").open("rb") as file:
            os.set_inheritable(file.fileno(), True)
            assert python(script).run(SECRET).split() == [b"0", b"1", b"2"]

    def test_has_no_terminal_and_its_standard_error_is_discarded(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert shell("cat >&2; echo done").run(SECRET) == b"done\n"
        assert capfd.readouterr() == ("", "")

    def test_starts_without_ignored_signals(self) -> None:
        """Python ignores SIGPIPE, nohup makes a server ignore SIGHUP, and a child would inherit both."""
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            ignored = shell("cat >/dev/null; grep SigIgn /proc/self/status").run(SECRET).split()[1]
        finally:
            signal.signal(signal.SIGHUP, before)
        assert int(ignored, 16) & 0x7FFF_FFFF == 0  # signals 1 to 31; the next two are the C library's own

    def test_leaves_no_core_dump(self) -> None:
        assert shell("cat >/dev/null; ulimit -Hc").run(SECRET) == b"0\n"

    def test_several_run_concurrently(self) -> None:
        """Each waits until all have started, so they would never end if they ran one after the other."""
        count = 4
        gates = [os.pipe() for _ in range(count)]
        paths = [f"/proc/{os.getpid()}/fd/{write_end}" for _, write_end in gates]
        opened = f"/proc/{os.getpid()}/fd"
        runners = [
            shell(f"cat; for gate in {' '.join(paths)}; do echo > $gate; done; head -n {count} <{opened}/{gates[i][0]}")
            for i in range(count)
        ]
        try:
            with ThreadPoolExecutor(count) as pool:
                outputs = list(pool.map(lambda i: runners[i].run(b"secret %d " % i), range(count)))
        finally:
            for gate in gates:
                for descriptor in gate:
                    os.close(descriptor)
        assert outputs == [b"secret %d " % i + b"\n" * count for i in range(count)]

    def test_leaks_no_descriptor(self) -> None:
        runner = shell("cat")
        runner.run(SECRET)
        before = open_descriptors()
        for _ in range(3):
            runner.run(SECRET)
        with pytest.raises(DeliveryError):
            shell("exit 3").run(SECRET)
        assert open_descriptors() == before


class TestContainment:
    def test_program_that_hangs_is_killed_in_time(self) -> None:
        started = time.monotonic()
        with pytest.raises(DeliveryError, match=r"^program sh: did not end within 0.3 s$"):
            shell(f"cat; sleep {MARK}", time_s=0.3).run(SECRET)
        assert time.monotonic() - started < 5.0

    def test_program_that_ignores_signals_is_killed(self) -> None:
        with pytest.raises(DeliveryError, match="did not end within"):
            shell(f"trap '' TERM INT HUP; cat; while :; do sleep {MARK}; done", time_s=0.3).run(SECRET)

    @pytest.mark.parametrize(
        ("script", "how"),
        [
            ("cat; exit 3", "exited with code 3"),
            ("cat; kill -9 $$", "was killed by SIGKILL"),
            ("cat; kill -SEGV $$", "was killed by SIGSEGV"),
        ],
    )
    def test_output_of_a_program_that_dies_is_dropped(self, script: str, how: str) -> None:
        with pytest.raises(DeliveryError, match=rf"^program sh: {how}$") as caught:
            shell(script).run(SECRET)
        assert "hunter2" not in f"{caught.value!r} {caught.value.hint}"

    @pytest.mark.parametrize(
        "script",
        ["yes", "cat; yes | cat", f"(setsid yes &); sleep {MARK}"],
        ids=["itself", "by a pipeline", "from a session of its own"],
    )
    def test_program_that_floods_its_output_is_killed(self, script: str) -> None:
        with pytest.raises(DeliveryError, match=rf"wrote more than {MAX_OUTPUT_BYTES} bytes of output$"):
            shell(script).run(SECRET)

    def test_output_of_one_byte_too_many_is_refused(self) -> None:
        with pytest.raises(DeliveryError, match=r"wrote more than [0-9]+ bytes of output"):
            shell(f"cat >/dev/null; head -c {MAX_OUTPUT_BYTES + 1} /dev/zero").run(SECRET)

    @pytest.mark.parametrize("script", ["echo fine", "exec <&-; echo fine"])
    def test_program_that_reads_nothing_is_an_error(self, script: str) -> None:
        with pytest.raises(DeliveryError, match="left 15 bytes of the secret unread"):
            shell(script).run(SECRET)

    def test_program_that_reads_only_a_part_is_an_error(self) -> None:
        with pytest.raises(DeliveryError, match="left 10 bytes of the secret unread"):
            shell("dd bs=1 count=5 2>/dev/null").run(SECRET)

    def test_program_that_neither_reads_nor_ends_is_killed_however_long_the_secret(self) -> None:
        with pytest.raises(DeliveryError, match="did not end within"):
            shell(f"sleep {MARK}", time_s=0.3).run(bytes(200_000))

    def test_program_that_takes_too_much_memory_fails(self) -> None:
        script = "import sys; sys.stdin.read(); data = bytearray(200 << 20); print(len(data))"
        assert python(script).run(SECRET) == b"%d\n" % (200 << 20)
        with pytest.raises(DeliveryError, match="exited with code 1") as caught:
            python(script, memory_mib=100).run(SECRET)
        assert "100 MiB" in (caught.value.hint or "")

    def test_processes_that_would_outlive_the_program_are_killed(self) -> None:
        script = (
            "import os, sys\ndata = sys.stdin.read()\nready, tell = os.pipe()\n"
            "for leave in (lambda: None, os.setsid, os.setpgrp):\n    if os.fork() == 0:\n        leave()\n"
            "        if os.fork() == 0:\n            os.write(tell, b'x')\n"
            f"            os.execvp('sleep', ['sleep', '{MARK}'])\n        os._exit(0)\n"
            "for _ in range(3):\n    os.wait()\n    os.read(ready, 1)\nprint(data, end='')"
        )
        assert python(script).run(SECRET) == SECRET

    def test_output_ends_with_the_program_even_if_a_child_holds_the_pipe(self) -> None:
        assert shell(f"cat; (setsid sleep {MARK} &)").run(SECRET) == SECRET

    def test_program_that_forks_endlessly_is_killed(self) -> None:
        """The tree of processes would stop at 512, so that a failure does not take the machine down."""
        with pytest.raises(DeliveryError, match=rf"^program \S+: started more than {MAX_PROCESSES} processes$"):
            python(f"import os, time; [os.fork() for _ in range(9)]; time.sleep({MARK})").run(SECRET)

    def test_processes_that_leave_group_and_session_are_counted_and_killed(self) -> None:
        script = (
            "import os, time\nfor _ in range(200):\n    if os.fork() == 0:\n        os.setsid()\n"
            f"        if os.fork() == 0:\n            time.sleep({MARK})\n        os._exit(0)\ntime.sleep({MARK})"
        )
        with pytest.raises(DeliveryError, match="started more than"):
            python(script).run(SECRET)

    def test_program_that_kills_its_supervisor_delivers_nothing_and_is_killed(self) -> None:
        with pytest.raises(DeliveryError, match="its supervisor did not report how it ended"):
            shell(f"cat; kill -9 $PPID; exec sleep {MARK}").run(SECRET)
        for process in marked_processes():  # killed by the kernel, perhaps not yet gone
            _await_death(process)

    def test_hanging_program_does_not_hold_up_another(self) -> None:
        with ThreadPoolExecutor(1) as pool:
            hanging = pool.submit(shell(f"sleep {MARK}", time_s=1.5).run, SECRET)
            assert shell("cat").run(SECRET) == SECRET
            assert not hanging.done()
            assert isinstance(hanging.exception(), DeliveryError)

    def test_runs_over_the_limit_wait_for_their_turn_within_their_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(delivery_program, "MAX_PROGRAMS", 1)
        runner = shell("read line; echo $line", time_s=0.5)
        entered, may_end = threading.Event(), threading.Event()

        def occupy(_secret: bytes, _deadline: float) -> bytes:
            entered.set()
            may_end.wait(AMPLE_S)
            return b""

        with ThreadPoolExecutor(1) as pool, monkeypatch.context() as patched:
            patched.setattr(runner, "_run", occupy)
            pool.submit(runner.run, SECRET)
            assert entered.wait(AMPLE_S)
            with pytest.raises(DeliveryError, match="1 other runs did not end in time"):
                runner.run(SECRET)
            may_end.set()
        assert runner.run(b"next\n") == b"next\n"


class TestStart:
    @pytest.mark.parametrize("name", ["missing", "folder", "not-executable"])
    def test_without_an_executable_program_fails(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "not-executable").touch(mode=0o644)
        with pytest.raises(InputError, match=r"^--deliver-exec: not an executable file: /"):
            ProgramRunner(Program((str(tmp_path / name),)))

    def test_of_a_file_that_the_kernel_cannot_execute_is_an_error(self, tmp_path: Path) -> None:
        file = tmp_path / "program"
        file.write_bytes(b"\x7fELF of no machine")
        file.chmod(0o755)
        with pytest.raises(DeliveryError, match=r"^program program: cannot be started: exec format error$"):
            ProgramRunner(Program((str(file),))).run(SECRET)

    def test_without_a_supervisor_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", "/no/such/python")
        before = open_descriptors()
        with pytest.raises(DeliveryError, match=r"cannot be started: no such file or directory$"):
            shell("cat").run(SECRET)
        assert open_descriptors() == before


def _await_death(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(process)
        try:
            select.select([descriptor], [], [], AMPLE_S)
        finally:
            os.close(descriptor)
