"""Transmitted light and artefacts: each shows what its optics do, and the truth stays as it is."""

import numpy as np
import pytest
from scipy import ndimage

from dinocell_io import Field, simulate_field
from dinocell_io.simulate.artefacts import ARTEFACTS
from dinocell_io.simulate.contrasts import CONTRASTS


@pytest.fixture(scope="module")
def field() -> Field:
    channels = (*CONTRASTS, "Membrane", "DNA")
    return simulate_field(
        (256, 256), num_cells=14, diameter_px=40, touching=0.0, channels=channels, gradient=0.0, seed=4
    )


def plane(field: Field, name: str) -> np.ndarray:
    return field.image.pixels[field.image.channels.index(name)].astype(float)


def zones(field: Field) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Inside of cells, their rim, the ring just outside, and empty places far from all."""
    cells = field.labels > 0
    inwards, outwards = ndimage.distance_transform_edt(cells), ndimage.distance_transform_edt(~cells)
    return inwards > 5, (inwards > 0) & (inwards <= 3), (outwards > 0) & (outwards <= 4), outwards > 20


def test_phase_contrast_is_dark_in_cells_with_a_bright_halo(field: Field) -> None:
    inside, _, ring, empty = zones(field)
    phase = plane(field, "Phase")
    assert phase[inside].mean() < 0.95 * phase[empty].mean() < phase[empty].mean() < 1.02 * phase[empty].mean()
    assert phase[ring].mean() > 1.03 * phase[empty].mean()


def test_dic_is_bright_on_one_side_and_dark_on_the_other(field: Field) -> None:
    inside, _, _, empty = zones(field)
    dic = plane(field, "DIC")
    assert dic[inside].mean() == pytest.approx(dic[empty].mean(), rel=0.1)
    slopes = []
    for number in range(1, field.labels.max() + 1):
        where = np.argwhere(field.labels == number)
        offsets = where - where.mean(axis=0)
        solution = np.linalg.lstsq(offsets, dic[tuple(where.T)] - dic[tuple(where.T)].mean(), rcond=None)[0]
        slopes.append(solution / np.linalg.norm(solution))
    assert np.linalg.norm(np.mean(slopes, axis=0)) > 0.9  # all cells are lit from the same side


def test_brightfield_shows_edges_and_absorbing_stains_take_light(field: Field) -> None:
    inside, rim, ring, empty = zones(field)
    bright, absorbing = plane(field, "Brightfield"), plane(field, "Absorbing")
    edges = np.abs(np.concatenate([bright[rim], bright[ring]]) - bright[empty].mean()).mean()
    assert edges > 2 * np.abs(bright[empty] - bright[empty].mean()).mean()
    assert absorbing[inside].mean() < 0.8 * absorbing[empty].mean()
    assert absorbing[field.nuclei_labels > 0].mean() < absorbing[inside].mean()


def test_a_membrane_stain_shows_the_rim_alone(field: Field) -> None:
    inside, rim, _, empty = zones(field)
    membrane = plane(field, "Membrane")
    assert membrane[rim].mean() > 3 * membrane[inside].mean()
    assert membrane[inside].mean() < 2 * membrane[empty].mean()


@pytest.mark.parametrize("name", ARTEFACTS)
@pytest.mark.parametrize("channel", ["DNA", "Phase"])
def test_an_artefact_changes_the_image_and_not_the_truth(name: str, channel: str) -> None:
    settings = {"num_cells": 12, "diameter_px": 30, "channels": (channel,), "seed": 1}
    clean = simulate_field((192, 192), **settings)
    field = simulate_field((192, 192), **settings, artefacts=(name,))
    np.testing.assert_array_equal(field.labels, clean.labels)
    changed = (field.image.pixels[0].astype(float) - clean.image.pixels[0]) != 0
    assert changed.mean() > 0.01


def test_artefacts_lie_at_the_same_place_in_all_channels() -> None:
    settings = {"num_cells": 6, "diameter_px": 30, "gradient": 0.0, "read_noise": 0.0, "seed": 1}
    both = simulate_field((192, 192), **settings, channels=("DNA", "ER"), artefacts=("debris",))
    clean = simulate_field((192, 192), **settings, channels=("DNA", "ER"))
    added = both.image.pixels.astype(float) - clean.image.pixels
    flecks = [ndimage.gaussian_filter(one, 3) > 300 for one in added]
    assert (flecks[0] & flecks[1]).sum() > 0.8 * flecks[0].sum() > 0


def test_a_frame_is_black_and_saturated_pixels_are_at_the_largest_value() -> None:
    settings = {"num_cells": 12, "diameter_px": 30, "channels": ("DNA",), "seed": 3}
    framed = simulate_field((192, 192), **settings, artefacts=("frame",)).image.pixels[0]
    edges = [framed[0], framed[-1], framed[:, 0], framed[:, -1]]
    assert sum(not edge.any() for edge in edges) in (1, 2)
    saturated = simulate_field((192, 192), **settings, artefacts=("saturation",)).image.pixels[0]
    assert 0.009 < (saturated == 65535).mean() < 0.12


def test_unknown_names_are_refused_with_the_choice() -> None:
    with pytest.raises(ValueError, match=r"channels are Fase; choose each once of DNA, .*Phase, DIC"):
        simulate_field(channels=("Fase",))
    with pytest.raises(ValueError, match=r"artefacts are dust; choose each once of debris"):
        simulate_field(artefacts=("dust",))
