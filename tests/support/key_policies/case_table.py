"""The table of key policies and their verdicts in cases/README.md."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

CASES = Path(__file__).with_name("cases")
ROLE_ARN = "arn:aws:iam::111122223333:role/Enclave"
PCRS = {index: bytes([value]) * 48 for index, value in {0: 0xA1, 1: 0xB1, 2: 0xC1, 3: 0xD1, 4: 0xE1, 8: 0x81}.items()}
_ROW = re.compile(
    r"\| (?P<file>[\w-]+\.json) \| (`(?P<options>[^`]*)`)? ?\| (?P<code>[0-9]) \| `(?P<says>[^`]+)` \| (?P<why>.+) \|"
)


@dataclass(frozen=True)
class Case:
    """One row: a policy, the command's options, and the expected result."""

    file: str
    options: tuple[str, ...]
    code: int
    says: str
    why: str

    @property
    def name(self) -> str:
        return " ".join([self.file.removesuffix(".json"), *self.options])


def cases() -> list[Case]:
    """Return the rows of the table."""
    lines = (CASES / "README.md").read_text("utf-8").splitlines()
    rows = [_ROW.fullmatch(line) for line in lines if ".json |" in line]
    assert all(rows)
    return [
        Case(row["file"], tuple(shlex.split(row["options"] or "")), int(row["code"]), row["says"], row["why"])
        for row in rows
        if row is not None
    ]
