"""The README's example runs."""

import doctest
import subprocess
import sys
from pathlib import Path

import dinocell_seg
from dinocell_seg.output_files import DISTANCE_MAP_SUFFIX, OUTPUT_SUFFIXES
from dinocell_seg.settings import SegmentSettings

README = Path(__file__).parents[1] / "README.md"


def test_the_example_of_the_readme_runs() -> None:
    failed, attempted = doctest.testfile(str(README), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert attempted > 0
    assert failed == 0


def test_every_setting_is_in_the_table_of_the_readme() -> None:
    text = README.read_text()
    for name in SegmentSettings.model_fields:
        assert name in text, name
    for suffix in (*OUTPUT_SUFFIXES.values(), DISTANCE_MAP_SUFFIX):
        assert f"`NAME{suffix}`" in text, suffix


def test_every_public_name_resolves_and_importing_the_package_imports_nothing_heavy() -> None:
    code = "import dinocell_seg, sys; assert not {'torch', 'numpy', 'cv2', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    for name in dinocell_seg.__all__:
        assert getattr(dinocell_seg, name).__name__ == name
