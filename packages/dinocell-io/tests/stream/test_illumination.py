import io
import pickle

import numpy as np
import pytest

from dinocell_io.stores.local_store import LocalStore
from dinocell_io.stream.decode import BadObject
from dinocell_io.stream.field import FieldFiles, FieldPixels
from dinocell_io.stream.illumination import IlluminationCorrection, coarse_function, corrected_plane
from dinocell_io.stream.resample import resample_plane


def smooth_light(shape: tuple[int, int]) -> np.ndarray:
    y, x = (np.linspace(-1, 1, size) for size in shape)
    return 1 + 0.8 * np.exp(-(y[:, None] ** 2 + 0.7 * x**2))


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("shape", [(1080, 1080), (970, 996)])
def test_the_coarse_function_is_the_full_one_within_two_thousandths(shape):
    light = smooth_light(shape)
    coarse = coarse_function(npy(light), name="f", shape=shape)
    assert coarse.shape == tuple(-(-size // 8) for size in shape)
    assert coarse.nbytes < light.nbytes / 100
    deviation = np.abs(resample_plane(coarse, shape) / light - 1)
    assert deviation[8:-8, 8:-8].max() < 0.002
    assert deviation.max() < 0.004  # half a block at the edge is extended evenly


def test_values_are_rounded_and_clipped_to_the_type():
    coarse = np.array([[0.5]], np.float32)
    plane = np.array([[40000, 3]], np.uint16)
    assert corrected_plane(plane, coarse).tolist() == [[65535, 6]]
    assert corrected_plane(np.array([[5]], np.uint16), np.array([[2]], np.float32)).tolist() == [[2]]
    assert corrected_plane(np.array([[1.0]], np.float32), coarse).tolist() == [[2.0]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no array", "f is not a .npy array"),
        (npy(np.ones((4, 5))), r"f is float64 \(4, 5\), expected numbers of \(4, 4\)"),
        (npy(np.zeros((4, 4))), "holds values that are not above 0"),
        (npy(np.full((4, 4), np.nan)), "holds values that are not above 0"),
        (npy(np.array([[{}] * 4] * 4)), "is not a .npy array"),
    ],
)
def test_functions_that_cannot_be_right_are_failures_of_the_field(data, message):
    with pytest.raises(BadObject, match=message) as caught:
        coarse_function(data, name="f", shape=(4, 4))
    assert caught.value.kind == "illumination"


def test_each_plate_and_channel_has_its_own_function_fetched_once(tmp_path):
    shape = (24, 16)
    for plate, channel, value in (("P1", "DNA", 2.0), ("P1", "ER", 4.0), ("P2", "DNA", 8.0)):
        folder = tmp_path / f"cpg0016-jump/source_4/images/B 1/illum/{plate}"
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{plate}_Illum{channel}.npy", np.full(shape, value))
    correction = IlluminationCorrection(LocalStore(tmp_path), num_plates=1)
    plane = np.full(shape, 80, np.uint16)
    files = FieldFiles("a", {}, plate="source_4/B 1/P1")
    one = correction(files, FieldPixels("a", {"ER": plane, "DNA": plane}, 0.6))
    assert {name: int(values[0, 0]) for name, values in one.channels.items()} == {"ER": 20, "DNA": 40}
    (tmp_path / "cpg0016-jump/source_4/images/B 1/illum/P1/P1_IllumDNA.npy").unlink()
    assert correction(files, FieldPixels("a", {"DNA": plane}, 0.6)).channels["DNA"][0, 0] == 40
    other = pickle.loads(pickle.dumps(correction))
    field = FieldFiles("b", {}, plate="source_4/B 1/P2")
    assert other(field, FieldPixels("b", {"DNA": plane}, 0.6)).channels["DNA"][0, 0] == 10
    correction(field, FieldPixels("b", {"DNA": plane}, 0.6))
    with pytest.raises(FileNotFoundError):  # only the last plate was kept, and the other file is gone
        correction(files, FieldPixels("a", {"DNA": plane}, 0.6))
