"""The package is a table of contents: cheap to import, and every name of it is what it says."""

import subprocess
import sys

import pytest

import dinocell_io

HEAVY = {"PIL", "asyncio", "boto3", "cv2", "imagecodecs", "jaxtyping", "numpy", "scipy", "tifffile", "typer", "urllib3"}


def heavy_after(code: str) -> set[str]:
    """The heavy modules that a fresh interpreter has after running `code`."""
    program = f"import sys\n{code}\nprint(*sorted({HEAVY} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_every_public_name_is_there_and_is_no_module():
    for name in dinocell_io.__all__:
        assert type(getattr(dinocell_io, name)).__name__ != "module", name
    assert set(dinocell_io.__all__) <= set(dir(dinocell_io))


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="dinocell_io attribute read_imgae"):
        dinocell_io.read_imgae


@pytest.mark.parametrize(
    "code", ["import dinocell_io", "from dinocell_io import atomic_path", "from dinocell_io import open_store"]
)
def test_what_needs_no_array_imports_no_heavy_module(code):
    assert heavy_after(code) == set()


def test_the_look_for_heavy_modules_can_fail():
    assert "numpy" in heavy_after("from dinocell_io import read_image")


def test_readers_of_local_images_are_imported_without_what_buckets_need():
    assert heavy_after("from dinocell_io import open_image, read_image, read_labels") == {
        "asyncio",
        "jaxtyping",
        "numpy",
    }


def test_a_function_with_the_name_of_its_module_wins_in_any_order_of_imports():
    code = """
import dinocell_io.jump.fields, dinocell_io.datasets.convert_cellpose
from dinocell_io import convert_cellpose, jump_fields
import dinocell_io.datasets.convert_samcell
assert callable(convert_cellpose) and callable(jump_fields) and callable(dinocell_io.convert_samcell)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
