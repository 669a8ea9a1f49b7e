from collections.abc import Sequence

import pytest

from dinocell_io.plural import counted, listed


@pytest.mark.parametrize(("number", "text"), [(0, "0 images"), (1, "1 image"), (2, "2 images"), (21, "21 images")])
def test_one_thing_is_no_plural(number: int, text: str) -> None:
    assert counted(number, "image") == text


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b", "c"], "a, b, c"),
        (["a", "b", "c", "d"], "a, b, c and 1 more"),
        (range(20), "0, 1, 2 and 17 more"),
    ],
)
def test_the_first_few_are_named_and_the_others_counted(names: Sequence[object], text: str) -> None:
    assert listed(names, 3) == text


def test_sentences_are_parted_by_another_separator() -> None:
    assert listed(["a is 1", "b is 2", "c is 3"], 2, "; ") == "a is 1; b is 2 and 1 more"
