"""--diameter auto: the model says how large cells are, and only cells outside of what it knows are resized."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dinocell_core import create_dinocell_model
from dinocell_seg import DINOCellPipeline
from dinocell_seg.cell_diameter import diameter_range, estimate_diameter, scale_into
from dinocell_seg.normalize import prepare
from dinocell_seg.predict import predict_distance_map
from dinocell_seg.settings import SegmentSettings


class Ruler(nn.Module):
    """Bright pixels are cells; every patch says the length of the longest row of them, up to `largest` pixels."""

    def __init__(self, largest: float = 1000.0) -> None:
        super().__init__()
        self.architecture = SimpleNamespace(patch=16)
        self.size_multiple = 16
        self.diameter_head = object()
        self.largest = largest
        self.seen: list[tuple[int, int]] = []

    def logits_and_diameters(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.seen.append(tuple(image.shape[-2:]))
        foreground = image > 0
        padded = np.pad(foreground[0, 0].numpy(), 1).ravel().astype(int)
        runs = np.flatnonzero(np.diff(padded) == -1) - np.flatnonzero(np.diff(padded) == 1)
        grid = [-(-side // 16) for side in image.shape[-2:]]
        longest = float(np.clip(runs.max(initial=1), 1, self.largest))
        return foreground.float() * 10 - 5, torch.full((1, 1, *grid), float(np.log2(longest)))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return F.relu(self.logits_and_diameters(image)[0].sigmoid() - 0.1)


def discs(diameter: int, *, size: int, spacing: int) -> np.ndarray:
    y, x = np.indices((size, size))
    inside = ((y % spacing) - spacing / 2) ** 2 + ((x % spacing) - spacing / 2) ** 2 < diameter**2 / 4
    return (1000 + 2000 * inside).astype(np.uint16)


def estimate(plane: np.ndarray, model: nn.Module) -> float | None:
    prepared = prepare(plane)
    return estimate_diameter(prepared.pixels, model, affine=prepared.affine, known=(12.0, 60.0))


@pytest.mark.parametrize(("diameter", "looks"), [(20, 1), (55, 1), (100, 2), (250, 3)])
def test_the_image_is_looked_at_coarser_until_its_cells_are_of_a_size_that_the_model_knows(diameter, looks):
    model = Ruler()
    found = estimate(discs(diameter, size=900, spacing=300), model)
    assert found == pytest.approx(diameter, rel=0.06)
    assert len(model.seen) == looks
    assert model.seen[0] == (768, 768)  # of a larger image its middle


def test_an_image_without_cells_has_no_diameter_and_keeps_its_scale():
    noise = np.full((200, 200), 7, np.uint16)
    assert estimate(noise, Ruler()) is None
    assert scale_into(None, (12.0, 60.0)) == 1


def test_patches_of_background_do_not_count():
    class TwoSizes(Ruler):
        def logits_and_diameters(self, image):
            logits, diameters = super().logits_and_diameters(image)
            diameters[..., : diameters.shape[-1] // 2] = np.log2(40)
            diameters[..., diameters.shape[-1] // 2 :] = np.log2(10)
            return logits, diameters

    plane = discs(30, size=320, spacing=64)
    plane[:, 160:] = 1000
    assert estimate(plane, TwoSizes()) == pytest.approx(40)


@pytest.mark.parametrize(("diameter", "scale"), [(6, 2.0), (12, 1.0), (40, 1.0), (60, 1.0), (120, 0.5)])
def test_only_cells_outside_of_the_range_are_resized_and_to_its_nearer_end(diameter, scale):
    assert scale_into(float(diameter), (12.0, 60.0)) == scale


def test_the_range_is_that_of_the_model_file_if_it_tells_one():
    assert diameter_range({}) == (12, 60)
    assert diameter_range({"diameter_range_px": [8, 30]}) == (8, 30)


def test_a_prediction_tells_the_estimate_and_the_scale_it_led_to():
    settings = SegmentSettings(diameter_px="auto", tile=256, overlap=0, precision="fp32")
    plane = discs(100, size=600, spacing=200)
    prediction = predict_distance_map(plane, Ruler(), settings=settings)
    assert prediction.diameter_px == pytest.approx(100, rel=0.06)
    assert prediction.scale == pytest.approx(0.6, rel=0.06)
    assert prediction.distance_map.shape == plane.shape
    without = predict_distance_map(plane, Ruler(), settings=settings.model_copy(update={"diameter_px": None}))
    assert (without.diameter_px, without.scale) == (None, 1.0)


def test_a_model_without_a_diameter_head_is_refused_before_any_image():
    plain = create_dinocell_model("mini", stem_channels=(4,), decoder_channels=(8, 8, 8, 8))
    with pytest.raises(ValueError, match="this model does not estimate cell diameters, so --diameter auto cannot be"):
        DINOCellPipeline(plain, device="cpu", diameter_px="auto")


def test_a_model_with_a_diameter_head_segments_an_image_of_any_size_with_auto():
    model = create_dinocell_model("mini", stem_channels=(4,), decoder_channels=(8, 8, 8, 8), diameter_head=True)
    pipeline = DINOCellPipeline(model, device="cpu", diameter_px="auto", precision="fp32")
    for shape in ((1, 1), (30, 70), (130, 90)):
        plane = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
        assert pipeline.run(plane).shape == shape
