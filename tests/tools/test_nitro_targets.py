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

from nitro_attestation.image.description import measure_image_file
from nitro_attestation.measurements import parse_measurements
from tests.support.images.container_archives import Item, docker_archive, folder, layer
from tests.support.images.image_files import image_bytes

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
    if [ -e "$RESULT" ]; then cp "$RESULT" "$5"; else echo eif > "$5"; fi
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
            [
                "make",
                "--no-print-directory",
                "--old-file=enclave-image",
                "--old-file=.venv/.installed",
                *files,
                *arguments,
            ],
            cwd=ROOT,
            env={
                "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
                "CALLS": str(self.calls),
                "FAIL": "",
                "RESULT": "",
                "NITRO_CLI_BLOBS": str(self.calls.with_name("blobs")),
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    def output(self) -> str:
        """Return the file that nitro-cli was told to write."""
        return next(call.rpartition(" ")[2] for call in self.seen() if call.startswith("build-enclave"))

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
        f"build-enclave --docker-uri localhost/kmstool-enclave:latest --output-file {targets.output()}",
    ]
    assert targets.eif.read_text("utf-8") == "eif\n"
    assert json.loads(targets.measurements.read_text("utf-8"))["Measurements"] == PCRS
    policy = targets.make("policy", f"ROLE={ROLE}", f"ADMIN={ADMIN}")
    assert policy.returncode == 0, policy.stderr
    assert PCRS["PCR0"] in policy.stdout
    assert {ROLE, ADMIN} <= set(json.dumps(json.loads(policy.stdout)).split('"'))


def test_eif_that_fails_leaves_nothing(targets: Targets) -> None:
    before = set(targets.eif.parent.iterdir())
    done = targets.make("eif", FAIL="1")
    assert done.returncode == 2
    assert set(targets.eif.parent.iterdir()) == before | {targets.calls}


class TestEifWithTheFilesOfAws:
    @pytest.fixture
    def archive(self, tmp_path: Path) -> str:
        blobs = tmp_path / "blobs"
        blobs.mkdir()
        for name in ("bzImage", "Image", "cmdline", "init", "nsm.ko"):
            (blobs / name).write_text(name, "utf-8")
        items = [folder("bin/"), Item("bin/app", content=b"app")]
        path = docker_archive(tmp_path / "enclave.tar", [layer(*items)], {"Cmd": ["/bin/app"], "Env": []})
        return f"ENCLAVE_ARCHIVE={path}"

    def test_is_built_without_nitro_cli(self, targets: Targets, archive: str) -> None:
        done = targets.make("eif", archive, "NITRO_CLI=no-such-nitro-cli")
        assert done.returncode == 0, done.stderr
        assert targets.seen() == []
        with targets.eif.open("rb") as file:
            pcrs = measure_image_file(file)
        assert parse_measurements(targets.measurements.read_bytes()) == pcrs

    def test_is_compared_with_nitro_clis(self, targets: Targets, archive: str, tmp_path: Path) -> None:
        assert targets.make("eif", archive, "NITRO_CLI=no-such-nitro-cli").returncode == 0
        theirs = tmp_path / "theirs"
        shutil.copy(targets.eif, theirs)
        done = targets.make("eif", archive, RESULT=str(theirs))
        assert "nitro-cli and kmstool-eif reach the same measurements for this image\n" in done.stderr
        assert "the files are the same, byte for byte\n" in done.stderr

    def test_difference_from_nitro_clis_is_named(self, targets: Targets, archive: str, tmp_path: Path) -> None:
        theirs = tmp_path / "theirs"
        theirs.write_bytes(image_bytes())
        done = targets.make("eif", archive, RESULT=str(theirs))
        assert done.returncode == 0, done.stderr
        assert "nitro-cli and kmstool-eif reach OTHER MEASUREMENTS for this image\n" in done.stderr
        assert "section 0 (kernel): other content: " in done.stderr
        assert targets.eif.read_bytes() == theirs.read_bytes()


def test_eif_without_nitro_cli_and_files_of_aws_says_what_to_install(targets: Targets) -> None:
    done = targets.make("eif", "NITRO_CLI=no-such-nitro-cli")
    assert done.returncode == 2
    assert "dnf install aws-nitro-enclaves-cli-devel" in done.stderr
    assert "bzImage" in done.stderr or "Image" in done.stderr
    assert not targets.eif.exists()


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


@pytest.mark.parametrize("target", ["run-enclave", "console", "describe"])
def test_missing_nitro_cli_is_reported_and_nothing_else_happens(target: str, targets: Targets) -> None:
    assert shutil.which("no-such-nitro-cli") is None
    done = targets.make(target, "NITRO_CLI=no-such-nitro-cli")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no-such-nitro-cli: not found; on an EC2 instance with enclaves:")
    assert targets.seen() == []
