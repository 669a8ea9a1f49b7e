"""Recipes of `dinocell train`, `pretrain` and `segment` with damaged text and values of every kind.

A verdict is `taken` (the resolved recipe holds finite numbers only and validates again to itself), `refused` (a
ValueError of at most 2,000 characters), or a fault: `silent` (a number that is not finite, or another recipe when
validated again), `executed` (a tag of YAML ran code), `foreign` (another error).
"""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel

from dinocell_core.recipe import read_overrides, read_recipe, validated
from dinocell_seg.settings import SegmentSettings
from dinocell_seg.train_recipe import TrainRecipe
from dinocell_ssl import PretrainRecipe

_RECIPES: tuple[type[BaseModel], ...] = (TrainRecipe, PretrainRecipe, SegmentSettings)
_VALUES: tuple[Any, ...] = (
    math.inf, -math.inf, math.nan, 1e308, -1e308, 1e-320, 0, -1, 1, 2**63, 10**400, True, None, "", "nan", "1e999", "é",
    "x" * 5000, [], [1], [math.nan, 1], [2, 1], {}, {"a": 1}, [[1]], [None], "!!python/object/apply:os.system [x]",
)  # fmt: skip


@cache
def _places(recipe: type[BaseModel]) -> tuple[tuple[str, ...], ...]:
    def below(values: dict[str, Any], prefix: tuple[str, ...]) -> list[tuple[str, ...]]:
        found = []
        for key, value in values.items():
            found.append((*prefix, key))
            if isinstance(value, dict):
                found += below(value, (*prefix, key))
        return found

    return tuple(below(recipe().model_dump(mode="json"), ()))


def _text(recipe: type[BaseModel], rng: np.random.Generator, trace: Path) -> str:
    """A recipe in YAML with some values changed, and now and then damaged as text."""
    values = recipe().model_dump(mode="json") if rng.random() < 0.3 else {}
    places = _places(recipe)
    for _ in range(int(rng.integers(1, 4))):
        section = values
        *sections, last = places[int(rng.integers(len(places)))]
        for name in sections:
            section[name] = section[name] if isinstance(section.get(name), dict) else {}
            section = section[name]
        section[last if rng.random() < 0.9 else last[:-1]] = _VALUES[int(rng.integers(len(_VALUES)))]
    text: str = yaml.safe_dump(values, allow_unicode=True)
    match int(rng.integers(8)):
        case 0:
            place = int(rng.integers(len(text)))
            text = text[:place] + "\t:{}[]&*!|>'\"%@`\x00\x85"[int(rng.integers(18))] + text[place + 1 :]
        case 1:
            text = text[: int(rng.integers(len(text)))]
        case 2:
            text += f"seed: !!python/object/apply:os.mkdir ['{trace}']\n"
    return text


def verdict(folder: Path, number: int, seed: int) -> tuple[str, str]:
    """The verdict of case `number`, and what was taken or said."""
    rng = np.random.default_rng((seed, number))
    recipe = _RECIPES[int(rng.integers(len(_RECIPES)))]
    path, trace = folder / f"case{number}.yaml", folder / f"trace{number}"
    text = _text(recipe, rng, trace)
    path.write_bytes(text.encode("utf-16" if rng.random() < 0.02 else "utf-8"))
    try:
        if rng.random() < 0.3:
            values = read_overrides([line.replace(": ", "=", 1) for line in text.splitlines()], example="a.b=1")
        else:
            values = read_recipe(path, expected="lines such as 'schedule: {steps: 5000}'")
        resolved = validated(recipe, values)
    except ValueError as error:
        short = len(str(error)) <= 2000
        found = ("refused" if short else "foreign", str(error)[:300])
    except Exception as error:  # noqa: BLE001  # whatever comes is the finding
        found = ("foreign", f"{recipe.__name__}: {type(error).__name__}: {error}"[:300])
    else:
        found = _judged(recipe, resolved)
    return ("executed", text) if trace.exists() else found


def _judged(recipe: type[BaseModel], resolved: BaseModel) -> tuple[str, str]:
    values = resolved.model_dump(mode="json")
    try:
        json.dumps(values, allow_nan=False)
    except ValueError:
        return "silent", f"{recipe.__name__}: a number that is not finite in {values}"
    again = recipe.model_validate(values) == resolved
    return ("taken", "") if again else ("silent", f"{recipe.__name__}: validated again it is another one: {values}")
