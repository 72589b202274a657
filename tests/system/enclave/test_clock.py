"""An enclave whose clock differs from AWS's, with real processes. The tests move AWS's clock."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from enclave_tool.kms.clock_skew import MAX_CLOCK_OFFSET_S
from nitro_simulator.clock import utc_now
from nitro_simulator.deployment.processes import Tool
from tests.support.deployment.deployment import CONTEXT_OPTIONS, Deployment, deploy


class MovableClock:
    """A clock that must never go back: the simulated NSM's certificates are valid from when they were made."""

    def __init__(self) -> None:
        self.offset = timedelta(minutes=-10)

    def __call__(self) -> datetime:
        return utc_now() + self.offset


def _warnings(enclave: Tool) -> list[str]:
    return re.findall(r" WARNING enclave_tool\.kms\.clock_skew: clock: (.*)", enclave.log())


def _decrypts(deployment: Deployment) -> None:
    done = deployment.instance(*CONTEXT_OPTIONS, deployment.encrypt(b"in time"))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"in time\n", b"")


def test_clock_within_the_bound_is_corrected_with_a_warning_and_beyond_it_refused_with_a_hint() -> None:
    clock = MovableClock()
    with deploy(clock=clock) as deployment:
        enclave = deployment.tools["enclave"]
        _decrypts(deployment)
        deployment.account.imds._credentials = None  # new credentials get their own KMS client in the enclave
        _decrypts(deployment)
        (slow,) = _warnings(enclave)
        assert re.match(r"KMS's clock is -60[01] s from the enclave's: signing by KMS's clock from now on", slow)

        clock.offset = timedelta(minutes=10)
        _decrypts(deployment)
        _, fast = _warnings(enclave)
        assert re.match(r"KMS's clock is \+(600|599) s", fast)

        clock.offset = timedelta(seconds=MAX_CLOCK_OFFSET_S + 600)
        done = deployment.instance(*CONTEXT_OPTIONS, deployment.encrypt(b"too late"))
        assert (done.returncode, done.stdout) == (5, b"")
        error, hint = done.stderr.decode().splitlines()
        assert "InvalidSignatureException: Signature expired" in error
        assert re.match(r"hint: the enclave's clock is (4200|4199) s behind KMS's", hint)
        assert "up to 3600 s are corrected automatically: set the enclave's clock" in hint
        assert len(_warnings(enclave)) == 2
