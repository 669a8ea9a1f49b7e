"""Binary masks are told from labels, by name, and their pieces become labels on request."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from typer.testing import CliRunner

from dinocell_io import (
    BinaryMaskWarning,
    binary_mask_sign,
    open_dataset,
    read_labels,
    refuse_binary_masks,
    split_pieces,
    write_image,
    write_labels,
)
from dinocell_io.commands.data import app
from dinocell_io.images.image import Image


def drawn(picture: str) -> np.ndarray:
    rows = picture.split()
    return np.array([[0 if sign == "." else int(sign) for sign in row] for row in rows])


CELLS = drawn("""
    11...2
    11..22
    ......
    .33.44
    """)
MASK = (CELLS > 0).astype(np.uint8)


@pytest.mark.parametrize(
    ("mask", "sign"),
    [
        (MASK, "its only number, 1, lies in 4 separate pieces"),
        (MASK * np.uint8(255), "its only number, 255, lies in 4 separate pieces"),
        (MASK.astype(np.uint16) * np.uint16(65535), "its only number, 65535, lies in 4 separate pieces"),
        (np.where(CELLS == 1, 255, 0), "its only number is 255"),
        (np.full((3, 3), 255), "its only number is 255"),
        (drawn("1.1.1.2.2.2 ..........."), "its 2 numbers lie in 6 separate pieces"),
        (np.tile([[1, 2], [3, 4]], (3, 3)), "its 4 numbers lie in 36 separate pieces"),
    ],
)
def test_a_mask_in_which_cells_share_numbers_says_what_gives_it_away(mask: np.ndarray, sign: str) -> None:
    assert binary_mask_sign(mask) == sign


@pytest.mark.parametrize(
    "labels",
    [
        CELLS,
        np.zeros((4, 4), int),
        np.where(CELLS == 2, 1, 0),  # one cell in the image
        drawn("1.1.2.2.3.3"),  # every cell cut in two
        np.kron(CELLS, np.ones((9, 9), int)),
        np.where(np.arange(81).reshape(9, 9) % 80 == 0, 7, np.pad(np.full((5, 5), 7), 2)),  # one cell, stray pixels
    ],
)
def test_labels_are_not_taken_for_a_mask(labels: np.ndarray) -> None:
    assert binary_mask_sign(labels) is None


def test_corners_join_and_pieces_are_numbered_by_their_first_pixel() -> None:
    labels = drawn("""
        .5.5.3
        5...3.
        .33..3
        """)
    assert (split_pieces(labels) == drawn(".1.2.3 1...3. .44..3")).all()


@pytest.mark.parametrize("seed", range(20))
def test_pieces_are_those_of_each_number_alone(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, random.integers(1, 14, 2)).astype([np.uint8, np.int64, np.uint32][seed % 3])
    plain = np.zeros(labels.shape, int)
    for number in (1, 2, 3):
        pieces, _ = ndimage.label(labels == number, np.ones((3, 3)))
        plain = np.where(pieces > 0, pieces + plain.max(), plain)
    got = split_pieces(labels)
    assert len({*zip(plain.flat, got.flat, strict=True)}) == len(np.unique(plain)) == len(np.unique(got))
    assert ((got > 0) == (labels > 0)).all()
    assert got.max() == plain.max()


def test_a_data_set_of_binary_masks_is_refused_whatever_is_empty_in_it() -> None:
    masks = [("a.png", MASK * np.uint8(255)), ("empty.png", MASK * np.uint8(0)), ("b.png", MASK)]
    with pytest.raises(ValueError, match=r"masks look binary: a\.png .its only number, 255, .*, b\.png .*split-pieces"):
        refuse_binary_masks(masks)
    refuse_binary_masks([("empty.png", MASK * np.uint8(0))])


def test_single_binary_masks_of_a_data_set_are_named_in_a_warning() -> None:
    with pytest.warns(BinaryMaskWarning, match=r"1 mask of 2 look binary: b\.png"):
        refuse_binary_masks([("a.png", CELLS), ("b.png", MASK)])


def test_a_long_list_of_masks_is_cut() -> None:
    with pytest.raises(ValueError, match=r"4\.png \(.*\) and 3 more; expected"):
        refuse_binary_masks((f"{index}.png", MASK) for index in range(8))


def test_the_command_makes_labels_of_a_data_set_of_masks(tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / "set" / kind).mkdir(parents=True)
    for name in ("a", "b"):
        write_image(tmp_path / "set" / "images" / f"{name}.png", Image(MASK[None], ("C0",), None, False, "here"))
        write_labels(tmp_path / "set" / "masks" / f"{name}.png", MASK * np.uint8(255))
    (tmp_path / "set" / "splits.csv").write_text("name,split,group\na,train,g\nb,val,h\n")
    ran = CliRunner().invoke(app, ["split-pieces", str(tmp_path / "set"), str(tmp_path / "new")])
    assert (ran.exit_code, ran.output) == (0, f"2 images with one label for each piece in {tmp_path / 'new'}\n")
    a, b = open_dataset(tmp_path / "new")
    assert (a.split, a.group, b.split, b.group) == ("train", "g", "val", "h")
    assert (read_labels(a.labels_path) == drawn("11...2 11..22 ...... .33.44")).all()
    missing = CliRunner().invoke(app, ["split-pieces", str(tmp_path / "none"), str(tmp_path / "newer")])
    assert (missing.exit_code, "does not exist" in missing.output) == (2, True)
