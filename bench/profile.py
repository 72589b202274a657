"""Where the time of one decrypt goes in the enclave: `make profile`. Samples kmstool-enclave under load with py-spy."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from bench.chain import chain, run

DURATION_S = 20
SAMPLES_PER_S = 500
WAITING = re.compile(r"\b(_receive_some|SSLSocket\.read|read \(ssl\.py)")
"""Innermost frames that nearly always wait for another process; py-spy counts some such waits as work."""
PARTS = {
    "RSA and AES": r"decrypt_enveloped_data",
    "reading CMS": r"enclave_tool/recipient/cms\.py|pyasn1/",
    "NSM": r"enclave_tool/nsm/|cbor2/",
    "TLS": r"\(ssl\.py",
    "signature": r"botocore/auth\.py|enclave_tool/kms/clock_skew\.py",
    "HTTP: headers of the response": r"\(email/|parse_headers",
    "HTTP: the rest": r"urllib3/|\(http/client\.py|botocore/(httpsession|awsrequest)\.py|kms/(transport|connection)\.",
    "botocore: parameters and response": r"botocore/",
    "messages: the connection": r"vsock_wire/rpc/|vsock_wire/protocol/frames\.py",
    "messages: JSON": r"\(json/|vsock_wire/protocol/",
}
"""Parts by a pattern for their innermost frame; the first match counts."""


def main() -> None:
    py_spy = Path(sys.executable).with_name("py-spy")
    with tempfile.TemporaryDirectory() as folder, chain("--attestation-max-age", "60") as running:
        output = Path(folder, "samples")
        sampler = subprocess.Popen(
            [py_spy, "record", "--pid", str(running.enclave_pid), "--duration", str(DURATION_S - 2),
             "--rate", str(SAMPLES_PER_S), "--format", "raw", "--output", str(output)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        # One client: with more, py-spy counts threads that wait for each other as working.
        result = run(running, clients=1, workers=1, duration_s=DURATION_S)
        _, errors = sampler.communicate()
        assert sampler.returncode == 0, errors.decode()
        parts = count_parts(output.read_text())
    total = sum(parts.values())
    print(f"{result.cpu_ms:.2f} ms of processor time for a decrypt; of {total:,} samples:")
    for part, samples in parts.most_common():
        print(f"  {part:34}{100 * samples / total:5.1f} %  {result.cpu_ms * samples / total:6.3f} ms")


def count_parts(samples: str) -> Counter[str]:
    """Count samples by part.

    Args:
        samples: py-spy's raw format: a stack, outermost frame first, and its number of samples.
    """
    parts: Counter[str] = Counter()
    for line in samples.splitlines():
        stack, _, seen = line.rpartition(" ")
        if "_serve_connection" in stack and not WAITING.search(stack.rpartition(";")[2]):
            parts[part_of(stack.split(";"))] += int(seen)
    return parts


def part_of(frames: list[str]) -> str:
    for frame in reversed(frames):
        for part, pattern in PARTS.items():
            if re.search(pattern, frame):
                return part
    return "the rest"


if __name__ == "__main__":
    main()
