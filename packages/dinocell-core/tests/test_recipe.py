"""Recipes of a small machine that washes, from a file, from words, and both together."""

from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from dinocell_core.recipe import differences, merged, read_overrides, read_recipe, validated


class Spin(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    slowest: int = 400
    fastest: int = 1200

    @model_validator(mode="after")
    def _ordered(self) -> "Spin":
        if self.slowest > self.fastest:
            raise ValueError(f"slowest {self.slowest} is above fastest {self.fastest}")
        return self


class Wash(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    degrees: int = Field(default=40, ge=20)
    fabric: Literal["cotton", "wool"] = "cotton"
    spin: Spin | None = Spin()


def read(path: Path) -> dict[str, object]:
    return read_recipe(path, expected="lines such as 'degrees: 30'")


def overrides(*words: str) -> dict[str, object]:
    return read_overrides(words, example="spin.fastest=800")


def test_a_recipe_file_becomes_settings(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("degrees: 60\nspin:\n  fastest: 800\n")
    settings = validated(Wash, read(tmp_path / "r.yaml"))
    assert settings == Wash(degrees=60, fabric="cotton", spin=Spin(slowest=400, fastest=800))


def test_a_missing_recipe_is_told_with_what_to_give(tmp_path: Path) -> None:
    for path in (tmp_path / "no.yaml", tmp_path):
        with pytest.raises(FileNotFoundError, match=r"^there is no recipe file .*; give a YAML file with lines such"):
            read(path)


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_an_empty_recipe_is_the_defaults(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    assert validated(Wash, read(tmp_path / "r.yaml")) == Wash()


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", r"r\.yaml is not valid YAML"), ("- 1", r"r\.yaml holds a list; expected lines such as 'degrees: 30'$")],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "r.yaml")


def test_words_become_nested_values() -> None:
    assert overrides("degrees=30", "spin.fastest=800", "spin.slowest=[1, 2]", "fabric=wool", "drum=null") == {
        "degrees": 30,
        "spin": {"fastest": 800, "slowest": [1, 2]},
        "fabric": "wool",
        "drum": None,
    }


@pytest.mark.parametrize("word", ["degrees", "=30"])
def test_a_word_without_key_or_value_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=rf"'{word}' is not of the form key=value, for example spin\.fastest=800$"):
        overrides(word)


def test_a_word_below_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match=r"sets a key below 'degrees', which already has a value"):
        overrides("degrees=1", "degrees.celsius=2")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"degres": 30}, r"unknown setting 'degres'; did you mean 'degrees'\?"),
        ({"spin": {"fastes": 800}}, r"unknown setting 'spin\.fastes'; did you mean 'fastest'\?"),
        ({"fastest": 800}, r"unknown setting 'fastest'; did you mean 'spin\.fastest'\?"),
        ({"fastes": 800}, r"unknown setting 'fastes'; did you mean 'spin\.fastest'\?"),
        ({"spin": {"degrees": 30}}, r"unknown setting 'spin\.degrees'; did you mean 'degrees'\?"),
        ({"zzz": 1}, r"unknown setting 'zzz'; known here: degrees, fabric, spin$"),
        ({"spin": {"zzz": 1}}, r"unknown setting 'spin\.zzz'; known here: fastest, slowest$"),
        ({"degrees": "hot"}, r"degrees: Input should be a valid integer, .* \(it is 'hot'\)$"),
        ({"degrees": 10}, r"degrees: Input should be greater than or equal to 20 \(it is 10\)$"),
        ({"spin": 7}, r"spin: .* \(it is 7\)$"),
        ({"spin": {"slowest": 1400}}, r"spin: slowest 1400 is above fastest 1200$"),
        ({"fabric": "silk"}, r"fabric: Input should be 'cotton' or 'wool'"),
    ],
)
def test_what_is_wrong_is_named_with_the_way_out(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        validated(Wash, values)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"'degres'.*; .*'fabrik'"):
        validated(Wash, {"degres": 1, "fabrik": 2})


def test_sections_are_merged_and_values_replaced() -> None:
    base = {"a": {"x": 1, "y": 2}, "b": 1}
    assert merged(base, {"a": {"y": 3}, "b": {"z": 1}}) == {"a": {"x": 1, "y": 3}, "b": {"z": 1}}
    assert base == {"a": {"x": 1, "y": 2}, "b": 1}


def test_words_lie_over_the_file_section_by_section() -> None:
    values = merged({"spin": {"slowest": 300, "fastest": 900}}, overrides("spin.fastest=800", "degrees=30"))
    assert values == {"spin": {"slowest": 300, "fastest": 800}, "degrees": 30}


def test_differences_name_what_was_and_what_is() -> None:
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}) == ["a.c: 2 then, 3 now"]
    assert differences({"a": 1}, {"a": 1, "b": 2}) == ["b: None then, 2 now"]
    assert differences({"a": {"b": 1}}, {"a": {"b": 1}}) == []


def test_a_value_that_is_no_yaml_is_refused_by_its_word() -> None:
    with pytest.raises(ValueError, match=r"the value of 'a=\[' is not valid YAML; quote it if it is text"):
        read_overrides(["a=["], example="a=1")


def test_a_recipe_in_another_encoding_is_named(tmp_path):
    (tmp_path / "recipe.yaml").write_bytes("tile: 256".encode("utf-16"))
    with pytest.raises(ValueError, match=r"recipe\.yaml is not a text file in UTF-8"):
        read_recipe(tmp_path / "recipe.yaml", expected="lines such as 'tile: 256'")


def test_a_long_value_does_not_fill_the_screen():
    class Tiles(BaseModel):
        tile: int

    with pytest.raises(ValueError, match=r"tile: .*xxx\.\.\.\)") as refused:
        validated(Tiles, {"tile": "x" * 5000})
    assert len(str(refused.value)) < 250
