"""The README's examples run."""

import doctest
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_readmes_examples_run() -> None:
    failed, attempted = doctest.testfile(str(README), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert attempted > 20
    assert failed == 0
