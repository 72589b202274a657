"""The Makefile's targets for nitro-cli, with a stand-in that records its arguments and prints what AWS documents.

Source: AWS Nitro Enclaves user guide, "nitro-cli build-enclave", "run-enclave", "console", "describe-enclaves". Whether
nitro-cli itself accepts these command lines has yet to be tested on an instance with enclaves.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PCRS = {"HashAlgorithm": "Sha512_48 { .. }", "PCR0": "1f" * 48, "PCR1": "2e" * 48, "PCR2": "3d" * 48}
ROLE = "arn:aws:iam::111122223333:role/Instance"
ADMIN = "arn:aws:iam::111122223333:role/KeyAdministrator"
NITRO_CLI = f"""#!/bin/sh
echo "$@" >> "$CALLS"
case $1 in
build-enclave)
    echo "Start building the Enclave Image..." >&2
    : > "$5" # as nitro-cli does before it builds
    [ -z "$FAIL" ] || exit 39
    echo eif > "$5"
    echo '{json.dumps({"Measurements": PCRS})}' ;;
esac
"""


class Targets:
    def __init__(self, folder: Path) -> None:
        self.calls, self.eif, self.measurements = folder / "calls", folder / "eif", folder / "measurements.json"
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.add("nitro-cli", NITRO_CLI)
        self.add("docker", '#!/bin/sh\necho docker "$@" >> "$CALLS"\n')

    def add(self, name: str, text: str) -> None:
        path = self.programs / name
        path.write_text(text, "utf-8")
        path.chmod(0o755)

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        files = [f"EIF={self.eif}", f"MEASUREMENTS={self.measurements}"]
        return subprocess.run(
            ["make", "--no-print-directory", "--old-file=images", "--old-file=.venv/.installed", *files, *arguments],
            cwd=ROOT,
            env={
                "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
                "CALLS": str(self.calls),
                "FAIL": "",
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    def seen(self) -> list[str]:
        return self.calls.read_text("utf-8").splitlines() if self.calls.exists() else []


@pytest.fixture
def targets(tmp_path: Path) -> Targets:
    return Targets(tmp_path)


def test_eif_keeps_the_measurements_and_policy_uses_them(targets: Targets) -> None:
    done = targets.make("eif")
    assert done.returncode == 0, done.stderr
    assert targets.seen() == [
        "docker load --quiet --input build/images/enclave.tar",
        f"build-enclave --docker-uri localhost/kmstool-enclave:latest --output-file {targets.eif}.part",
    ]
    assert targets.eif.read_text("utf-8") == "eif\n"
    assert json.loads(targets.measurements.read_text("utf-8"))["Measurements"] == PCRS
    policy = targets.make("policy", f"ROLE={ROLE}", f"ADMIN={ADMIN}")
    assert policy.returncode == 0, policy.stderr
    assert PCRS["PCR0"] in policy.stdout
    assert {ROLE, ADMIN} <= set(json.dumps(json.loads(policy.stdout)).split('"'))


def test_eif_that_fails_leaves_no_measurements(targets: Targets) -> None:
    done = targets.make("eif", FAIL="1")
    assert done.returncode == 2
    assert not targets.eif.exists()
    assert not targets.measurements.exists()


def test_eif_that_fails_keeps_the_older_one_and_its_measurements(targets: Targets) -> None:
    targets.eif.write_text("older", "utf-8")
    targets.measurements.write_text("the older measurements", "utf-8")
    assert targets.make("eif", FAIL="1").returncode == 2
    assert targets.eif.read_text("utf-8") == "older"
    assert targets.measurements.read_text("utf-8") == "the older measurements"


def test_policy_before_eif_or_without_roles_says_what_is_missing(targets: Targets) -> None:
    done = targets.make("policy", f"ROLE={ROLE}", f"ADMIN={ADMIN}")
    assert (done.returncode, done.stdout) == (2, "")
    assert "not found; run make eif first" in done.stderr
    targets.measurements.write_text("{}", "utf-8")
    assert "run make policy ROLE=ARN ADMIN=ARN" in targets.make("policy").stderr


def test_run_enclave_passes_its_variables_on(targets: Targets) -> None:
    assert "run make eif first" in targets.make("run-enclave").stderr
    targets.eif.touch()
    assert targets.make("run-enclave", "CID=20", "CPUS=4", "MEMORY=1024").returncode == 0
    assert targets.make("run-enclave", "DEBUG=1").returncode == 0
    shared = f"run-enclave --eif-path {targets.eif}"
    assert targets.seen() == [
        f"{shared} --enclave-cid 20 --cpu-count 4 --memory 1024",
        f"{shared} --enclave-cid 16 --cpu-count 2 --memory 512 --debug-mode",
    ]


def test_console_and_describe_call_nitro_cli(targets: Targets) -> None:
    assert targets.make("console").returncode == targets.make("describe").returncode == 0
    assert targets.seen() == ["console --enclave-name kmstool-enclave", "describe-enclaves"]


@pytest.mark.parametrize("target", ["eif", "run-enclave", "console", "describe"])
def test_missing_nitro_cli_is_reported_and_nothing_else_happens(target: str, targets: Targets) -> None:
    assert shutil.which("no-such-nitro-cli") is None
    done = targets.make(target, "NITRO_CLI=no-such-nitro-cli")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no-such-nitro-cli: not found; on an EC2 instance with enclaves:")
    assert targets.seen() == []
