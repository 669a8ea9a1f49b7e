"""The options of every command are frozen in a file, and the commands in the READMEs exist with the options shown.

After a wanted change of options: UPDATE_COMMAND_OPTIONS=1 pytest packages/dinocell-cli/tests/test_command_options.py
"""

import os
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from dinocell.main import COMMANDS, build_app

ROOT = Path(__file__).parents[3]
FROZEN = Path(__file__).with_name("command_options.txt")
PAGES = sorted(
    {
        *ROOT.glob("*.md"),
        *ROOT.glob("csrc/*.md"),
        *ROOT.glob("benchmarks/*.md"),
        *ROOT.glob("packages/*/README.md"),
        *ROOT.glob("docs/**/*.md"),
    }
)
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`((?:\.venv/bin/)?dinocell [^`]*)`")


@cache
def options_of_commands() -> dict[str, frozenset[str]]:
    """Each command ("segment", "cache warm", "data jump index", ...) with its options."""
    found: dict[str, frozenset[str]] = {}
    for name in COMMANDS:
        app: Any = typer.main.get_command(build_app([name]))
        found.update(_walk(name, app.commands[name]))
    return found


def _walk(name: str, command: Any) -> Iterator[tuple[str, frozenset[str]]]:
    if hasattr(command, "commands"):
        for child_name, child in command.commands.items():
            yield from _walk(f"{name} {child_name}", child)
        return
    options = {option for param in command.params for option in [*param.opts, *param.secondary_opts]}
    yield name, frozenset(option for option in options if option.startswith("-"))


def command_lines(text: str) -> list[list[str]]:
    """The words of every `dinocell` command line of a Markdown page, in code blocks and between backticks."""
    blocks = "\n".join(FENCE.findall(text)).replace("\\\n", " ")
    lines = [line for line in blocks.splitlines() if "dinocell " in line] + INLINE.findall(FENCE.sub("", text))
    found = []
    for line in lines:
        code = line.strip().removeprefix("$ ").split("  #")[0]
        if re.match(r"(\.venv/bin/|torchrun .*--no-python )dinocell ", code):
            code = code[code.index("dinocell ") :]
        if code.startswith("dinocell "):
            found.append(shlex.split(code.rstrip("\\"))[1:])
    return found


def command_and_options(words: list[str]) -> tuple[str | None, list[str]]:
    """The command that the words begin with, the longest that exists, and the options among them."""
    names = [" ".join(words[:length]) for length in (3, 2, 1)]
    known = options_of_commands()
    name = next((name for name in names if name in known), None)
    options = [word.split("=")[0] for word in words if re.match(r"--?[A-Za-z]", word)]
    return name, options


def test_the_options_of_every_command_are_those_of_the_file() -> None:
    lines = [" ".join([name, *sorted(options)]) for name, options in sorted(options_of_commands().items())]
    text = "\n".join(lines) + "\n"
    if os.environ.get("UPDATE_COMMAND_OPTIONS"):
        FROZEN.write_text(text)
    assert text == FROZEN.read_text(), f"options have changed; if that is wanted, see the top of {__file__}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_exist_with_their_options(page: Path) -> None:
    groups = {name.split()[0] for name in options_of_commands() if " " in name}
    for words in command_lines(page.read_text()):
        name, options = command_and_options(words)
        if name is None:  # `dinocell cache` alone, or the whole command: `dinocell --version`
            assert not words or words[0].rstrip(",") in groups or words[0] in ("--help", "--version"), words
            continue
        unknown = set(options) - options_of_commands()[name] - {"--help"}
        assert not unknown, f"{page}: `dinocell {' '.join(words)}` has {unknown}, which {name} does not know"


def test_the_pages_show_every_command() -> None:
    readme = (ROOT / "README.md").read_text()
    missing = [name for name in COMMANDS if f"dinocell {name}" not in readme and f"`{name}" not in readme]
    assert not missing, f"README.md does not name {missing}"


def test_a_command_line_is_found_in_blocks_and_between_backticks() -> None:
    text = "Say `dinocell eval A B --output C`.\n```\n$ dinocell segment a.tif \\\n    --tile 64  # why\n```\n"
    assert command_lines(text) == [
        ["segment", "a.tif", "--tile", "64"],
        ["eval", "A", "B", "--output", "C"],
    ]
    assert command_and_options(["cache", "warm", "x", "--quota", "1GB"]) == ("cache warm", ["--quota"])
    assert command_and_options(["segmnet", "--tile"])[0] is None
