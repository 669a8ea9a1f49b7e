"""The examples of the README and of the page it links to run."""

import doctest
from pathlib import Path

import pytest
import torch

README = Path(__file__).parents[1] / "README.md"
PAGE = README.parents[2] / "docs" / "pretraining.md"


@pytest.mark.parametrize(("page", "num_lines"), [(README, 10), (PAGE, 5)], ids=["README.md", "pretraining.md"])
def test_example_of_the_page_runs(page, num_lines):
    with torch.random.fork_rng():
        result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted > num_lines
    assert result.failed == 0
