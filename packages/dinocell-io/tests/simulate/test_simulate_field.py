"""Simulated fields: the truth is true, the optics do what they say, the seed decides every bit."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from dinocell_io import Field, read_image, simulate_field, write_image
from dinocell_io.simulate.cells import draw_cells


def num_touching(labels: np.ndarray) -> int:
    """Pairs of different labels on pixels that share a side."""
    pairs = set()
    for a, b in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        meets = (a != b) & (a > 0) & (b > 0)
        pairs |= {frozenset(pair) for pair in zip(a[meets].tolist(), b[meets].tolist(), strict=True)}
    return len(pairs)


@pytest.fixture(scope="module")
def field() -> Field:
    return simulate_field((256, 320), num_cells=40, diameter_px=32, seed=3)


def test_the_image_is_16_bit_with_named_channels(field: Field) -> None:
    assert field.image.pixels.dtype == np.uint16
    assert field.image.pixels.shape == (3, 256, 320)
    assert field.image.channels == ("DNA", "ER", "AGP")
    assert field.image.pixel_size_um == 0.5
    assert 1000 < field.image.pixels.max() < 65535


def test_every_cell_is_one_piece_and_has_one_nucleus_in_it(field: Field) -> None:
    assert np.unique(field.labels).tolist() == list(range(41))
    assert np.unique(field.nuclei_labels).tolist() == list(range(41))
    inside = field.nuclei_labels > 0
    np.testing.assert_array_equal(field.nuclei_labels[inside], field.labels[inside])
    for labels in (field.labels, field.nuclei_labels):
        for number in range(1, 41):
            assert ndimage.label(labels == number)[1] == 1


@pytest.mark.parametrize("seed", range(4))
def test_without_touching_no_two_cells_share_a_border(seed: int) -> None:
    shape, look = (256, 256), {"channels": ("DNA",), "diameter_px": 24, "seed": seed}
    assert num_touching(simulate_field(shape, num_cells=38, touching=0.0, **look).labels) == 0
    assert num_touching(simulate_field(shape, num_cells=38, touching=1.0, **look).labels) >= 30


def test_two_cells_meet_where_they_are_equally_deep() -> None:
    cells = draw_cells(
        (300, 300), 12, diameter_px=60.0, touching=1.0, nucleus_fraction=0.5, rng=np.random.default_rng(0)
    )
    labels, depth = cells.labels, cells.depth
    meets = (labels[1:] != labels[:-1]) & (labels[1:] > 0) & (labels[:-1] > 0)
    steps = np.abs(depth[1:][meets] - depth[:-1][meets])
    assert steps.size > 50
    assert np.percentile(steps, 90) < 0.08  # about two pixels of a radius of 30


def test_large_nuclei_touch_as_cells_do() -> None:
    packed = simulate_field((256, 256), num_cells=40, diameter_px=30, touching=1.0, nucleus_fraction=0.95, seed=1)
    assert num_touching(packed.nuclei_labels) >= 10


def test_cells_have_the_diameter_that_was_asked_for() -> None:
    field = simulate_field((600, 600), num_cells=60, diameter_px=40, touching=0.0, channels=("DNA",), seed=5)
    areas = np.bincount(field.labels.ravel())[1:]
    touches_border = np.unique(
        np.concatenate([field.labels[0], field.labels[-1], field.labels[:, 0], field.labels[:, -1]])
    )
    whole = np.setdiff1d(np.arange(1, 61), touches_border)
    diameters = 2 * np.sqrt(areas[whole - 1] / np.pi)
    assert np.median(diameters) == pytest.approx(40, rel=0.08)
    assert diameters.min() > 20
    assert diameters.max() < 65


def test_the_same_seed_gives_the_same_bits_and_another_does_not(field: Field) -> None:
    again = simulate_field((256, 320), num_cells=40, diameter_px=32, seed=3)
    np.testing.assert_array_equal(again.image.pixels, field.image.pixels)
    np.testing.assert_array_equal(again.labels, field.labels)
    other = simulate_field((256, 320), num_cells=40, diameter_px=32, seed=4)
    assert not np.array_equal(other.labels, field.labels)


def test_channels_show_the_same_cells_whatever_else_is_chosen(field: Field) -> None:
    other = simulate_field((256, 320), num_cells=40, diameter_px=32, seed=3, channels=("Mito", "AGP"))
    np.testing.assert_array_equal(other.labels, field.labels)
    np.testing.assert_array_equal(other.image.pixels[1], field.image.pixels[2])


def test_each_stain_shows_its_part_of_the_cell() -> None:
    field = simulate_field(
        (256, 256), num_cells=25, diameter_px=36, channels=("DNA", "ER", "AGP", "RNA", "Mito"), gradient=0.0
    )
    nucleus = field.nuclei_labels > 0
    cytoplasm = (field.labels > 0) & ~nucleus
    background = ndimage.binary_erosion(field.labels == 0, iterations=4)
    depth = ndimage.distance_transform_edt(field.labels > 0)
    rim, middle = cytoplasm & (depth <= 2), cytoplasm & (depth > 4) & (depth < 7)
    means = {
        name: {
            part: plane[where].mean()
            for part, where in (
                ("nucleus", nucleus),
                ("cytoplasm", cytoplasm),
                ("background", background),
                ("rim", rim),
                ("middle", middle),
            )
        }
        for name, plane in zip(field.image.channels, field.image.pixels.astype(float), strict=True)
    }
    assert means["DNA"]["nucleus"] > 3 * means["DNA"]["cytoplasm"]
    assert means["ER"]["cytoplasm"] > 1.2 * means["ER"]["nucleus"]
    assert means["AGP"]["rim"] > 1.2 * means["AGP"]["middle"]
    assert means["Mito"]["cytoplasm"] > 1.5 * means["Mito"]["nucleus"]
    for name in ("ER", "AGP", "RNA", "Mito"):
        assert means[name]["cytoplasm"] > 1.5 * means[name]["background"]


def test_shot_and_read_noise_have_their_variances() -> None:
    empty = {"num_cells": 0, "channels": ("DNA",), "gradient": 0.0}
    dark = simulate_field((300, 300), photons=1e-9, read_noise=5.0, **empty).image.pixels.astype(float)
    assert dark.std() == pytest.approx(50, rel=0.03)  # 10 counts per photon
    assert dark.mean() == pytest.approx(100, abs=1)
    lit = simulate_field((300, 300), photons=3000.0, read_noise=0.0, **empty).image.pixels.astype(float)
    assert lit.mean() == pytest.approx(100 + 10 * 90, rel=0.01)
    assert lit.var() == pytest.approx(100 * 90, rel=0.05)  # Poisson: variance = mean, times 10 squared


def test_more_light_is_less_noise_and_too_much_saturates() -> None:
    noisy, clean = (
        simulate_field((128, 128), num_cells=4, photons=photons, seed=2).image.pixels[0].astype(float)
        for photons in (20.0, 2000.0)
    )
    relative = [np.std(plane - ndimage.median_filter(plane, 5)) / (plane.max() - 100) for plane in (noisy, clean)]
    assert relative[0] > 2 * relative[1]
    assert simulate_field((128, 128), num_cells=4, photons=1e6).image.pixels.max() == 65535


def test_the_gradient_darkens_one_place_by_its_share() -> None:
    even, uneven = (
        ndimage.gaussian_filter(
            simulate_field((200, 200), num_cells=0, photons=1e5, gradient=gradient).image.pixels[0] - 100.0, 8
        )
        for gradient in (0.0, 0.5)
    )
    assert np.ptp(even) / even.max() < 0.02
    assert uneven.min() / uneven.max() == pytest.approx(0.55, abs=0.06)


def test_a_wider_psf_blurs() -> None:
    sharp, blurred = (
        simulate_field((128, 128), num_cells=3, psf_sigma_px=sigma, photons=1e4).image.pixels[0].astype(float)
        for sigma in (0.0, 3.0)
    )
    steepest = [np.abs(np.diff(plane)).max() / np.ptp(plane) for plane in (sharp, blurred)]
    assert steepest[0] > 2 * steepest[1]


def test_an_empty_field_and_a_small_one_are_fields() -> None:
    assert simulate_field((20, 30), num_cells=0).labels.max() == 0
    tiny = simulate_field((16, 16), num_cells=1, diameter_px=6)
    assert np.count_nonzero(tiny.nuclei_labels) > 0


def test_cells_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"50 cells of about \d+ px do not fit into 64 x 64 .*use fewer or smaller"):
        simulate_field((64, 64), num_cells=50)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"channels": ("DNA", "GFP")}, "channels are DNA, GFP; choose each once of DNA, ER, AGP, RNA, Mito"),
        ({"channels": ()}, r"channels are \(none\)"),
        ({"channels": ("DNA", "DNA")}, "choose each once"),
        ({"num_cells": -1}, "-1 cells"),
        ({"shape": (0, 5)}, r"shape \(0, 5\)"),
        ({"diameter_px": 5.0}, "diameter_px is 5.0, expected at least 6"),
        ({"touching": 1.5}, "touching is 1.5"),
        ({"nucleus_fraction": 0.1}, "nucleus_fraction is 0.1, expected 0.3 to 0.95"),
        ({"photons": 0.0}, "photons 0.0"),
        ({"gradient": 1.0}, "gradient is 1.0"),
    ],
)
def test_values_out_of_range_are_refused(arguments: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        simulate_field(**arguments)


def test_a_written_field_reads_back(field: Field, tmp_path: Path) -> None:
    write_image(tmp_path / "field.ome.tif", field.image)
    back = read_image(tmp_path / "field.ome.tif")
    np.testing.assert_array_equal(back.pixels, field.image.pixels)
    assert back.channels == field.image.channels
    assert back.pixel_size_um == pytest.approx(0.5)
