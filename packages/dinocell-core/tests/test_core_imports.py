"""The network is installed where images are never read: its dependencies are torch and a few small packages."""

import subprocess
import sys

IMAGE_LIBRARIES = {"boto3", "dinocell_eval", "dinocell_io", "dinocell_kernels", "imagecodecs", "tifffile"}
EVERY_MODULE = """
import importlib, pkgutil, dinocell_core
for module in pkgutil.walk_packages(dinocell_core.__path__, "dinocell_core."):
    importlib.import_module(module.name)
"""


def image_libraries_after(code: str) -> set[str]:
    """The image libraries that a fresh interpreter has after running `code`."""
    program = f"import sys\n{code}\nprint(*{IMAGE_LIBRARIES} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_no_module_imports_an_image_library():
    assert image_libraries_after(EVERY_MODULE) == set()


def test_an_image_library_would_be_seen():
    assert image_libraries_after("import boto3") == {"boto3"}, "test invalid"
