"""A batch shows its progress on a terminal, and only there."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from pathlib import Path

import pytest

from nitro_simulator.deployment import command_lines as commands
from nitro_simulator.deployment import processes
from tests.support.deployment.deployment import CONTEXT_OPTIONS, Deployment

LINES = 400


@pytest.fixture
def batch(deployment: Deployment, tmp_path: Path) -> Path:
    path = tmp_path / "ciphertexts"
    path.write_text(f"{deployment.encrypt(b'many')}\n" * LINES)
    return path


def errors_of(deployment: Deployment, batch: Path, output: int, errors: int, *options: str) -> None:
    arguments = commands.instance_arguments(deployment.account, name="enclave")
    with batch.open("rb") as lines:
        done = subprocess.run(
            [processes.tool_path("kmstool-instance"), *arguments, *CONTEXT_OPTIONS, "--batch", *options],
            stdin=lines,
            stdout=output,
            stderr=errors,
            env=processes.clean_environment(deployment.account.imds_environment),
            timeout=120,
            check=False,
        )
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("options", "is_output_terminal", "is_shown"), [((), False, True), (("--quiet",), False, False), ((), True, False)]
)
def test_line_is_drawn_on_a_terminal_and_cleared_at_the_end(
    deployment: Deployment,
    batch: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    *,
    is_output_terminal: bool,
    is_shown: bool,
) -> None:
    ours, theirs = os.openpty()
    output = tmp_path / "plaintexts"
    try:
        with output.open("wb") as file:
            errors_of(deployment, batch, theirs if is_output_terminal else file.fileno(), theirs, *options)
        shown = os.read(ours, 65_536) if is_shown or is_output_terminal else b""
        os.set_blocking(ours, False)
        with pytest.raises(BlockingIOError):
            os.read(ours, 65_536)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (b" lines, " in shown) is is_shown
    assert shown.endswith(b"\r\x1b[K") is is_shown
    if not is_output_terminal:
        assert output.read_bytes() == b"many\n" * LINES


def test_nothing_is_drawn_into_a_file(deployment: Deployment, batch: Path, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as output, (tmp_path / "err").open("wb") as errors:
        errors_of(deployment, batch, output.fileno(), errors.fileno())
    assert (tmp_path / "err").read_bytes() == b""


class Terminal:
    """What a terminal shows: the text of its lines, and the column of the cursor."""

    def __init__(self) -> None:
        self.lines = [""]
        self.column = 0

    def write(self, data: bytes) -> None:
        text = data.decode()
        while text:
            if text.startswith("\x1b[K"):
                self.lines[-1], text = self.lines[-1][: self.column], text[3:]
                continue
            character, text = text[0], text[1:]
            if character == "\r":
                self.column = 0
            elif character == "\n":
                self.lines.append("")
                self.column = 0
            else:
                line = self.lines[-1].ljust(self.column)
                self.lines[-1] = line[: self.column] + character + line[self.column + 1 :]
                self.column += 1


def test_prompt_after_ctrl_c_starts_on_a_line_of_its_own(deployment: Deployment, tmp_path: Path) -> None:
    """The terminal echoes ^C on the line of the progress bar. The batch waits for input that never comes."""
    ours, theirs = os.openpty()
    terminal = Terminal()
    ciphertext = f"{deployment.encrypt(b'many')}\n".encode()
    with (tmp_path / "plaintexts").open("wb") as output:
        process = subprocess.Popen(
            [
                processes.tool_path("kmstool-instance"),
                *commands.instance_arguments(deployment.account, name="enclave"),
                *CONTEXT_OPTIONS, "--batch",
            ],
            stdin=subprocess.PIPE, stdout=output, stderr=theirs,
            env=processes.clean_environment(deployment.account.imds_environment),
        )  # fmt: skip
        os.close(theirs)
        assert process.stdin is not None
        while " lines, " not in terminal.lines[-1]:
            process.stdin.write(ciphertext)
            process.stdin.flush()
            if select.select([ours], [], [], 0.05)[0]:
                terminal.write(os.read(ours, 65_536))
        terminal.write(b"^C")
        process.send_signal(signal.SIGINT)
        process.stdin.close()
        assert process.wait(60) == 130
    while True:
        try:
            terminal.write(os.read(ours, 65_536))
        except OSError:  # every process has closed its end
            break
    os.close(ours)
    assert (terminal.lines, terminal.column) == ([""], 0)


def test_dumb_terminal_gets_no_progress_line(
    deployment: Deployment, batch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    ours, theirs = os.openpty()
    try:
        with (tmp_path / "plaintexts").open("wb") as output:
            errors_of(deployment, batch, output.fileno(), theirs)
        os.set_blocking(ours, False)
        with pytest.raises(BlockingIOError):
            os.read(ours, 65_536)
    finally:
        os.close(ours)
        os.close(theirs)
