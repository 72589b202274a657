"""The navigation of the documentation's site; mkdocs calls these functions by their names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

SECTIONS = {
    "Tutorials": ("tutorials", ("first-decrypt.md", "your-own-program.md")),
    "How-to guides": (
        "how-to",
        (
            "migrate-from-c.md",
            "key-policy.md",
            "keep-plaintext-inside.md",
            "verify-attestation.md",
            "several-regions.md",
            "build-images.md",
            "kubernetes.md",
            "scale-out.md",
            "operate.md",
            "troubleshoot.md",
        ),
    ),
    "Reference": (
        "reference",
        ("commands.md", "errors.md", "protocol.md", "proxy.md", "limits.md", "simulator.md", "python-api.md"),
    ),
    "Explanation": (
        "explanation",
        (
            "plaintext-path.md",
            "design.md",
            "threat-model.md",
            "comparison.md",
            "performance.md",
            "proxy-relay.md",
            "reliability.md",
        ),
    ),
}
"""Title, folder, and its pages in the order in which a newcomer needs them; unnamed ones follow by file name."""
DECISIONS = "explanation/decisions"
_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")


def on_config(config: Any) -> Any:
    """Put the pages that exist into the navigation."""
    root = Path(config["docs_dir"])
    navigation: list[Any] = ["index.md"]
    for title, (folder, order) in SECTIONS.items():
        present = sorted(path.name for path in root.joinpath(folder).glob("*.md"))
        names = [name for name in order if name in present] + [name for name in present if name not in order]
        navigation.append({title: [f"{folder}/{name}" for name in names]})
    records = sorted(f"{DECISIONS}/{path.name}" for path in root.joinpath(DECISIONS).glob("*.md"))
    navigation[-1]["Explanation"].append({"Decisions": records})
    config["nav"] = navigation
    return config


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: object) -> str:
    """Turn links to files outside the site into the files' names."""
    root = Path(config["docs_dir"]).resolve()
    folder = root.joinpath(page.file.src_uri).parent

    def name_if_outside(match: re.Match[str]) -> str:
        target = (folder / match[2].partition("#")[0]).resolve()
        if not match[2].startswith("../") or target.is_relative_to(root):
            return match[0]
        return f"{match[1]} (`{target.relative_to(root.parent)}`)"

    return _LINK.sub(name_if_outside, markdown)
