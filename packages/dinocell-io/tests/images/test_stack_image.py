import numpy as np
import pytest

from dinocell_io.images.lazy_image import Level
from dinocell_io.images.scenes import names_or_numbers
from dinocell_io.images.stack_image import stack_image


def stack(sizes, **options):
    names = tuple(f"C{number}" for number in range(sizes.get("c", 1)))
    given = {"dtype": np.dtype(">u2"), "channels": names, "read_planes": lambda *chosen: np.zeros((1, 1, 1))}
    return stack_image("a.lif", sizes, **given, **options)


@pytest.mark.parametrize(
    ("sizes", "axes", "shape"),
    [
        ({"y": 4, "x": 5}, "cyx", (1, 4, 5)),
        ({"x": 5, "c": 2, "y": 4, "z": 1, "t": 1}, "cyx", (2, 4, 5)),
        ({"z": 3, "t": 2, "y": 4, "x": 5, "c": 2}, "tzcyx", (2, 3, 2, 4, 5)),
        ({"i": 7, "y": 4, "x": 5, "s": 3, "p": 9}, "icyx", (7, 1, 4, 5)),
    ],
)
def test_axes_come_in_one_order_and_only_planes_have_missing_ones(sizes, axes, shape):
    image = stack(sizes)
    assert (image.axes, image.shape) == (axes, shape)
    assert image.levels == (Level(4, 5, 1.0),)
    assert image.dtype.isnative


def test_the_only_scene_of_a_file_is_not_named():
    assert (stack({"y": 4, "x": 5}, scenes=["a"]).scene, stack({"y": 4, "x": 5}, scenes=["a"]).scenes) == (None, ())
    image = stack({"y": 4, "x": 5}, scenes=["a", "b"], scene=1)
    assert (image.scene, image.scenes) == ("b", ("a", "b"))


@pytest.mark.parametrize(
    ("names", "kept"), [(["a", "b"], ("a", "b")), (["a", "a"], ("0", "1")), (["", "b"], ("0", "1")), ([], ())]
)
def test_scenes_without_names_of_their_own_are_numbered(names, kept):
    assert names_or_numbers(names) == kept
