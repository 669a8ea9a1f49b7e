"""The examples of the README and of the pages it links to run, and the package is cheap to import."""

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

from dinocell_eval.images.protocols import PROTOCOLS
from dinocell_eval.metrics.metric_table import COUNTS, metric_table

README = Path(__file__).parents[1] / "README.md"
DOCS = README.parents[2] / "docs"

_IMPORTS = """
import sys
{first}
import dinocell_eval, dinocell_eval.commands.eval
for heavy in ("torch", "scipy", "rich.console"):
    assert heavy not in sys.modules, f"{{heavy}} was imported"
"""


@pytest.mark.parametrize("page", [README, DOCS / "cell-tracking.md"], ids=lambda page: page.name)
def test_the_example_of_the_page_runs(page):
    failed, attempted = doctest.testfile(str(page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert attempted > 0
    assert failed == 0


def test_every_metric_is_in_the_table_of_definitions():
    text = (DOCS / "metrics.md").read_text()
    for name in [*metric_table((), boundary_px=2), *COUNTS, "ap_0.50", "precision_0.50", "recall_0.50", "f1_0.50"]:
        assert f"`{name}`" in text, name


def test_every_protocol_is_in_the_table_of_definitions():
    text = (DOCS / "metrics.md").read_text()
    for name in PROTOCOLS:
        assert f"| `{name}` |" in text, name


@pytest.mark.parametrize(
    ("first", "succeeds"), [("", True), ("import scipy", False), ("sys.modules['torch'] = sys", False)]
)
def test_importing_the_package_imports_nothing_heavy(first, succeeds):
    done = subprocess.run([sys.executable, "-c", _IMPORTS.format(first=first)], capture_output=True, text=True)
    assert (done.returncode == 0) is succeeds, done.stderr
