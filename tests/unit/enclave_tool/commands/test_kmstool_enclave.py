from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from enclave_tool.commands import kmstool_enclave as cli
from enclave_tool.commands.kmstool_enclave import main
from enclave_tool.server import app
from enclave_tool.server.config import Config
from vsock_wire.net.address import CID_ANY, TcpAddress, UnixAddress, VsockAddress


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _loggers() -> Iterator[None]:
    import logging

    yield
    for name in ("enclave_tool", "vsock_wire"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.NOTSET)
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, logging.NullHandler)]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The configurations that the server would have been started with."""
    served: list[Config] = []
    monkeypatch.setattr(cli, "serve", served.append)
    return served


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str, program: str = "kmstool-enclave") -> int:
    monkeypatch.setattr("sys.argv", [program, *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


class TestConfiguration:
    def test_defaults_are_kmstools(self, monkeypatch: pytest.MonkeyPatch, served: list[Config]) -> None:
        monkeypatch.delenv("REGION", raising=False)
        monkeypatch.delenv("ENDPOINT", raising=False)
        monkeypatch.delenv("PROXY_PORT", raising=False)
        assert run(monkeypatch) == 0
        assert served == [Config()]

    def test_accepts_kmstools_own_options(self, monkeypatch: pytest.MonkeyPatch, served: list[Config]) -> None:
        assert run(monkeypatch, "--region", "eu-west-1", "--port", "5000", "--proxy-port", "2000") == 0
        assert served[0].region == "eu-west-1"
        assert served[0].listen == VsockAddress(CID_ANY, 5_000)
        assert served[0].kms.proxy_address == VsockAddress(3, 2_000)

    def test_region_proxy_and_endpoint_may_come_from_the_environment(
        self, monkeypatch: pytest.MonkeyPatch, served: list[Config]
    ) -> None:
        monkeypatch.setenv("REGION", "eu-west-1")
        monkeypatch.setenv("ENDPOINT", "kms.local")
        monkeypatch.setenv("PROXY_PORT", "2000")
        assert run(monkeypatch) == 0
        assert (served[0].region, served[0].kms.endpoint_host) == ("eu-west-1", "kms.local")
        assert served[0].kms.proxy_address == VsockAddress(3, 2_000)

    @pytest.mark.parametrize("name", ["REGION", "ENDPOINT", "PROXY_PORT"])
    def test_empty_variable_counts_as_none(
        self, monkeypatch: pytest.MonkeyPatch, served: list[Config], name: str
    ) -> None:
        monkeypatch.setenv(name, "")
        assert run(monkeypatch) == 0
        assert served == [Config()]

    def test_short_flags_are_those_of_kmstool(self, monkeypatch: pytest.MonkeyPatch, served: list[Config]) -> None:
        assert run(monkeypatch, "-r", "eu-west-1", "-p", "5000", "-x", "2000") == 0
        assert served[0].region == "eu-west-1"
        assert served[0].listen == VsockAddress(CID_ANY, 5_000)
        assert served[0].kms.proxy_address == VsockAddress(3, 2_000)

    def test_under_its_c_name_reads_the_variables_of_kmstool_and_exits_with_1(
        self, monkeypatch: pytest.MonkeyPatch, served: list[Config]
    ) -> None:
        for name, text in (("REGION", "eu-west-1"), ("ENDPOINT", "kms.local"), ("PROXY_PORT", "2000")):
            monkeypatch.setenv(name, text)
        assert run(monkeypatch, program="/kmstool_enclave") == 0
        assert (served[0].region, served[0].kms.endpoint_host) == ("eu-west-1", "kms.local")
        assert served[0].kms.proxy_address == VsockAddress(3, 8_000)
        assert run(monkeypatch, "--no-such-option", program="/kmstool_enclave") == 1
        assert run(monkeypatch, "--help", program="/kmstool_enclave") == 0

    def test_ignores_other_variables_of_the_environment(
        self, monkeypatch: pytest.MonkeyPatch, served: list[Config]
    ) -> None:
        for prefix in ("", "KMSTOOL_ENCLAVE_", "KMSTOOL_"):
            for option in ("PROXY", "LISTEN", "NSM", "CA_FILE", "ALLOW_NON_VSOCK", "PARENT_CID", "KEY_BITS"):
                monkeypatch.setenv(prefix + option, "1")
        assert run(monkeypatch) == 0
        assert served == [Config()]

    def test_accepts_other_sockets_when_allowed(self, monkeypatch: pytest.MonkeyPatch, served: list[Config]) -> None:
        options = ("--listen", "unix:/l", "--proxy", "tcp://localhost:1", "--nsm", "unix:/n")
        assert run(monkeypatch, *options, "--allow-non-vsock") == 0
        assert (served[0].listen, served[0].kms.proxy_address) == (UnixAddress("/l"), TcpAddress("localhost", 1))
        assert served[0].nsm == UnixAddress("/n")

    def test_limits_and_key_size_are_taken(self, monkeypatch: pytest.MonkeyPatch, served: list[Config]) -> None:
        options = (
            "--max-connections",
            "7",
            "--idle-timeout",
            "1.5",
            "--key-bits",
            "3072",
            "--attestation-max-age",
            "60",
        )
        assert run(monkeypatch, *options) == 0
        assert (served[0].limits.max_connections, served[0].limits.idle_timeout_s) == (7, 1.5)
        assert (served[0].key_bits, served[0].max_document_age_s) == (3_072, 60.0)


class TestUsageErrors:
    @pytest.mark.parametrize(
        "arguments",
        [
            ("--nope",),
            ("extra",),
            ("--port",),
            ("--port", "x"),
            ("--port", "-1"),
            ("--port", "4294967295"),
            ("--parent-cid", "4294967296"),
            ("--listen", "unix:/l"),
            ("--listen", "tcp://localhost:1"),
            ("--proxy", "unix:/p"),
            ("--nsm", "unix:/n"),
            ("--nsm", "nsm"),
            ("--listen", "nonsense", "--allow-non-vsock"),
            ("--endpoint", "http://kms.local"),
            ("--ca-file", "/no/such/file"),
            ("--key-bits", "1024"),
            ("--max-connections", "0"),
            ("--idle-timeout", "0"),
            ("--idle-timeout", "nan"),
            ("--idle-timeout", "inf"),
            ("--attestation-max-age", "-1"),
            ("--attestation-max-age", "nan"),
            ("--attestation-max-age", "inf"),
        ],
        ids=" ".join,
    )
    def test_is_one_line_and_a_hint_and_exit_2(
        self,
        monkeypatch: pytest.MonkeyPatch,
        served: list[Config],
        capsys: pytest.CaptureFixture[str],
        arguments: tuple[str, ...],
    ) -> None:
        assert run(monkeypatch, *arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("kmstool-enclave: error: ")
        assert len([line for line in err.splitlines() if not line.startswith("hint: ")]) == 1
        assert served == []

    def test_malformed_endpoint_in_the_environment_is_one_too(
        self, monkeypatch: pytest.MonkeyPatch, served: list[Config]
    ) -> None:
        monkeypatch.setenv("ENDPOINT", "http://evil.example/")
        assert run(monkeypatch) == 2
        assert served == []


class TestStart:
    def test_without_a_module_fails_before_anything_listens(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        assert run(monkeypatch, "--nsm", str(tmp_path / "nsm")) == 1
        err = capsys.readouterr().err
        assert err.startswith("kmstool-enclave: error: NSM open ")
        assert "only a Nitro Enclave has this device" in err

    def test_with_a_file_for_a_module_fails_closed(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "nsm").touch()
        listened: list[object] = []
        monkeypatch.setattr(app, "listen_socket", listened.append)
        assert run(monkeypatch, "--nsm", str(tmp_path / "nsm")) == 1
        assert listened == []

    @pytest.mark.parametrize("option", ["-h", "--help", "--version"])
    def test_of_the_help_prints_to_standard_output(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str
    ) -> None:
        assert run(monkeypatch, option) == 0
        out, err = capsys.readouterr()
        assert "kmstool-enclave" in out
        assert err == ""
