"""What jaxtyping refuses in every other test, as users see it: without the checks of the test run."""

import doctest
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dinocell_kernels
from dinocell_kernels import _native

WRONG_CALLS = """
import json
import numpy as np
import dinocell_kernels as k

flat, labels, floats = np.ones(3, np.int32), np.ones((2, 3), np.int32), np.ones((2, 3), np.float32)
one, start = np.ones(1, np.float32), np.array([0])
image, tiles = np.ones((1, 2, 2), np.uint8), np.ones((1, 1, 2, 2), np.float32)
gather = lambda **change: k.gather_tiles(
    change.pop("image", image), change.pop("ys", start), start,
    **({"tile": 2, "scale": one, "offset": one, "low": 0, "high": 1} | change))
blend = lambda tiles=tiles, ys=start, **change: k.blend_tiles(
    tiles, ys, start, **({"overlap": 0, "rows": (0, 2), "width": 2} | change))
calls = {
    "flat labels": lambda: k.distance_map(flat),
    "float labels": lambda: k.distance_map(floats),
    "float relabel": lambda: k.relabel(floats),
    "flat mask": lambda: k.connected_components(flat),
    "flat map": lambda: k.watershed(flat.astype(np.float32)),
    "integer map": lambda: k.watershed(labels),
    "long map": lambda: k.watershed(labels.astype(np.longdouble)),
    "float markers": lambda: k.marker_watershed(floats, floats),
    "marker shape": lambda: k.marker_watershed(floats, labels.T),
    "mask shape": lambda: k.marker_watershed(floats, labels, mask=labels.T),
    "complex image": lambda: k.marker_watershed(floats.astype(np.complex64), labels),
    "overlap shape": lambda: k.label_overlap(labels, labels.T),
    "overlap type": lambda: k.label_overlap(floats, floats),
    "flat image": lambda: gather(image=flat),
    "channels": lambda: gather(scale=np.ones(2, np.float32)),
    "float starts": lambda: gather(ys=one),
    "gather out": lambda: gather(out=np.ones((2, 2), np.float32)),
    "double tiles": lambda: blend(tiles.astype(float)),
    "tile counts": lambda: blend(ys=np.array([0, 1])),
    "blend out": lambda: blend(out=np.ones((2, 2))),
}
messages = {}
for name, call in calls.items():
    try:
        call()
    except ValueError as error:
        messages[name] = str(error)
print(json.dumps(messages))
"""

EXPECTED = {
    "flat labels": "labels must be 2-D [y x], got shape (3,); pass one plane at a time, for example labels[0]",
    "float labels": "labels must hold integers, got float32; convert with labels.astype(numpy.int32)",
    "float relabel": "labels must hold integers, got float32",
    "flat mask": "mask must be 2-D [y x], got shape (3,)",
    "flat map": "distance_map must be 2-D [y x], got shape (3,)",
    "integer map": "distance_map must be float16, float32 or float64, got int32; convert",
    "long map": "distance_map must be float16, float32 or float64, got",
    "float markers": "markers must hold integers, got float32; convert with markers.astype(numpy.int32)",
    "marker shape": "markers has shape (3, 2), but the image has (2, 3); they must be equal",
    "mask shape": "mask has shape (3, 2), but the image has (2, 3); they must be equal",
    "complex image": "image must hold real numbers of at most 64 bits, got complex64",
    "overlap shape": "truth has shape (2, 3) and predicted (3, 2); both must label the same pixels, so crop",
    "overlap type": "truth must hold integers, got float32",
    "flat image": "image must be [c y x] with at least one pixel, got shape (3,); add an axis with image[None]",
    "channels": "scale has shape (2,), but the image has 1 channels; give one value each",
    "float starts": "ys must be a 1-D array of integers, got float32 with shape (1,)",
    "gather out": "out must be a writeable row-major float32 array of shape (1, 1, 1, 2, 2), got float32 (2, 2)",
    "double tiles": "tiles must be float32 [ny nx t t], got float64 (1, 1, 2, 2)",
    "tile counts": "tiles are 1 x 1, but there are 2 ys and 1 xs; give one start for each row and column",
    "blend out": "out must be a writeable row-major float32 array of shape (2, 2), got float64 (2, 2)",
}


@pytest.fixture(scope="module")
def messages():
    run = subprocess.run([sys.executable, "-c", WRONG_CALLS], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


@pytest.mark.parametrize("case", EXPECTED)
def test_the_message_says_what_came_and_what_to_do(messages, case):
    assert messages[case].startswith(EXPECTED[case])


def test_every_wrong_call_has_its_message(messages):
    assert set(messages) == set(EXPECTED)


def test_the_native_module_never_converts_an_array():
    with pytest.raises(TypeError, match="incompatible function arguments"):
        _native.distance_map(np.ones((2, 2), np.uint8), True, False, 1)
    with pytest.raises(TypeError, match="incompatible function arguments"):
        _native.distance_map(np.ones((4, 4), np.int32)[::2], True, False, 1)
    with pytest.raises(ValueError, match="labels must be 2-D"):
        _native.distance_map(np.ones(4, np.int32), True, False, 1)


def test_build_info_names_what_a_bug_report_needs():
    info = dinocell_kernels.build_info()
    assert set(info) == {"version", "compiler", "flags", "isa", "cuda"}
    assert info["cuda"] == "not built" or " for " in str(info["cuda"])
    assert info["version"] == "0.1.0"


def test_importing_the_kernels_does_not_import_torch():
    code = "import sys, dinocell_kernels; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
    run = subprocess.run(
        [sys.executable, "-c", "import sys, json; print('json' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "True", "test invalid"


def test_kernels_work_in_a_forked_child_after_threads_have_run():
    code = """
import os, numpy as np, dinocell_kernels as k
labels = np.kron(np.arange(400, dtype=np.int32).reshape(20, 20), np.ones((40, 40), np.int32))
before = k.distance_map(labels, num_threads=2)
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(k.distance_map(labels, num_threads=2), before) else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_the_example_of_the_readme_runs():
    readme = Path(__file__).parents[1] / "README.md"
    assert doctest.testfile(str(readme), module_relative=False) == doctest.TestResults(failed=0, attempted=6)
