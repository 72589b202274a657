from __future__ import annotations

import errno
import os
import resource
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vsock_wire.cli.result_file import open_output
from vsock_wire.errors import InputError, ToolError

SECRET = b"a secret\0\n"


def write_all(path: Path | str, *parts: bytes, before_commit: Callable[[], object] = lambda: None) -> None:
    with open_output(str(path), "--out") as output:
        for part in parts:
            output.write(part)
            output.flush()
        before_commit()
        output.commit()


def fail(error: BaseException) -> None:
    raise error


@pytest.fixture(params=["unnamed", "named"])
def _kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run a test on a file system with files without a name, and on one that refuses them as NFS does."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    if request.param == "named":
        real_open = os.open

        def refuse_unnamed(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            return real_open(path, flags, *arguments, **options)

        monkeypatch.setattr(os, "open", refuse_unnamed)
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_kind")
class TestFile:
    def test_has_exactly_what_was_written_and_only_its_owner_can_read_it(self, tmp_path: Path) -> None:
        path = tmp_path / "out"
        umask = os.umask(0o777)
        try:
            with open_output(str(path), "--out") as output:
                output.write(SECRET)
                output.write(SECRET)
                output.commit()
        finally:
            os.umask(umask)
        assert path.read_bytes() == SECRET * 2
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list(tmp_path.iterdir()) == [path]

    def test_replaces_a_file_at_once_with_another_whatever_its_mode(self, tmp_path: Path) -> None:
        path = tmp_path / "out"
        path.write_bytes(b"before")
        path.chmod(0o666)
        with path.open("rb") as before, open_output(str(path), "--out") as output:
            output.write(SECRET)
            output.flush()
            assert path.read_bytes() == b"before"
            output.commit()
            assert before.read() == b"before"
        assert path.read_bytes() == SECRET
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    @pytest.mark.parametrize("failure", [ToolError("x"), SystemExit(130)], ids=["error", "interrupt"])
    def test_leaves_nothing_and_changes_nothing_without_a_commit(self, tmp_path: Path, failure: BaseException) -> None:
        old = tmp_path / "old"
        old.write_bytes(b"before")
        for path in (tmp_path / "new", old):
            with pytest.raises(type(failure)):
                write_all(path, SECRET, before_commit=lambda: fail(failure))
        with open_output(str(old), "--out") as output:
            output.write(SECRET)
        assert list(tmp_path.iterdir()) == [old]
        assert old.read_bytes() == b"before"

    def test_name_taken_by_a_directory_meanwhile_is_an_error_and_nothing_is_left(self, tmp_path: Path) -> None:
        path = tmp_path / "out"
        with pytest.raises(ToolError, match=rf"^--out: {path}: is a directory$"):
            write_all(path, SECRET, before_commit=path.mkdir)
        assert list(tmp_path.iterdir()) == [path]

    def test_longest_name_works(self, tmp_path: Path) -> None:
        write_all(tmp_path / ("n" * 255), SECRET)
        assert (tmp_path / ("n" * 255)).read_bytes() == SECRET

    def test_missing_directory_is_an_error_before_anything_is_written(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"^--out: .*none/out: no such file or directory$"):
            write_all(tmp_path / "none/out", before_commit=lambda: pytest.fail("opened"))

    def test_file_over_the_size_limit_is_an_error_that_names_it_and_nothing_is_left(self, tmp_path: Path) -> None:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write then fails, as on a full disk
        path = tmp_path / "out"
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
            with pytest.raises(ToolError, match=rf"^--out: {path}: file too large$"):
                write_all(path, bytes(100_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
        assert list(tmp_path.iterdir()) == []


class TestTarget:
    @pytest.mark.parametrize("path", ["", "/", ".", "..", "folder", "folder/", "new/", "folder/.."])
    def test_directory_is_refused(self, tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("folder").mkdir()
        with pytest.raises(InputError, match=r"^--out: .*(is a directory|empty)$"):
            write_all(path)
        assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]

    def test_symbolic_link_is_refused_and_what_it_leads_to_is_not_changed(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"before")
        (tmp_path / "link").symlink_to("file")
        with pytest.raises(InputError, match=r"is a symbolic link$"):
            write_all(tmp_path / "link", SECRET)
        assert (tmp_path / "file").read_bytes() == b"before"

    @pytest.mark.parametrize("path", ["/dev/null", "/dev/stdout"])
    def test_device_is_refused_and_stays(self, path: str) -> None:
        with pytest.raises(InputError, match=r"is (not a regular file|a symbolic link)$") as caught:
            write_all(path, SECRET)
        assert "redirect standard output" in (caught.value.hint or "")
        assert not stat.S_ISREG(os.lstat(path).st_mode)


@pytest.mark.parametrize("path", [None, "-"])
def test_without_a_path_standard_output_is_written(path: str | None, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with open_output(path, "--out") as output:
        output.write(SECRET)
        output.commit()
    assert capfdbinary.readouterr().out == SECRET
