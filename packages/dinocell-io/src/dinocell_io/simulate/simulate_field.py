"""Simulated fields with known truth, for tests, demonstrations and training."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from dinocell_io.images.image import Image
from dinocell_io.plural import counted
from dinocell_io.simulate.artefacts import ARTEFACTS, IN_THE_FILE, ON_THE_STAGE
from dinocell_io.simulate.cells import Cells, draw_cells
from dinocell_io.simulate.contrasts import CONTRASTS, contrast_brightness
from dinocell_io.simulate.optics import camera_counts, uneven_light
from dinocell_io.simulate.shapes import SILHOUETTES, draw_silhouettes, draw_tissue
from dinocell_io.simulate.stains import STAINS, stain_brightness

CHANNELS = (*STAINS, *CONTRASTS)
CELL_SHAPES = ("round", *SILHOUETTES, "tissue")
_TRANSMITTED_PHOTONS = 10  # times those of fluorescence


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
    cell_shape: str = "round",
    diameter_px: float | int = 40.0,
    touching: float | int = 0.5,
    nucleus_fraction: float | int = 0.5,
    artefacts: tuple[str, ...] = (),
    psf_sigma_px: float | int = 1.2,
    photons: float | int = 300.0,
    read_noise: float | int = 2.0,
    gradient: float | int = 0.25,
    pixel_size_um: float | int | None = 0.5,
    seed: int = 0,
) -> Field:
    """A 16-bit field of cells seen in several channels, the same bits for the same arguments.

    channels: stains (DNA, ER, AGP, RNA, Mito, Membrane) and transmitted light (Phase, DIC, Brightfield, Absorbing); all
        show the same cells, whatever else is chosen.
    cell_shape: round, rods (bacteria), yeast (every third cell a bud), blood (discs), spread (drawn out, uneven) or
        tissue (a patch without gaps).
    diameter_px: mean of the cells, of the circle of equal area; they spread by about 15 %; at least 6.
    touching: the share of cells placed against another one; at 0 no two cells share a border. In a crowded
        field more do: a cell that finds no room apart joins another one. All tissue cells touch.
    nucleus_fraction: diameter of nucleus over cell, 0.3 to 0.95. Near 0.95 nuclei touch as the cells do:
        with `nuclei_labels` and channel DNA this is a field of touching nuclei.
    artefacts: any of debris, bubbles, scratches and defocus (on the stage, the same in all channels), frame (black
        bands) and saturation (in the file). The labels are not changed by them.
    photons: mean photons of a bright structure per pixel, ten times as many in transmitted light.
    read_noise: of the camera, in photons.
    gradient: how much darker the light is at its worst place, 0 to below 1.
    Raises ValueError for values out of range and for cells that do not fit.
    """
    _check(shape, num_cells, diameter_px, touching, nucleus_fraction)
    _check_names(channels, cell_shape, artefacts)
    _check_optics(psf_sigma_px, photons, read_noise, gradient)
    # one stream per thing: another choice of channels leaves cells, light and the other channels alone
    streams = np.random.SeedSequence(seed).spawn(2 + len(CHANNELS) + len(ARTEFACTS))
    cells = _draw(
        cell_shape,
        shape,
        num_cells,
        diameter_px=float(diameter_px),
        touching=float(touching),
        nucleus_fraction=float(nucleus_fraction),
        rng=np.random.default_rng(streams[0]),
    )
    light = uneven_light(shape, float(gradient), np.random.default_rng(streams[1]))
    pixels = np.empty((len(channels), *shape), np.uint16)
    for plane, channel in zip(pixels, channels, strict=True):
        rng = np.random.default_rng(streams[2 + CHANNELS.index(channel)])
        transmitted = channel in CONTRASTS
        show = contrast_brightness if transmitted else stain_brightness
        brightness = show(channel, cells, diameter_px=float(diameter_px), rng=rng)
        for name in artefacts:
            if name in ON_THE_STAGE:
                own = np.random.default_rng(streams[2 + len(CHANNELS) + ARTEFACTS.index(name)])
                brightness = ON_THE_STAGE[name](brightness, float(diameter_px), transmitted, own)
        counts = camera_counts(
            brightness,
            light=light,
            psf_sigma_px=float(psf_sigma_px),
            photons=float(photons) * (_TRANSMITTED_PHOTONS if transmitted else 1),
            read_noise=float(read_noise),
            **({"haze": 0.0, "background": 0.0} if transmitted else {}),
            rng=rng,
        )
        for name in artefacts:
            if name in IN_THE_FILE:
                own = np.random.default_rng(streams[2 + len(CHANNELS) + ARTEFACTS.index(name)])
                counts = IN_THE_FILE[name](counts, own)
        plane[:] = counts
    size_um = None if pixel_size_um is None else float(pixel_size_um)
    image = Image(pixels, channels, size_um, is_rgb=False, uri=f"simulated field, seed {seed}")
    return Field(image, cells.labels, cells.nuclei_labels)


def _draw(
    cell_shape: str,
    shape: tuple[int, int],
    num_cells: int,
    *,
    diameter_px: float,
    touching: float,
    nucleus_fraction: float,
    rng: np.random.Generator,
) -> Cells:
    if cell_shape == "tissue":
        return draw_tissue(shape, num_cells, diameter_px=diameter_px, nucleus_fraction=nucleus_fraction, rng=rng)
    if cell_shape == "round":
        return draw_cells(
            shape, num_cells, diameter_px=diameter_px, touching=touching, nucleus_fraction=nucleus_fraction, rng=rng
        )
    return draw_silhouettes(
        cell_shape,
        shape,
        num_cells,
        diameter_px=diameter_px,
        touching=touching,
        nucleus_fraction=nucleus_fraction,
        rng=rng,
    )


def _check_names(channels: tuple[str, ...], cell_shape: str, artefacts: tuple[str, ...]) -> None:
    if not channels or not set(channels) <= set(CHANNELS) or len(set(channels)) != len(channels):
        raise ValueError(f"channels are {', '.join(channels) or '(none)'}; choose each once of {', '.join(CHANNELS)}")
    if cell_shape not in CELL_SHAPES:
        raise ValueError(f"cell_shape is {cell_shape!r}; choose one of {', '.join(CELL_SHAPES)}")
    if not set(artefacts) <= set(ARTEFACTS) or len(set(artefacts)) != len(artefacts):
        raise ValueError(f"artefacts are {', '.join(artefacts)}; choose each once of {', '.join(ARTEFACTS)}")


def _check(
    shape: tuple[int, int],
    num_cells: int,
    diameter_px: float | int,
    touching: float | int,
    nucleus_fraction: float | int,
) -> None:
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
