import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from dinocell import main as main_module
from dinocell.main import COMMANDS, Command, build_app, load


def run(*words: str) -> Result:
    return CliRunner().invoke(build_app(words), list(words))


def python(code: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | (environment or {})
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)


def test_help_lists_every_command_with_its_line() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name, command in COMMANDS.items():
        assert name in result.stdout
        assert command.help.split()[0] in result.stdout


def test_no_words_show_the_help() -> None:
    assert "segment" in run().output


def test_the_version_is_shown() -> None:
    assert run("--version").stdout.startswith("dinocell-cli 0.")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_shows_its_own_help(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0, result.output
    assert callable(load(COMMANDS[name].target))


def test_an_unknown_command_is_refused_with_exit_code_2() -> None:
    result = run("segmnet")
    assert result.exit_code == 2
    assert "segmnet" in result.stderr


def test_a_group_of_commands_is_an_app_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    group = typer.Typer()
    group.command("stats")(lambda: typer.echo("three objects"))
    group.command("clear")(lambda: typer.echo("cleared"))
    monkeypatch.setitem(main_module.COMMANDS, "group", Command("dinocell.main:group_of_a_test", "Do it in parts."))
    monkeypatch.setattr(main_module, "group_of_a_test", group, raising=False)
    assert run("group", "stats").stdout == "three objects\n"
    assert "Do it in parts." in run("group", "--help").stdout


def test_an_option_before_the_command_does_not_hide_it() -> None:
    called = [command for command in build_app(["--version", "doctor"]).registered_commands if command.help is None]
    assert [command.name for command in called] == ["doctor"]


@pytest.mark.parametrize(
    "words", [["--help"], ["segment", "--help"], ["eval", "--help"], ["train", "--help"], ["pretrain", "--help"]]
)
def test_help_is_shown_without_importing_torch(words: list[str]) -> None:
    code = f"""
import sys
from dinocell.main import main
try:
    main({words!r})
except SystemExit as stop:
    assert not stop.code, stop.code
assert "torch" not in sys.modules
"""
    result = python(code)
    assert result.returncode == 0, result.stderr
    assert "Usage" in result.stdout


def test_the_check_for_torch_can_fail() -> None:
    code = "import sys; sys.modules['torch'] = sys; assert 'torch' not in sys.modules"
    assert "AssertionError" in python(code).stderr


def test_the_public_names_are_there_and_import_nothing_before_their_use() -> None:
    code = """
import sys
import dinocell
assert "torch" not in sys.modules
assert set(dir(dinocell)) >= {"DINOCell", "DINOCellPipeline", "create_dinocell_model"}
from dinocell import DINOCell, DINOCellPipeline, create_dinocell_model
assert DINOCell.__name__ == "DINOCell" and DINOCellPipeline.__name__ == "DINOCellPipeline"
assert create_dinocell_model.__name__ == "create_dinocell_model"
"""
    assert python(code).returncode == 0, python(code).stderr


def test_every_public_name_resolves() -> None:
    import dinocell

    for name in dinocell.__all__:
        assert getattr(dinocell, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'CellManager'"):
        dinocell.CellManager


def test_the_installed_command_is_this_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["dinocell", "--version"])
    with pytest.raises(SystemExit) as stop:
        main_module.main()
    assert stop.value.code == 0
    assert "dinocell-cli" in capsys.readouterr().out


def test_a_name_the_terminal_cannot_show_ends_no_command(tmp_path: Path) -> None:
    # a file of an old share, whose name is Latin-1, on a terminal of UTF-8 alone
    code = f"""
import os
from dinocell.main import main
main(["simulate", os.fsdecode({os.fsencode(tmp_path)!r} + b"/Z\\xfcrich.tif"), "--num-cells", "1", "--channels", "DNA"])
"""
    result = python(code, {"PYTHONIOENCODING": "utf-8:strict"})
    assert result.returncode == 0, result.stderr
    assert "Z\\udcfcrich.tif (1 cell, " in result.stdout
