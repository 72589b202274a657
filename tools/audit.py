"""Checks every locked package against a database of known vulnerabilities: ``python -m tools.audit PIP_AUDIT FILE...``.

pip-audit itself treats a package that its database does not know as harmless, and fails if it cannot reach the
database. Neither answers the question, so this program reports both, and only a vulnerability makes it fail.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 300


@dataclass(frozen=True)
class Audit:
    """The audit of one requirements file.

    Attributes:
        clean: number of packages without a known vulnerability.
        unknown: packages that were not audited, each with the reason.
        vulnerable: one line per vulnerability.
    """

    clean: int
    unknown: tuple[str, ...]
    vulnerable: tuple[str, ...]


def main() -> None:
    """Audit each file, print the findings, and exit with 1 if there is a vulnerability."""
    pip_audit, *files = sys.argv[1:]
    found = False
    for name in files:
        audit = audit_file(pip_audit, name)
        for line in describe(name, audit):
            print(line, flush=True)
        found = found or bool(audit.vulnerable)
    sys.exit(int(found))


def audit_file(pip_audit: str, name: str) -> Audit:
    """Run pip-audit on one file of hash-locked requirements."""
    command = [pip_audit, "--requirement", name, "--require-hashes", "--disable-pip", "--format", "json"]
    try:
        done = subprocess.run(
            [*command, "--progress-spinner", "off"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Audit(0, (f"all: no answer within {TIMEOUT_S} s",), ())
    try:
        return parse_audit(json.loads(done.stdout))
    except (ValueError, KeyError, TypeError):
        reason = done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
        return Audit(0, (f"all: {reason[:200]}",), ())


def parse_audit(report: Mapping[str, Any]) -> Audit:
    """Read pip-audit's report.

    Raises:
        KeyError, TypeError: it has an unexpected form.
    """
    clean, unknown, vulnerable = 0, list[str](), list[str]()
    for package in report["dependencies"]:
        if "skip_reason" in package:
            unknown.append(f"{package['name']}: {package['skip_reason']}")
        elif package["vulns"]:
            vulnerable += [_vulnerability(package, vulnerability) for vulnerability in package["vulns"]]
        else:
            clean += 1
    return Audit(clean, tuple(unknown), tuple(vulnerable))


def describe(name: str, audit: Audit) -> Iterator[str]:
    """Yield the report of an audit, line by line."""
    yield from (f"{name}: VULNERABLE: {line}" for line in audit.vulnerable)
    if audit.unknown:
        yield f"{name}: {len(audit.unknown)} not audited, such as {audit.unknown[0]}"
    yield f"{name}: {audit.clean} packages without a known vulnerability"


def _vulnerability(package: Mapping[str, Any], vulnerability: Mapping[str, Any]) -> str:
    fixes: Sequence[str] = vulnerability.get("fix_versions") or ["none yet"]
    return f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in {', '.join(fixes)}"


if __name__ == "__main__":
    main()
