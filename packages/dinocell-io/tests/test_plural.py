import pytest

from dinocell_io.plural import counted


@pytest.mark.parametrize(("number", "text"), [(0, "0 images"), (1, "1 image"), (2, "2 images"), (21, "21 images")])
def test_one_thing_is_no_plural(number: int, text: str) -> None:
    assert counted(number, "image") == text
