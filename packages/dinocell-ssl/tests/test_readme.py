"""The README's example runs."""

import doctest
from pathlib import Path

import torch


def test_example_of_the_readme_runs():
    with torch.random.fork_rng():
        result = doctest.testfile(str(Path(__file__).parents[1] / "README.md"), module_relative=False)
    assert result.attempted > 10
    assert result.failed == 0
