"""Links between the pages of the repository lead somewhere, and the index of decisions is complete."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = sorted(
    page
    for folder in ("", "csrc", "benchmarks", "packages/*", "docs", "docs/*")
    for page in ROOT.glob(f"{folder}/*.md".lstrip("/"))
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in LINK.findall(CODE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A title, with 2 words\n[a](page.md#a-title-with-2-words) [b](other.md) [c](#nowhere) [d](https://x.org)\n"
    )
    assert broken_links(page) == ["other.md", "#nowhere"]


def test_the_index_of_decisions_names_every_page_once_by_its_title() -> None:
    folder = ROOT / "docs" / "decisions"
    rows = re.findall(r"^- \[(\d{4})\]\((\S+)\) (.*)$", (folder / "README.md").read_text(), re.MULTILINE)
    pages = sorted(page for page in folder.glob("[0-9]*.md"))
    titles = [
        (page.name[:4], page.name, page.read_text().splitlines()[0].removeprefix(f"# {page.name[:4]}: "))
        for page in pages
    ]
    assert sorted(rows) == titles
    assert len({number for number, *_ in titles}) == len(titles)
