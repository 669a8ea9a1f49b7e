"""Recipes: YAML files and `section.key=value` words, checked by frozen pydantic models before use."""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

Settings = TypeVar("Settings", bound=BaseModel)
_LONGEST_VALUE = 100


def read_recipe(path: str | Path, *, expected: str) -> dict[str, Any]:
    """The mapping of a YAML file; an empty file is an empty recipe.

    Raises FileNotFoundError if there is no file, and ValueError if it is not YAML or not a mapping. In the message,
    `expected` says what the file should hold, for example "lines such as 'tile: 256'".
    """
    try:
        recipe = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise FileNotFoundError(f"there is no recipe file {path}; give a YAML file with {expected}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file in UTF-8 ({error}); save it in that encoding") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if recipe is None:
        return {}
    if not isinstance(recipe, dict):
        raise ValueError(f"{path} holds a {type(recipe).__name__}; expected {expected}")
    return recipe


def read_overrides(words: Iterable[str], *, example: str) -> dict[str, Any]:
    """The nested mapping of words such as `thresholds.peak=0.4`; values are read as YAML.

    Raises ValueError for a word without a value (the message shows `example`), and for a word that sets a key below a
    value.
    """
    overrides: dict[str, Any] = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator or not key:
            raise ValueError(f"{word!r} is not of the form key=value, for example {example}")
        section = overrides
        *sections, last = key.strip().split(".")
        for name in sections:
            section = section.setdefault(name, {})
            if not isinstance(section, dict):
                raise ValueError(f"{word!r} sets a key below {name!r}, which already has a value")
        try:
            section[last] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"the value of {word!r} is not valid YAML; quote it if it is text") from error
    return overrides


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` applied, section by section."""
    result = dict(base)
    for key, value in changes.items():
        below = result.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            value = merged(below, value)
        result[key] = value
    return result


def validated(settings: type[Settings], values: Mapping[str, Any]) -> Settings:
    """An instance of a settings class.

    Raises ValueError; the message names every unknown key with the nearest known one, in whatever section,
    and every value out of range.
    """
    try:
        return settings.model_validate(dict(values))
    except ValidationError as error:
        problems = [_problem(settings, item["loc"], item["type"], _message(item)) for item in error.errors()]
        raise ValueError("; ".join(problems)) from error


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """The differences of two resolved recipes, each as `section.key: old then, new now`."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            difference
            for key in sorted(old.keys() | new.keys())
            for difference in differences(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
        ]
    return [] if old == new else [f"{prefix}: {old} then, {new} now"]


def _message(problem: Any) -> str:
    """Pydantic's message, with the value if the message leaves it out."""
    message: str = problem["msg"]
    if problem["type"] == "value_error" or not isinstance(problem["input"], bool | int | float | str | None):
        return message
    value = repr(problem["input"])
    return f"{message} (it is {value if len(value) <= _LONGEST_VALUE else value[:_LONGEST_VALUE] + '...'})"


def _problem(settings: type[BaseModel], location: tuple[int | str, ...], kind: str, message: str) -> str:
    name = ".".join(str(part) for part in location)
    message = message.removeprefix("Value error, ")
    if kind != "extra_forbidden":
        return f"{name}: {message}" if name else message
    return f"unknown setting {name!r}; {_hint(settings, str(location[-1]), location[:-1])}"


def _hint(settings: type[BaseModel], key: str, sections: tuple[int | str, ...]) -> str:
    """What an unknown key may mean: this name in another section, the nearest one in its own, or in another."""
    known = sorted(_known_keys(settings, sections))
    paths = _all_keys(settings)
    names = [path.rpartition(".")[2] for path in paths]
    near_here = difflib.get_close_matches(key, known, n=1)
    near = difflib.get_close_matches(key, names, n=1)
    meant = (
        [path for path, name in zip(paths, names, strict=True) if name == key]
        or near_here
        or [path for path, name in zip(paths, names, strict=True) if name in near]
    )
    return f"did you mean {' or '.join(map(repr, meant))}?" if meant else f"known here: {', '.join(known)}"


def _known_keys(settings: type[BaseModel], sections: tuple[int | str, ...]) -> list[str]:
    for section in sections:
        field = settings.model_fields.get(str(section))
        below = _model_in(field.annotation) if field else None
        if below is None:
            break
        settings = below
    return list(settings.model_fields)


def _all_keys(settings: type[BaseModel], prefix: str = "") -> list[str]:
    """Every setting of all sections, as `section.key`."""
    keys = []
    for name, field in settings.model_fields.items():
        below = _model_in(field.annotation)
        keys += [prefix + name, *(_all_keys(below, f"{prefix}{name}.") if below else [])]
    return keys


def _model_in(annotation: Any) -> type[BaseModel] | None:
    candidates = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    for candidate in candidates:
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
