"""AWS's command line, its config file, its error texts, and ``check``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.proxy.bench import Bench
from tests.support.proxy.processes import Upstream, ask, closed_port, echo
from vsock_proxy.config.source import BUILT_IN_CONFIG_PATH

Run = Callable[..., tuple[int, str, str]]

AWS_FILE = """\
allowlist:
- {address: kms.us-east-1.amazonaws.com, port: 443}
- {address: kms-fips.us-east-1.amazonaws.com, port: 443}
- {address: kms.cn-north-1.amazonaws.com, port: 443}
"""


def test_several_routes_of_the_file_are_served_by_one_process(bench: Bench) -> None:
    with Upstream(echo) as first, Upstream(lambda client: client.sendall(b"second")) as second:
        listens = [bench.folder / "1.sock", bench.folder / "2.sock"]
        routes = "routes:\n" + "".join(
            f"- {{listen: 'unix:{path}', address: 127.0.0.1, port: {upstream.port}}}\n"
            for path, upstream in zip(listens, (first, second), strict=True)
        )
        bench.config.write_text(
            f"allowlist:\n- {{address: 127.0.0.0/8, port: [{first.port}, {second.port}]}}\n{routes}"
        )
        proxy = bench.run()
        proxy.wait_for("listening state", times=2)
        assert ask(bench.connect(listens[0]), b"hello") == b"hello"
        assert bench.connect(listens[1]).recv(10) == b"second"


def test_name_of_the_system_resolver_is_dialled(bench: Bench) -> None:
    with Upstream(echo) as upstream:
        bench.start("localhost", upstream.port, "-4")
        assert ask(bench.connect(), b"hello") == b"hello"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["8000", "example.invalid", "443"], 1, "The given address and port are not allowed: example.invalid:443"),
        (["8000", "kms.us-east-1.amazonaws.com", "80"], 1, "Error at checking the allowlist: The given address and"),
        (["x", "kms.us-east-1.amazonaws.com", "443"], 1, "Local port is not valid"),
        (["8000", "kms.us-east-1.amazonaws.com", "https"], 1, "Remote port is not valid"),
        (["8000", "kms.us-east-1.amazonaws.com", "65536"], 1, "Remote port is not valid"),
        (["-w", "0", "8000", "kms.us-east-1.amazonaws.com", "443"], 1, "Number of workers must not be 0"),
        (["-w", "many", "8000", "kms.us-east-1.amazonaws.com", "443"], 1, "Number of workers is not valid"),
        (["-w=0", "8000", "kms.us-east-1.amazonaws.com", "443"], 1, "Number of workers must not be 0"),
        (["8000", "bad name", "443"], 1, "Could not parse domain name"),
        (["-4", "8000", "::1", "443"], 1, "No accepted IP was found"),
        (["--idle-timeout", "nan", "8000", "kms.us-east-1.amazonaws.com", "443"], 2, "not a number of seconds"),
        (["-4", "-6", "8000", "kms.us-east-1.amazonaws.com", "443"], 2, "-4 and -6 cannot be used together"),
        (["8000", "kms.us-east-1.amazonaws.com"], 2, "LOCAL_PORT, REMOTE_ADDR and REMOTE_PORT must be given together"),
        ([], 2, "no route: name LOCAL_PORT REMOTE_ADDR REMOTE_PORT, or add routes to "),
    ],
)
def test_wrong_command_line_is_refused(
    bench: Bench, run_to_end: Run, arguments: list[str], code: int, text: str
) -> None:
    bench.config.write_text(AWS_FILE)
    got, stdout, stderr = run_to_end("--config", str(bench.config), *arguments)
    assert (got, stdout) == (code, "")
    assert f"vsock-proxy: error: {text}" in stderr or text in stderr


def test_missing_config_file_is_named(bench: Bench, run_to_end: Run) -> None:
    missing = bench.folder / "missing.yaml"
    code, _, stderr = run_to_end("--config", str(missing), "8000", "kms.us-east-1.amazonaws.com", "443")
    assert code == 1
    assert f"Could not open the file: {missing}: no such file or directory" in stderr


def test_hint_for_a_name_that_is_not_allowed_says_what_to_write_to_which_file(bench: Bench, run_to_end: Run) -> None:
    bench.config.write_text(AWS_FILE)
    _, _, stderr = run_to_end("--config", str(bench.config), "8000", "example.invalid", "443")
    assert f"hint: add {{address: example.invalid, port: 443}} to allowlist in {bench.config}\n" in stderr


def test_name_that_awss_unit_asks_for_in_china_is_explained(run_to_end: Run, bench: Bench) -> None:
    bench.allow(("kms.cn-north-1.amazonaws.com.cn", 443))
    code, _, stderr = run_to_end("--config", str(bench.config), "8000", "kms.cn-north-1.amazonaws.com", "443")
    assert code == 1
    assert "hint: AWS's host names in China end in .amazonaws.com.cn" in stderr


def test_fifo_as_config_file_is_refused(bench: Bench, run_to_end: Run) -> None:
    os.mkfifo(bench.folder / "fifo")
    code, _, stderr = run_to_end("--config", str(bench.folder / "fifo"))
    assert (code, "not a regular file" in stderr) == (2, True)


def test_files_of_aws_with_what_it_ignores_are_served_with_warnings(bench: Bench) -> None:
    with Upstream(echo) as upstream:
        bench.config.write_text(
            f"allowlist:\n- {{address: localhost, port: 0{upstream.port}, comment: x}}\n---\nsecond: document\n"
        )
        proxy = bench.run("-4", "-w=3", f"unix:{bench.path}", "127.0.0.1", f"+{upstream.port}")
        assert ask(bench.connect(), b"hello") == b"hello"
        assert "1 YAML documents after the first are ignored" in proxy.log
        assert '"comment" is ignored' in proxy.log


def test_strict_list_does_not_permit_the_address_of_a_name(bench: Bench, run_to_end: Run) -> None:
    bench.allow(("localhost", 443))
    code, _, stderr = run_to_end("--strict-allowlist", "--config", str(bench.config), "8000", "127.0.0.1", "443")
    assert (code, "The given address and port are not allowed: 127.0.0.1:443" in stderr) == (1, True)


def test_occupied_address_is_refused_with_a_hint(bench: Bench, run_to_end: Run) -> None:
    with Upstream(echo) as upstream:
        bench.start("127.0.0.1", upstream.port)
        code, _, stderr = run_to_end(
            "--config", str(bench.config), f"unix:{bench.path}", "127.0.0.1", str(upstream.port)
        )
    assert code == 1
    assert "hint: another program is already listening there" in stderr


def test_check_lists_what_is_allowed_and_dials_each_route(bench: Bench, run_to_end: Run) -> None:
    with Upstream(echo) as upstream:
        listen = f"unix:{bench.path}"
        bench.allow(
            ("localhost", upstream.port),
            ("10.0.0.0/8", 5432),
            routes=f"routes:\n- {{listen: '{listen}', address: localhost, port: {upstream.port}}}\n",
        )
        code, stdout, stderr = run_to_end("check", "-4", "--config", str(bench.config))
    assert (code, stderr) == (0, "")
    assert stdout.splitlines()[:4] == [
        f"config {bench.config}",
        f"allow localhost port {upstream.port}",
        "allow 10.0.0.0/8 port 5432",
        f"route {listen} -> localhost:{upstream.port}: 127.0.0.1",
    ]
    assert "ok, 127.0.0.1 answered in" in stdout


def test_check_fails_at_the_first_route_that_would_fail(bench: Bench, run_to_end: Run) -> None:
    with closed_port() as port:
        bench.allow(
            ("127.0.0.1", port),
            routes="routes:\n"
            f"- {{listen: 'unix:{bench.folder}/1', address: 127.0.0.1, port: {port}}}\n"
            f"- {{listen: 'unix:{bench.folder}/2', address: 127.0.0.1, port: {port}}}\n",
        )
        code, stdout, stderr = run_to_end("check", "--config", str(bench.config))
    assert code == 3
    assert "connection refused, tried 127.0.0.1" in stderr
    assert f"{bench.folder}/2" not in stdout


def test_check_of_a_name_that_does_not_resolve_fails(bench: Bench, run_to_end: Run) -> None:
    bench.allow(("nowhere.invalid", 443))
    code, _, stderr = run_to_end("check", "--config", str(bench.config), "8000", "nowhere.invalid", "443")
    assert code == 3
    assert "DNS lookup failed: nowhere.invalid" in stderr


def test_without_any_config_file_all_kms_endpoints_are_allowed(run_to_end: Run) -> None:
    code, stdout, stderr = run_to_end("check")
    used = Path(stdout.splitlines()[0].removeprefix("config "))
    assert (code, stderr, used) == (0, "", BUILT_IN_CONFIG_PATH)
    assert "allow kms.cn-north-1.amazonaws.com.cn port 443" in stdout


@pytest.mark.parametrize("option", ["--help", "--version", "-V"])
def test_help_and_version_succeed(run_to_end: Run, option: str) -> None:
    code, stdout, stderr = run_to_end(option)
    assert (code, stderr) == (0, "")
    assert "vsock-proxy" in stdout
