"""Writes what is read from the sources: ``python -m tools.generate_manual``.

It writes share/ (manual pages, and completions for bash, zsh and fish) and the generated pages of docs/reference/. The
files are checked in, because a wheel is built without what the tools import, and because the pages are read on the
repository's site too. Tests fail when a file is stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from tools.reference.command_page import command_page
from tools.reference.command_tree import TOOLS
from tools.reference.error_page import error_page
from tools.reference.manual_page import manual_page
from tools.reference.python_page import python_page
from tools.reference.refusal_page import refusal_page

ROOT = Path(__file__).parents[1]
SHARE = ROOT / "share"
PAGES = ROOT / "docs/reference"
SHELLS: Mapping[str, tuple[type[ShellComplete], str]] = {
    "bash": (BashComplete, "bash-completion/completions/{}"),
    "zsh": (ZshComplete, "zsh/site-functions/_{}"),
    "fish": (FishComplete, "fish/vendor_completions.d/{}.fish"),
}
"""Where each shell looks, below share/. Source: bash-completion's README; zsh's site-functions; fish, "Completions"."""


def main() -> None:
    """Write every file."""
    for folder, texts in ((SHARE, files()), (PAGES, pages())):
        for name, text in texts.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")


def files() -> dict[str, str]:
    """Return the text of each file by its path below share/."""
    texts = {}
    for name, command in TOOLS.items():
        texts[f"man/man1/{name}.1"] = manual_page(name, command)
        for shell, path in SHELLS.values():
            variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
            texts[path.format(name)] = shell(command, {}, name, variable).source().rstrip("\n") + "\n"
    return texts


def pages() -> dict[str, str]:
    """Return the text of each generated page by its name in docs/reference/."""
    return {
        "commands.md": command_page(),
        "errors.md": error_page(),
        "kms-refusals.md": refusal_page(),
        "python-api.md": python_page(),
    }


if __name__ == "__main__":
    main()
