"""Makes the enclave image file of ``make eif``: with nitro-cli where it is installed, else with kmstool-eif.

Where both are possible, both build, and what differs is printed. nitro-cli's file is the one that is kept. The files
appear when everything has worked; a failure leaves the older ones as they are.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from instance_tool.eif.blobs import find_blobs
from nitro_attestation.image.description import measure_image_file
from tools.images.builder import fail
from tools.images.make import tag
from vsock_wire.errors import InputError

KMSTOOL_EIF = Path(sys.executable).with_name("kmstool-eif")
EIF, MEASUREMENTS = "image.eif", "measurements.json"
NOTHING_TO_BUILD_WITH = (
    "nitro-cli is not installed, and neither are AWS's files for images, which kmstool-eif needs; on Amazon Linux, dnf"
    " install aws-nitro-enclaves-cli-devel installs both, and building needs no instance with enclaves"
)


def main() -> None:
    """Build what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--nitro-cli", required=True, help="name or path of nitro-cli")
    parser.add_argument("--archive", type=Path, required=True, help="the enclave's container image")
    parser.add_argument("--out", type=Path, required=True, help="where to put the enclave image file")
    parser.add_argument("--measurements", type=Path, required=True, help="where to put its measurements")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.out.parent, prefix=".eif-") as folder:
        nitro_cli, ours = Path(folder, "nitro-cli"), Path(folder, "kmstool-eif")
        has_nitro_cli = shutil.which(options.nitro_cli) is not None
        missing = missing_files()
        if not has_nitro_cli and missing is not None:
            fail(f"{NOTHING_TO_BUILD_WITH} ({missing})")
        if has_nitro_cli:
            build_with_nitro_cli(options.nitro_cli, options.archive, nitro_cli)
        if missing is None:
            build_with_kmstool_eif(options.archive, ours)
        if has_nitro_cli:
            report(nitro_cli, ours, missing)
        built = nitro_cli if has_nitro_cli else ours
        (built / EIF).replace(options.out)
        (built / MEASUREMENTS).replace(options.measurements)
    print(f"{options.out}; its measurements: {options.measurements}")


def missing_files() -> str | None:
    """Return which of AWS's files for images are missing; None if kmstool-eif can build."""
    try:
        find_blobs(None, {}, is_arm64=platform.machine() == "aarch64")
    except InputError as error:
        return str(error)
    return None


def build_with_nitro_cli(nitro_cli: str, archive: Path, folder: Path) -> None:
    """Build with nitro-cli. It takes the image from Docker; an older image of that name is replaced.

    Raises:
        SystemExit: Docker or nitro-cli failed; their own output explains it.
    """
    folder.mkdir()
    _run(["docker", "load", "--quiet", "--input", str(archive)])
    command = [nitro_cli, "build-enclave", "--docker-uri", tag("enclave"), "--output-file", str(folder / EIF)]
    (folder / MEASUREMENTS).write_bytes(_run(command))


def build_with_kmstool_eif(archive: Path, folder: Path) -> None:
    """Build with kmstool-eif.

    Raises:
        SystemExit: it failed; its own output explains it.
    """
    folder.mkdir()
    (folder / MEASUREMENTS).write_bytes(_run([str(KMSTOOL_EIF), "build", str(archive), "--out", str(folder / EIF)]))


def report(nitro_cli: Path, ours: Path, missing: str | None) -> None:
    """Print whether kmstool-eif reaches nitro-cli's measurements, and what differs between the files."""
    if missing is not None:
        print(f"not compared with kmstool-eif: {missing}", file=sys.stderr)
        return
    pcrs = [_measure(folder / EIF) for folder in (nitro_cli, ours)]
    same = "the same measurements" if pcrs[0] == pcrs[1] else "OTHER MEASUREMENTS"
    print(f"nitro-cli and kmstool-eif reach {same} for this image", file=sys.stderr)
    command = [str(KMSTOOL_EIF), "diff", str(nitro_cli / EIF), str(ours / EIF)]
    differences = subprocess.run(command, capture_output=True, check=False).stdout.decode("utf-8", "replace")
    print(differences or "the files are the same, byte for byte", end="" if differences else "\n", file=sys.stderr)


def _measure(path: Path) -> dict[int, bytes]:
    with path.open("rb") as file:
        return measure_image_file(file)


def _run(command: list[str]) -> bytes:
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        fail(f"{command[0]} ended with exit code {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main()
