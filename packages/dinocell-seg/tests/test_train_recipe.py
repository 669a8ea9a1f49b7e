"""What a recipe refuses before a run begins."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from dinocell_core.recipe import validated
from dinocell_seg.settings import SegmentSettings
from dinocell_seg.train_recipe import TrainRecipe


def numbers(values: dict[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where the floats of a resolved recipe are, those of pairs by their first."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from numbers(value, (*prefix, key))
        elif isinstance(value, float) or (isinstance(value, tuple | list) and value and isinstance(value[0], float)):
            yield (*prefix, key)


def nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    first, *rest = path
    return {first: nested(tuple(rest), value) if rest else value}


@pytest.mark.parametrize("settings", [TrainRecipe, SegmentSettings])
@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
def test_no_number_of_a_recipe_is_infinite(settings: type[BaseModel], number: float):
    defaults = settings().model_dump()
    places = list(numbers(defaults))
    assert places, "test invalid: there is no number"
    for path in places:
        default: Any = defaults
        for key in path:
            default = default[key]
        value = number if isinstance(default, float) else [number, number]
        with pytest.raises(ValueError, match=path[-1]):
            validated(settings, nested(path, value))
