"""The examples of the README and of the pages it links to run."""

import doctest
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
DOCS = README.parents[2] / "docs"


def test_the_examples_of_the_readme_and_its_pages_run() -> None:
    attempted = 0
    for page in (README, DOCS / "streaming.md", DOCS / "buckets-and-caches.md"):
        result = doctest.testfile(str(page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
        assert result.attempted > 5, page
        assert result.failed == 0, page
        attempted += result.attempted
    assert attempted > 20
