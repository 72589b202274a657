"""Words and phrases that this project does not use, because they read as if translated (pure but for ``main``).

It covers every text file that git tracks: documentation, help, messages, docstrings, comments, and names of tests.
``python -m tools.wording`` prints each place with what to write instead. ``--count`` counts them by rule, also in an
older commit: ``python -m tools.wording --count --commit COMMIT``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

EXCLUDED = re.compile(
    r"LICENSE|requirements/.*|tests/fuzz/corpus/.*|.*\.pem|"
    r"tools/wording\.py|tests/docs/test_wording\.py|tests/docs/test_proofread\.py"
)
"""Texts of others, data, and the files that have to name what is forbidden."""


class Rule(NamedTuple):
    """One thing not to write.

    Attributes:
        name: how the counts name it.
        pattern: finds it, whatever its case.
        instead: what to write.
    """

    name: str
    pattern: re.Pattern[str]
    instead: str


class Fault(NamedTuple):
    """A place where a rule is broken."""

    path: str
    line: int
    rule: Rule
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule.name}: write {self.rule.instead}: {self.text.strip()[:120]}"


def _rule(name: str, pattern: str, instead: str) -> Rule:
    return Rule(name, re.compile(pattern, re.IGNORECASE), instead)


_PLACES = r"(?:the|a|an|its|this|that|each|one)\s+(?:vsock-)?(?:proxy|load balancer|firewall|NAT)"
_CLOCKS = r"(?:KMS's|the enclave's|the instance's)"
_AFTER_IS_NO = (
    r"longer|more|such|other|different|less|worse|better|greater|later|fewer|larger|way|need|reason|place|point|room|"
    r"limit|default|one|network|Docker|harm"
)
"""Words with which "is no" is plain English."""
_REGISTRIES = (
    r"pypi\.org|pythonhosted\.org|crates\.io|npmjs\.(?:org|com)|proxy\.golang\.org|repo1?\.maven(?:\.apache)?\.org|"
    r"deb\.debian\.org"
)
RULES = (
    _rule("anew", r"\banew\b", "again"),
    _rule("behind", rf"\bbehind\b(?!\s+{_PLACES})(?!\s+{_CLOCKS})", "after"),
    _rule("beside", r"\bbeside\b", "besides, next to, with, or compared with"),
    _rule("whoever", r"\b(?:whoever|whomever|whosoever)\b", "anyone who, or the first caller that"),
    _rule("so long, so many", r"\bso (?:long|many)\b(?! as\b)", "how long, at most, as many as, or this many"),
    _rule("room", r"\brooms?\b", "package, or space"),
    _rule("time-out", r"\btime-outs?\b", "timeout"),
    _rule("tells of", r"\b(?:tells?|told|telling) of\b", "reports, describes, or lists"),
    _rule("expected it, got it", r"\bexpected (?:it|none)\b|\bgot it\b", "what is wrong, in a sentence"),
    _rule("got another", r"\bgot (?:another|other|something)\b", "what is wrong, in a sentence"),
    _rule("is no", rf"(?<!\bthere )\b(?:is|are|was|were) no (?=[A-Za-z`])(?!(?:{_AFTER_IS_NO})\b)", "is not"),
    _rule("verb first", r"\b(?:verified|checked|compared|measured|refused|accepted) are\b", "who does it: checks ..."),
    _rule("in place of", r"\bin (?:place|stead) of\b", "instead of"),
    _rule("lest", r"\blest\b", "so that ... not"),
    _rule("old peer", r"\bold[ _-]peers?\b", "legacy peer"),
    _rule("of whose", r"\b(?:of|by|with|for|to|in) whose\b", "a sentence of its own"),
    _rule("a test holds", r"\btests? holds?\b", "checks"),
    _rule("at the most", r"\bat the (?:most|least)\b", "at most, at least"),
    _rule("thereof", r"\b(?:there|here|where)(?:of|by|in|upon|with)\b", "of it, by it, in it"),
    _rule("the begin", r"\b(?:the|its) begin\b", "the beginning, or the start"),
    _rule("of theirs", r"\bof (?:theirs|ours|hers)\b", "their, or our"),
    _rule("registry host", rf"\b(?:{_REGISTRIES})\b", "the registry's name, such as Rust's crate registry"),
)


def find_faults(path: str, text: str) -> Iterator[Fault]:
    """Yield each place of ``text`` where a rule is broken; names in code count as words."""
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.replace("_", " ") if path.endswith(".py") else line
        for rule in RULES:
            if rule.pattern.search(words):
                yield Fault(path, number, rule, line)


def texts(commit: str | None = None) -> Iterator[tuple[str, str]]:
    """Yield path and content of every text file that is checked, in the working tree or in a commit."""
    listing = ["ls-tree", "-r", "--name-only", commit] if commit else ["ls-files"]
    for path in _git(*listing).decode().splitlines():
        if EXCLUDED.fullmatch(path):
            continue
        try:
            content = _git("show", f"{commit}:{path}") if commit else Path(path).read_bytes()
            yield path, content.decode("utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue


def main(arguments: Sequence[str]) -> int:
    """Print the faults, or how many there are of each rule; return 1 where there are any."""
    parser = argparse.ArgumentParser(prog="python -m tools.wording", description=__doc__)
    parser.add_argument("--count", action="store_true")
    parser.add_argument("--commit")
    options = parser.parse_args(arguments)
    faults = [fault for path, text in texts(options.commit) for fault in find_faults(path, text)]
    counts = Counter(fault.rule.name for fault in faults)
    if options.count:
        print("\n".join(f"{rule.name:20} {counts[rule.name]:5}" for rule in RULES))
        print(f"{'all':20} {len(faults):5}")
    else:
        print("\n".join(map(str, faults)))
    return 1 if faults else 0


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], check=True, capture_output=True).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
