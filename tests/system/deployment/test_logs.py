"""The logs of the real programs: times in UTC, as text and as JSON."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.deployment.deployment import CONTEXT_OPTIONS, Deployment

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def logs(deployment: Deployment, log_format: str) -> dict[str, list[str]]:
    """Run a decrypt through a proxy and an enclave of their own, and return the log lines of each program."""
    option = ["--log-format", log_format]
    proxy = deployment.start_proxy(f"proxy-{log_format}", *option)
    enclave = deployment.start_enclave(f"enclave-{log_format}", *option, "-v", proxy_name=f"proxy-{log_format}")
    arguments = [*option, "-vv", *CONTEXT_OPTIONS, deployment.encrypt(b"logged")]
    done = deployment.instance(*arguments, enclave=f"enclave-{log_format}")
    assert (done.returncode, done.stdout) == (0, b"logged\n")
    return {
        "kmstool-instance": done.stderr.decode().splitlines(),
        "kmstool-enclave": enclave.log().splitlines(),
        "vsock-proxy": proxy.log().splitlines(),
    }


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")


def test_text_lines_begin_with_the_time_in_utc(deployment: Deployment) -> None:
    for program, lines in logs(deployment, "text").items():
        assert lines, program
        assert [line for line in lines if not re.match(rf"{TIME} [A-Z]+ [a-z_.]+: ", line)] == [], program


def test_json_lines_are_objects_with_the_time_in_utc(deployment: Deployment) -> None:
    for program, lines in logs(deployment, "json").items():
        assert lines, program
        for line in lines:
            fields = json.loads(line)
            assert re.fullmatch(TIME, fields["time"]), program
            assert {"level", "logger", "message"} <= fields.keys()
