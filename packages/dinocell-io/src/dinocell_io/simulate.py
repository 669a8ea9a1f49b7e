"""Fluorescence fields with known truth, for tests, demonstrations and sanity checks of a training."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from .counted import counted
from .image import Image
from .simulate_cells import draw_cells
from .simulate_optics import camera_counts, uneven_light
from .simulate_stains import STAINS, stain_brightness


@dataclass(frozen=True, eq=False)
class Field:
    """One simulated field: the image, the labels of its cells, and of their nuclei.

    A nucleus has the number of its cell, so both label images hold 1..n.
    """

    image: Image
    labels: Int32[np.ndarray, "y x"]
    nuclei_labels: Int32[np.ndarray, "y x"]


def simulate_field(
    shape: tuple[int, int] = (512, 512),
    *,
    num_cells: int = 60,
    channels: tuple[str, ...] = ("DNA", "ER", "AGP"),
    diameter_px: float | int = 40.0,
    touching: float | int = 0.5,
    nucleus_fraction: float | int = 0.5,
    psf_sigma_px: float | int = 1.2,
    photons: float | int = 300.0,
    read_noise: float | int = 2.0,
    gradient: float | int = 0.25,
    pixel_size_um: float | int | None = 0.5,
    seed: int = 0,
) -> Field:
    """A 16-bit field of cells seen in several stains, the same bits for the same arguments.

    channels: of DNA, ER, AGP, RNA and Mito; all show the same cells, whatever else is chosen.
    diameter_px: mean of the cells, which spread by about 15 %; at least 6.
    touching: the share of cells placed against another one; at 0 no two cells share a border. In a crowded
        field more do: a cell that finds no room apart joins another one.
    nucleus_fraction: diameter of nucleus over cell, 0.3 to 0.95. Near 0.95 nuclei touch as the cells do:
        with `nuclei_labels` and channel DNA this is a field of touching nuclei.
    photons: mean photons of a bright structure per pixel; read_noise: in photons.
    gradient: how much darker the light is at its worst place, 0 to below 1.
    Raises ValueError for values out of range and for cells that do not fit.
    """
    _check(shape, num_cells, channels, diameter_px, touching, nucleus_fraction)
    _check_optics(psf_sigma_px, photons, read_noise, gradient)
    # one stream per thing: another choice of channels leaves cells, light and the other channels alone
    streams = np.random.SeedSequence(seed).spawn(2 + len(STAINS))
    cells = draw_cells(
        shape,
        num_cells,
        diameter_px=float(diameter_px),
        touching=float(touching),
        nucleus_fraction=float(nucleus_fraction),
        rng=np.random.default_rng(streams[0]),
    )
    light = uneven_light(shape, float(gradient), np.random.default_rng(streams[1]))
    pixels = np.empty((len(channels), *shape), np.uint16)
    for plane, stain in zip(pixels, channels, strict=True):
        rng = np.random.default_rng(streams[2 + list(STAINS).index(stain)])
        plane[:] = camera_counts(
            stain_brightness(stain, cells, diameter_px=float(diameter_px), rng=rng),
            light=light,
            psf_sigma_px=float(psf_sigma_px),
            photons=float(photons),
            read_noise=float(read_noise),
            rng=rng,
        )
    size_um = None if pixel_size_um is None else float(pixel_size_um)
    image = Image(pixels, channels, size_um, is_rgb=False, uri=f"simulated field, seed {seed}")
    return Field(image, cells.labels, cells.nuclei_labels)


def _check(
    shape: tuple[int, int],
    num_cells: int,
    channels: tuple[str, ...],
    diameter_px: float | int,
    touching: float | int,
    nucleus_fraction: float | int,
) -> None:
    unknown = [name for name in channels if name not in STAINS]
    if unknown or not channels or len(set(channels)) != len(channels):
        raise ValueError(f"channels are {', '.join(channels) or '(none)'}; choose each once of {', '.join(STAINS)}")
    if min(shape) < 1 or num_cells < 0:
        raise ValueError(
            f"got shape {shape} and {counted(num_cells, 'cell')}; expected at least one pixel and no negative count"
        )
    if not diameter_px >= 6:
        raise ValueError(f"diameter_px is {diameter_px}, expected at least 6: a smaller cell has no nucleus to see")
    if not 0 <= touching <= 1:
        raise ValueError(f"touching is {touching}, expected a share from 0 to 1")
    if not 0.3 <= nucleus_fraction <= 0.95:
        raise ValueError(f"nucleus_fraction is {nucleus_fraction}, expected 0.3 to 0.95")


def _check_optics(
    psf_sigma_px: float | int, photons: float | int, read_noise: float | int, gradient: float | int
) -> None:
    if not (psf_sigma_px >= 0 and read_noise >= 0 and photons > 0):
        raise ValueError(
            f"got psf_sigma_px {psf_sigma_px}, read_noise {read_noise}, photons {photons}; "
            "expected the first two 0 or more, photons above 0"
        )
    if not 0 <= gradient < 1:
        raise ValueError(f"gradient is {gradient}, expected 0 (even light) to below 1")
