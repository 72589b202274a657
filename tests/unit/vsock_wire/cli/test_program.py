from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from vsock_wire.cli.program import run_program
from vsock_wire.errors import InputError, ToolError, TransportError

ROOT = Path(__file__).parents[4]


class UsageFaultError(Exception):
    """Stands in for click's base class of usage errors."""

    possibilities: list[str] | None = None

    def __init__(self, text: str = "No such option: --nope.") -> None:
        super().__init__(text)

    def format_message(self) -> str:
        return str(self)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    handler, hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
    yield
    signal.signal(signal.SIGINT, handler)
    sys.unraisablehook = hook


def outcome_of(action: Callable[[], object]) -> int:
    """Return the exit code of a program whose command is ``action``."""

    def command(*, prog_name: str, standalone_mode: bool) -> object:
        assert prog_name == "tool"
        assert not standalone_mode
        return action()

    with pytest.raises(SystemExit) as caught:
        run_program("tool", command, UsageFaultError)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def raising(error: BaseException) -> Callable[[], NoReturn]:
    def action() -> NoReturn:
        raise error

    return action


class TestRunProgram:
    @pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (3, 3), ("text", 0)])
    def test_exit_code_is_the_commands(self, returned: object, code: int) -> None:
        assert outcome_of(lambda: returned) == code

    def test_tool_error_is_printed_with_its_hint(self, capsys: pytest.CaptureFixture[str]) -> None:
        error = TransportError("connect to", "vsock://16:3000", "no answer", hint="is it running?")
        assert outcome_of(raising(error)) == 3
        assert capsys.readouterr() == (
            "",
            "tool: error: connect to vsock://16:3000: no answer\nhint: is it running?\n",
        )

    def test_usage_error_is_printed_like_a_tool_error(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert outcome_of(raising(UsageFaultError())) == 2
        assert capsys.readouterr() == (
            "",
            "tool: error: no such option: --nope\nhint: for usage, run: tool --help\n",
        )

    def test_usage_error_suggests_what_was_meant(self, capsys: pytest.CaptureFixture[str]) -> None:
        error = UsageFaultError("No such option: --nop.")
        error.possibilities = ["--nope", "--no"]
        assert outcome_of(raising(error)) == 2
        first = capsys.readouterr().err.splitlines()[0]
        assert first == "tool: error: no such option: --nop; did you mean '--nope' or '--no'?"

    @pytest.mark.parametrize(
        ("sentence", "printed"),
        [
            ("Missing argument 'FILE'.", "missing argument 'FILE'"),
            ("LOCAL_PORT and REMOTE_PORT must be given together", "LOCAL_PORT and REMOTE_PORT must be given together"),
            ("UserData: too long.", "UserData: too long"),
            ("--key-id: missing", "--key-id: missing"),
            ("-4 and -6 cannot be used together", "-4 and -6 cannot be used together"),
            ("", ""),
        ],
    )
    def test_usage_error_keeps_the_case_of_names(
        self, sentence: str, printed: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert outcome_of(raising(UsageFaultError(sentence))) == 2
        assert capsys.readouterr().err.splitlines()[0] == f"tool: error: {printed}"

    def test_input_error_exits_as_a_usage_error(self) -> None:
        assert outcome_of(raising(InputError("x"))) == 2

    def test_unexpected_error_shows_its_place_but_not_its_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert outcome_of(raising(KeyError("the secret key"))) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("tool: error: internal error: KeyError; this is a bug, at:\n")
        assert "test_program.py" in err
        assert "secret" not in err

    def test_terminal_escapes_of_a_peer_are_printed_harmlessly(self, capsys: pytest.CaptureFixture[str]) -> None:
        outcome_of(raising(ToolError("bad\x1b[2J\nhint: forged", hint="a\rb")))
        assert capsys.readouterr().err == "tool: error: bad\\x1b[2J\\nhint: forged\nhint: a\\rb\n"

    def test_interrupt_exits_with_130(self) -> None:
        assert outcome_of(lambda: os.kill(os.getpid(), signal.SIGINT)) == 130

    def test_interrupt_silences_what_half_made_objects_complain_of(self, capsys: pytest.CaptureFixture[str]) -> None:
        class HalfMade:
            def __del__(self) -> None:
                raise ValueError("no loop")

        outcome_of(lambda: os.kill(os.getpid(), signal.SIGINT))
        HalfMade()
        assert capsys.readouterr().err == ""

    def test_exit_of_the_command_is_kept(self) -> None:
        assert outcome_of(raising(SystemExit(1))) == 1


class TestStandardOutput:
    """Runs in a separate process, because the interpreter's shutdown is part of the test."""

    program: str = (
        "import atexit, sys, click\n"
        "from vsock_wire.cli.program import run_program\n"
        "leaves_at_once, text = sys.argv[1:]\n"
        "del sys.argv[1:]\n"
        "atexit.register(lambda: print(text, end='', file=sys.stderr))\n"
        "@click.command()\n"
        "def command():\n"
        "    sys.stdout.buffer.write(b'x' * 100)\n"
        "run_program('tool', command, click.ClickException, leaves_at_once=leaves_at_once == '1')\n"
    )

    @pytest.fixture(params=["0", "1"], autouse=True, ids=["tidies up", "leaves at once"])
    def _ending(self, request: pytest.FixtureRequest) -> None:
        self.leaves_at_once: str = request.param

    def run(self, stdout: int, text_at_exit: str = "") -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-c", self.program, self.leaves_at_once, text_at_exit],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=ROOT,
        )
        return done.returncode, done.stderr

    def test_gets_everything_before_the_end(self, tmp_path: Path) -> None:
        output = tmp_path / "output"
        with output.open("wb") as file:
            code, err = self.run(file.fileno(), "tidied up")
        assert (code, err) == (0, "tidied up" if self.leaves_at_once == "0" else "")
        assert output.read_bytes() == b"x" * 100

    def test_that_is_a_closed_pipe_ends_quietly(self) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        try:
            code, err = self.run(writer)
        finally:
            os.close(writer)
        assert (code, err) == (141, "")

    def test_that_is_a_closed_pipe_when_the_command_notices_it_ends_quietly_too(self) -> None:
        self.program = self.program.replace("100)", "100); sys.stdout.flush()")
        self.test_that_is_a_closed_pipe_ends_quietly()

    def test_that_is_full_is_an_error_but_not_a_bug(self) -> None:
        with Path("/dev/full").open("wb") as full:
            code, err = self.run(full.fileno())
        assert (code, err) == (1, "tool: error: standard output: no space left on device\n")


class TestHelp:
    @pytest.mark.parametrize(
        ("arguments", "spelled_out"),
        [
            (["help"], ["--help"]),
            (["help", "decrypt"], ["decrypt", "--help"]),
            (["help", "policy", "explain"], ["policy", "explain", "--help"]),
            (["decrypt", "help"], ["decrypt", "help"]),
            ([], []),
        ],
    )
    def test_word_before_a_command_is_the_option_after_it(
        self, arguments: list[str], spelled_out: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["tool", *arguments])
        seen: list[str] = []
        outcome_of(lambda: seen.extend(sys.argv[1:]))
        assert seen == spelled_out


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, {}), ({"NO_COLOR": "1"}, {"color": False}), ({"TERM": "dumb"}, {"color": False}), ({"NO_COLOR": ""}, {})],
)
def test_colors_are_turned_off_by_the_environment(
    variables: dict[str, str], expected: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    seen: dict[str, object] = {}

    def command(**options: object) -> None:
        seen.update(options)

    with pytest.raises(SystemExit):
        run_program("tool", command, UsageFaultError)
    assert seen == {"prog_name": "tool", "standalone_mode": False, **expected}
