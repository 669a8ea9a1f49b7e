"""Label files of other programs: Cellpose's dictionaries without running their pickle, endings and companions."""

import os
import pickle
import sys
from pathlib import PurePosixPath
from types import ModuleType

import numpy as np
import pytest

from dinocell_eval.cases.image_cases import drawn
from dinocell_eval.folders.cellpose_seg import read_cellpose_seg
from dinocell_eval.folders.pairing import pair_folders
from dinocell_eval.folders.result_files import read_result

MASKS = drawn("..11\n.222\n3...").astype(np.uint16)


def cellpose_dictionary(masks, **more):
    """What Cellpose saves, with arrays of arrays, numbers of NumPy, None and a path among it."""
    return {
        "outlines": masks.astype(np.uint16),
        "masks": masks,
        "chan_choose": [0, 0],
        "ismanual": np.zeros(3, bool),
        "filename": PurePosixPath("images") / "a.tif",
        "flows": [np.zeros((3, 4, 3), np.uint8), np.float32(1.5), [], None],
        "diameter": np.float64(17.25),
        "nested": np.array([np.arange(2), None], object),
        **more,
    }


def save(path, content, *, protocol=4):
    array = np.array(content, object)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": array.shape})
        pickle.dump(array, file, protocol=protocol)


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int64"])
def test_the_masks_of_a_cellpose_file_are_read_as_they_are(tmp_path, dtype, protocol):
    save(tmp_path / "a_seg.npy", cellpose_dictionary(MASKS.astype(dtype)), protocol=protocol)
    found = read_result(tmp_path / "a_seg.npy")
    assert found.dtype == dtype
    assert np.array_equal(found, MASKS)


def test_a_file_that_numpy_saved_is_read(tmp_path):
    np.save(tmp_path / "a_seg.npy", cellpose_dictionary(MASKS[None]))
    assert np.array_equal(read_result(tmp_path / "a_seg.npy"), MASKS)


def test_a_path_that_python_3_13_pickled_is_read_by_every_version(tmp_path, monkeypatch):
    def path(*parts):
        raise AssertionError("not to be called: only its name is pickled")

    path.__module__, path.__qualname__ = "pathlib._local", "PosixPath"
    module = ModuleType("pathlib._local")
    module.PosixPath = path
    with monkeypatch.context() as saving:
        saving.setitem(sys.modules, "pathlib._local", module)
        save(tmp_path / "a_seg.npy", cellpose_dictionary(MASKS, filename=Harmful(path, "images", "a.tif")))
    assert b"pathlib._local" in (tmp_path / "a_seg.npy").read_bytes()
    assert np.array_equal(read_result(tmp_path / "a_seg.npy"), MASKS)


class Harmful:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("harmful", "named"),
    [
        (lambda path: Harmful(os.mkdir, str(path)), "posix.mkdir"),
        (lambda path: Harmful(eval, f"__import__('os').mkdir({str(path)!r})"), "builtins.eval"),
    ],
)
def test_nothing_a_pickle_asks_for_is_run(tmp_path, harmful, named):
    target = tmp_path / "made"
    content = cellpose_dictionary(MASKS, more=harmful(target))
    save(tmp_path / "a_seg.npy", content)
    with pytest.raises(ValueError, match=rf"asks for {named}, which could run code and is refused; save the masks as"):
        read_cellpose_seg(tmp_path / "a_seg.npy")
    assert not target.exists()
    np.load(tmp_path / "a_seg.npy", allow_pickle=True)
    assert target.exists(), "test invalid: NumPy would not have run it either"


def test_an_array_of_another_class_and_an_object_scalar_are_refused(tmp_path):
    save(tmp_path / "a_seg.npy", cellpose_dictionary(np.ma.masked_array(MASKS)))
    with pytest.raises(ValueError, match=r"asks for numpy\.ma"):
        read_cellpose_seg(tmp_path / "a_seg.npy")
    scalar = Harmful(np._core.multiarray.scalar, np.dtype("O"), b"12345678")
    save(tmp_path / "b_seg.npy", cellpose_dictionary(MASKS, more=scalar))
    with pytest.raises(ValueError, match="a NumPy scalar that is not a number"):
        read_cellpose_seg(tmp_path / "b_seg.npy")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<u2", ">u2", ">i4"])
def test_masks_of_any_byte_order_and_memory_order_are_read(tmp_path, dtype, order):
    np.save(tmp_path / "a_seg.npy", {"masks": np.asarray(MASKS.astype(dtype), order=order)})
    assert np.array_equal(read_cellpose_seg(tmp_path / "a_seg.npy"), MASKS)


class Bytes:
    """An array whose pickle says that some bytes are objects, so that NumPy would take them for pointers."""

    def __reduce__(self):
        kind = Harmful(np.dtype, "V8", False, True)
        kind.call = (*kind.call, (3, "|", None, ("f0",), {"f0": (np.dtype("O"), 0)}, 8, 1, 0))
        empty = np._core.multiarray._reconstruct
        return empty, (np.ndarray, (0,), b"b"), (1, (1,), kind, False, b"12345678")


@pytest.mark.parametrize(
    ("harmful", "message"),
    [
        (Bytes(), "it holds an array of type 'V8'"),
        (Harmful(np.ndarray, (1,), np.dtype("O"), b"12345678"), "it makes an array without its contents"),
    ],
)
def test_arrays_that_lie_about_their_memory_are_refused(tmp_path, harmful, message):
    save(tmp_path / "a_seg.npy", {"masks": MASKS, "more": harmful})
    with pytest.raises(ValueError, match=message):
        read_cellpose_seg(tmp_path / "a_seg.npy")


def test_a_pickle_cannot_change_the_reader(tmp_path):
    """The BUILD instruction on a constructor would leave its mark for the files read later."""
    changed = b"\x80\x04cnumpy\ndtype\n}b."
    with (tmp_path / "a_seg.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(changed)
    with pytest.raises(ValueError, match="it changes a constructor"):
        read_cellpose_seg(tmp_path / "a_seg.npy")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"outlines": MASKS}, "does not hold a dictionary with masks"),
        ({"masks": np.array([MASKS, None], object)}, "its masks are object of shape"),
        ({"masks": MASKS * 0.5}, "its masks are float64 of shape .*, expected one plane"),
        ({"masks": np.stack([MASKS, MASKS])}, "its masks are uint16 of shape .2, 3, 4., expected one plane"),
    ],
)
def test_a_dictionary_without_a_plane_of_masks_is_refused(tmp_path, content, message):
    np.save(tmp_path / "a_seg.npy", content)
    with pytest.raises(ValueError, match=message):
        read_cellpose_seg(tmp_path / "a_seg.npy")


def test_a_plain_array_a_damaged_and_a_foreign_file_are_refused(tmp_path):
    np.save(tmp_path / "a_seg.npy", MASKS)
    with pytest.raises(ValueError, match=r"holds an array uint16 of shape \(3, 4\), expected the dictionary"):
        read_cellpose_seg(tmp_path / "a_seg.npy")
    np.save(tmp_path / "b_seg.npy", cellpose_dictionary(MASKS))
    whole = (tmp_path / "b_seg.npy").read_bytes()
    for length in range(len(whole) - 1, 100, -97):
        (tmp_path / "b_seg.npy").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"b_seg\.npy"):
            read_cellpose_seg(tmp_path / "b_seg.npy")
    (tmp_path / "c_seg.npy").write_bytes(b"something else")
    with pytest.raises(ValueError, match="is not an npy file"):
        read_cellpose_seg(tmp_path / "c_seg.npy")


@pytest.fixture
def folders(tmp_path):
    def make(truths, predictions):
        for folder, names in (("truth", truths), ("predicted", predictions)):
            (tmp_path / folder).mkdir()
            for name in names:
                (tmp_path / folder / name).touch()
        return pair_folders(tmp_path / "truth", tmp_path / "predicted")

    return make


@pytest.mark.parametrize(
    ("truth", "written", "chosen"),
    [
        ("a.tif", ["a.tif", "a_cp_masks.png", "a_seg.npy", "a_flows.tif", "a_cp_output.png"], "a_cp_masks.png"),
        ("a.tif", ["a.png", "a_seg.npy", "a_cp_outlines.txt", "a_dP.tif"], "a_seg.npy"),
        ("a_masks.tif", ["a_cp_masks.tif"], "a_cp_masks.tif"),
        ("a_seg.npy", ["a_labels.tif", "a_overlay.png", "a_distance_map.tif"], "a_labels.tif"),
        ("a.tif", ["a.stardist.tif"], "a.stardist.tif"),
        ("a.tif", ["a_seg.tif"], "a_seg.tif"),
        ("a_seg.tif", ["a_seg.tif", "b.tif"], "a_seg.tif"),
    ],
)
def test_the_labels_among_the_files_of_a_program_are_found(folders, truth, written, chosen):
    pairing = folders([truth], written)
    (pair,) = pairing.pairs
    assert pair.predicted.name == chosen
    labels = {chosen, "b.tif", "a_overlay.png", "a_distance_map.tif"}  # the latter two are ours, and named nowhere
    images = {name for name in written if name.endswith((".tif", ".png", ".npy"))}
    assert {path.name for path in pairing.ignored} == images - labels


def test_the_image_beside_cellpose_masks_is_never_taken_for_labels(folders):
    pairing = folders(["a.tif", "b.tif"], ["a.tif", "a_cp_masks.tif", "b.tif"])
    assert [pair.predicted.name for pair in pairing.pairs] == ["a_cp_masks.tif", "b.tif"]
