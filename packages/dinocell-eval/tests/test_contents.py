"""The package is a table of contents: cheap to import, as is the help of its commands."""

import subprocess
import sys

import pytest

import dinocell_eval

HEAVY = {"PIL", "jaxtyping", "numpy", "pandas", "scipy", "skimage", "tifffile"}
HELP = """
from typer.testing import CliRunner
from dinocell.main import build_app
words = [{command!r}, "--help"]
result = CliRunner().invoke(build_app(words), words)
assert result.exit_code == 0 and {argument!r} in result.output, result.output
"""


def heavy_after(code: str) -> set[str]:
    """The heavy modules that a fresh interpreter has after running `code`."""
    program = f"import sys\n{code}\nprint(*sorted({HEAVY} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_every_public_name_is_there_and_is_no_module():
    for name in dinocell_eval.__all__:
        assert type(getattr(dinocell_eval, name)).__name__ != "module", name
    assert set(dinocell_eval.__all__) <= set(dir(dinocell_eval))


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="dinocell_eval attribute evalute"):
        dinocell_eval.evalute


def test_the_package_is_imported_without_a_heavy_module():
    assert heavy_after("import dinocell_eval") == set()


@pytest.mark.parametrize(
    ("command", "argument"), [("eval", "PRED_DIR"), ("eval-ctc", "SEQUENCE"), ("eval-sweep", "MAP_DIR")]
)
def test_the_help_of_a_command_is_shown_without_a_heavy_module(command, argument):
    pytest.importorskip("dinocell", reason="needs dinocell-cli, where the commands are")
    assert heavy_after(HELP.format(command=command, argument=argument)) == set()


def test_the_look_for_heavy_modules_can_fail():
    assert "numpy" in heavy_after("from dinocell_eval import evaluate")


def test_evaluate_is_the_function_in_any_order_of_imports():
    code = """
import dinocell_eval.images.evaluate
from dinocell_eval import evaluate
import dinocell_eval.images.comparison
assert callable(evaluate) and callable(dinocell_eval.evaluate)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
