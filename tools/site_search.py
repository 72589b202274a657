"""Checks that the site's search finds the page for each of 20 error texts: ``python -m tools.site_search site``.

The texts are those that a reader copies from a terminal: with the program's name and with values. The search is done by
lunr, with the settings and the ranking of the site's own search (mkdocs-material, workers/search, ``Search.search``;
docs/site.js takes the colons out of a query first).
One of the pages that explain errors must be among the first results, and one section of it must have most of the words:
all but values and the program's name.
"""

from __future__ import annotations

import html
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lunr.builder import Builder
from lunr.index import Index
from lunr.pipeline import Pipeline
from lunr.stop_word_filter import stop_word_filter

ERROR_TEXTS = (
    "kmstool-instance: error: connect to vsock://16:3000: connection refused",
    "hint: no answer: check the CID, and that the enclave runs, with nitro-cli describe-enclaves",
    "no AWS credentials: none in the environment; IMDS: the instance has no role; none in the credential chain",
    "hint: IMDS exists only on EC2 instances: elsewhere, set AWS_PROFILE or AWS_ACCESS_KEY_ID",
    "kmstool-instance: error: environment: AWS_ACCESS_KEY_ID is set but AWS_SECRET_ACCESS_KEY is not",
    "kmstool-instance: error: Could not decrypt ciphertext: AccessDeniedException (HTTP 400)",
    "Could not set region correctly, check configuration.",
    "hint: check that vsock-proxy is running on the parent instance and uses this port",
    "reach KMS through proxy vsock://3:8000: connection closed",
    "TLS with kms.us-east-1.amazonaws.com: certificate rejected: unable to get local issuer certificate",
    "CiphertextForRecipient: cannot be opened with this recipient's key",
    "NSM open /dev/nsm: no such file or directory",
    "Too many connections: 256 are open",
    "Message does not contain a Ciphertext",
    "Ciphertext not a base64 string",
    "attestation document: nonce: not the expected nonce",
    "vsock-proxy: error: Error at checking the allowlist: The given address and port are not allowed: 10.0.0.1:443",
    "vsock-proxy: error: DNS lookup failed: kms.us-east-1.amazonaws.com: name or service not known",
    "vsock-proxy: error: Could not open the file: proxy.yaml: no such file or directory",
    "program sign: started more than 64 processes",
)
ROOT = Path(__file__).parents[1]
PAGES = frozenset({"reference/errors.html", "how-to/troubleshoot.html"})
FIRST = 3
"""Results that a reader sees without scrolling."""
MOST_WORDS = 0.7
"""Of a text, in one section; the others are values and the program's name."""


class SiteSearch:
    """The search of a site that has been built.

    Args:
        index: the content of search/search_index.json.
    """

    def __init__(self, index: Mapping[str, Any]) -> None:
        self._separator = re.compile(index["config"]["separator"])
        self._page_titles = {entry["location"] for entry in index["docs"] if "#" not in entry["location"]}
        self._sections = {entry["location"]: set(self._words(_plain(entry["text"])).split()) for entry in index["docs"]}
        self._index = self._build(index["docs"], index["config"]["fields"])

    def _build(self, entries: Iterable[Mapping[str, Any]], fields: Mapping[str, Mapping[str, float]]) -> Index:
        builder = Builder()
        builder.pipeline = Pipeline()
        builder.pipeline.add(stop_word_filter)
        builder.search_pipeline = Pipeline()
        builder.b(0)
        builder.ref("location")
        for name, settings in fields.items():
            builder.field(name, boost=settings["boost"])
        for entry in entries:
            texts = {name: self._words(_plain(str(entry.get(name, "")))) for name in fields}
            builder.add({"location": entry["location"], **texts}, {"boost": entry.get("boost", 1)})
        return builder.build()

    def pages(self, text: str) -> list[str]:
        """Return the pages that a search for ``text`` lists, the best first."""
        words = list(dict.fromkeys(self._words(text).split()))
        scores: dict[str, float] = {}
        for result in self._index.search(" ".join(f"{word}*" for word in words)):
            found = {word for word in words for term in result["match_data"].metadata if term.startswith(word)}
            location = result["ref"]
            weight = (location in self._page_titles) + len(found) / len(words)
            page = location.partition("#")[0]
            scores[page] = max(scores.get(page, 0), result["score"] * (1 + weight**2))
        return sorted(scores, key=lambda page: -scores[page])

    def has_section(self, page: str, text: str) -> bool:
        """Return whether one section of ``page`` has MOST_WORDS of ``text``."""
        words = {*self._words(text).split()}
        sections = (found for location, found in self._sections.items() if location.partition("#")[0] == page)
        return any(len(words & found) >= MOST_WORDS * len(words) for found in sections)

    def _words(self, text: str) -> str:
        return " ".join(filter(None, self._separator.split(text.lower())))


def _plain(text: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", " ", text))


def is_current(text: str, pages: Iterable[str]) -> bool:
    """Return whether ``text`` is what one of the code spans on ``pages`` stands for.

    Args:
        text: an error text with values.
        pages: Markdown, where ``{name}`` or ``...`` in a code span stands for what varies.
    """
    error = re.sub(r"^(?:hint|[\w-]+: error): ", "", text)
    prose = (re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL) for page in pages)
    for span in (span for page in prose for span in re.findall(r"`([^`]+)`", page)):
        parts = re.split(r"\{[^}]*\}|\.\.\.", span)
        if len(" ".join(parts).split()) > 1 and re.fullmatch(".*".join(map(re.escape, parts)), error):
            return True
    return False


def main(site: Path) -> int:
    """Print each text that the search does not find, and return the exit code."""
    search = SiteSearch(json.loads((site / "search/search_index.json").read_text("utf-8")))
    pages = [ROOT.joinpath("docs", page).with_suffix(".md").read_text("utf-8") for page in sorted(PAGES)]
    lost = [text for text in ERROR_TEXTS if not is_current(text, pages)]
    for text in lost:
        print(f"search: {text!r}: no program prints this: it is not in docs/reference/errors.md")
    for text in ERROR_TEXTS:
        first = search.pages(text)[:FIRST]
        if not any(page in PAGES and search.has_section(page, text) for page in first):
            lost.append(text)
            print(f"search: {text!r}: no page about errors that has it is among the first: {', '.join(first)}")
    print(f"search: {len(ERROR_TEXTS) - len(lost)} of {len(ERROR_TEXTS)} error texts found")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
