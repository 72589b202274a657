"""The site's pages: each starts with an example, and tables and badges are rendered for readers of the site."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.project.doc_blocks import ROOT, read_blocks
from tools.docs_navigation import on_config, on_page_content, on_page_markdown

GUIDES = sorted([*ROOT.glob("docs/tutorials/*.md"), *ROOT.glob("docs/how-to/*.md")])
FIRST_LINES = 20
WIDE = "<table><thead><tr><th>a</th><th>b &amp; c</th><th>d</th><th>e</th></tr></thead><tbody>{rows}</tbody></table>"


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: str(page.relative_to(ROOT)))
def test_guide_starts_with_an_example(page: Path) -> None:
    assert read_blocks(page)[0].line <= FIRST_LINES


def test_navigation_has_every_page_once() -> None:
    (overview, *sections) = on_config({"docs_dir": str(ROOT / "docs")})["nav"]
    assert [next(iter(section)) for section in sections] == ["Tutorials", "How-to guides", "Reference", "Explanation"]
    pages = [page for section in sections for page in next(iter(section.values()))]
    named = [page for page in pages if isinstance(page, str)] + [*overview.values(), *pages[-1]["Decisions"]]
    assert sorted(named) == sorted(str(path.relative_to(ROOT / "docs")) for path in ROOT.glob("docs/**/*.md"))


def test_overview_links_to_every_page_but_the_decisions() -> None:
    linked = set(re.findall(r"\]\(([\w/-]+\.md)\)", ROOT.joinpath("docs/index.md").read_text()))
    pages = {str(path.relative_to(ROOT / "docs")) for path in ROOT.glob("docs/*/*.md")}
    assert pages - linked == set()


def test_option_is_kept_in_one_piece() -> None:
    html = "<p><code>--no-newline X</code></p><pre><code>--cid 16</code></pre>"
    assert on_page_content(html) == html.replace("--no-newline", '<span class="option">--no-newline</span>')


def rendered(markdown: str) -> str:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="how-to/operate.md"), meta={})
    return on_page_markdown(markdown, page=page, config={"docs_dir": str(ROOT / "docs")})


def test_need_becomes_a_badge() -> None:
    assert rendered("x\n\n**Needs AWS**\n\n```console\n") == "x\n\n**Needs AWS**{ .needs }\n\n```console\n"


def test_link_out_of_the_site_becomes_a_name() -> None:
    assert rendered("[a](../../SECURITY.md), [b](../index.md#x), [c](operate.md)") == (
        "a (`SECURITY.md`), [b](../index.md#x), [c](operate.md)"
    )


class TestTables:
    def test_cell_of_a_wide_table_names_its_column(self) -> None:
        html = on_page_content(WIDE.format(rows='<tr><td>1</td><td style="x">2</td><td>3</td><td>4</td></tr>'))
        assert html.startswith("<table data-stacked>")
        assert '<td data-label="b &amp; c" style="x">2</td>' in html

    def test_narrow_table_is_left_alone(self) -> None:
        html = "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>"
        assert on_page_content(html) == html

    def test_long_name_can_break_after_its_parts(self) -> None:
        html = on_page_content(
            "<table><tr><th>a</th></tr><tr><td><code>tests/unit/test_a.py::test_b</code></td></tr></table>"
        )
        assert "<code>tests/<wbr>unit/<wbr>test_<wbr>a.<wbr>py::<wbr>test_<wbr>b</code>" in html
