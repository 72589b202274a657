"""The order of the pages in the documentation's site; mkdocs calls these functions by their names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ORDER = (
    "index.md",
    "getting-started.md",
    "library.md",
    "migration.md",
    "operations.md",
    "attestation.md",
    "protocol.md",
    "simulator.md",
    "images.md",
    "scaling.md",
    "performance.md",
    "reliability.md",
    "threat-model.md",
    "proxy-relay.md",
)
"""Pages in the order in which a stranger needs them; those that are not named come behind them by their file's name."""
DECISIONS = "decisions"
_LINK_OUT = re.compile(r"\[([^\]]+)\]\((?:\.\./)+([^)]+)\)")


def on_config(config: Any) -> Any:
    """Put the pages that are there into their order."""
    folder = Path(config["docs_dir"])
    present = sorted(path.name for path in folder.glob("*.md"))
    pages = [name for name in ORDER if name in present] + [name for name in present if name not in ORDER]
    records = sorted(f"{DECISIONS}/{path.name}" for path in folder.joinpath(DECISIONS).glob("*.md"))
    config["nav"] = [*pages, {"Decisions": records}]
    return config


def on_page_markdown(markdown: str, *, page: Any, **_: object) -> str:
    """Turn links to files of the project outside the site into their names."""
    if page.file.src_uri.startswith(f"{DECISIONS}/"):
        return markdown
    return _LINK_OUT.sub(r"\1 (`\2`)", markdown)
