"""DINOCellPipeline: a model on a device plus its settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int32, Num, Shaped
from torch import nn

from dinocell_core import DINOCell, file_sha256, fold_batch_norm, load_model, resolve_device
from dinocell_core.recipe import validated
from dinocell_io import Image, grey_image, refuse_masked
from dinocell_seg.predict import Prediction, predict_distance_map, require_diameter_head, rescaling, trained_tile
from dinocell_seg.settings import SegmentSettings, Thresholds, settings_of_model, updated
from dinocell_seg.watershed import labels_from_distance_map

RGB_CHANNELS = ("red", "green", "blue")


@dataclass(frozen=True)
class ModelIdentity:
    """Which weights a result came from: "default", a path or "in memory", and the hash of the file."""

    name: str
    sha256: str | None
    version: str | None


class DINOCellPipeline:
    """Images in, labels out.

    Args:
        model: "default" for the weights inside this package, a path to a model file, or a DINOCell.
        device: "auto" (CUDA, then Apple's MPS, then CPU) or what torch.device takes.
        settings: complete settings; the default is what the model's file was calibrated with.
        changes: values laid over those settings, e.g. ``thresholds={"peak": 0.4}``, ``tta="flips"``.

    Raises ValueError for unknown or impossible settings and for a model file that cannot be used.
    A pipeline is never changed by a call to it.
    """

    def __init__(
        self,
        model: str | Path | nn.Module = "default",
        *,
        device: str | torch.device = "auto",
        settings: SegmentSettings | None = None,
        **changes: Any,
    ) -> None:
        self.device = resolve_device(device)
        self.model, self.identity = _loaded(model, self.device)
        # a fifth to a third faster on CPUs, with the same weights
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stub
        self.metadata: dict[str, Any] = dict(getattr(self.model, "metadata", {}))
        self.in_channels = _input_channels(self.model)
        self.settings = updated(settings or settings_of_model(self.metadata), changes)
        if self.settings.diameter_px == "auto":
            require_diameter_head(self.model)
        rescaling(self.settings, self.metadata)  # refuses a scale that no image could have
        tile = self.settings.tile or trained_tile(self.metadata)
        if tile % (multiple := getattr(self.model, "size_multiple", 1)):
            raise ValueError(
                f"tile {tile} is not a multiple of {multiple}, the model's coarsest grid; "
                f"use {max(1, round(tile / multiple)) * multiple}"
            )
        self.settings.check_overlap(tile)

    def predict(self, plane: Shaped[np.ndarray, "y x"]) -> Prediction:
        """The distance map of one grey plane, with how it was made."""
        return predict_distance_map(
            plane,
            self.model,
            settings=self.settings,
            metadata=self.metadata,
            in_channels=self.in_channels,
            device=self.device,
        )

    def run(
        self,
        image: Image | Num[np.ndarray, "..."],
        return_dist_map: bool = False,
        cells_max: float | None = None,
        cell_fill: float | None = None,
    ) -> Int32[np.ndarray, "y x"] | tuple[Int32[np.ndarray, "y x"], Float32[np.ndarray, "y x"]]:
        """Labels of one image, 0 for background and 1..n for cells; with its distance map if asked.

        The names are SAMCell's: `cells_max` is the peak threshold and `cell_fill` the fill threshold, for
        this call only; the model's own by default. `image` is [y x], RGB [y x 3], or an Image.
        """
        prediction = self.predict(grey_plane(image))
        labels = self._labels(prediction, cells_max, cell_fill)
        return (labels, prediction.distance_map) if return_dist_map else labels

    def run_batch_thresholds(
        self,
        image: Image | Num[np.ndarray, "..."],
        cells_max_list: Sequence[float],
        cell_fill_list: Sequence[float],
    ) -> dict[tuple[float, float], Int32[np.ndarray, "y x"]]:
        """Labels for each pair (cells_max, cell_fill) of the two lists, from one pass of the network.

        Pairs whose cells_max is below cell_fill make no labels and are left out.
        """
        prediction = self.predict(grey_plane(image))
        return {
            (peak, fill): self._labels(prediction, peak, fill)
            for peak in cells_max_list
            for fill in cell_fill_list
            if peak >= fill
        }

    def _labels(self, prediction: Prediction, peak: float | None, fill: float | None) -> Int32[np.ndarray, "y x"]:
        given = {name: value for name, value in (("peak", peak), ("fill", fill)) if value is not None}
        thresholds = validated(Thresholds, {**self.settings.thresholds.model_dump(), **given})
        return labels_from_distance_map(prediction.heights, **thresholds.for_map(scale=prediction.scale))


def grey_plane(image: Image | Num[np.ndarray, "..."], channel: str | int | None = None) -> Shaped[np.ndarray, "y x"]:
    """The one grey plane of an image: [y x] as it is, RGB by luma, several channels by the one that is named.

    Raises ValueError for a shape that could mean several things, for a masked array and for anything that is not an
    array, and for a channel that is missing or unnamed.
    """
    if isinstance(image, Image):
        return grey_image(image, channel=channel)
    if not isinstance(image, np.ndarray):
        raise ValueError(
            f"got a {type(image).__name__}; expected a numpy array or a dinocell_io.Image; "
            "read a file with dinocell_io.read_image"
        )
    refuse_masked(image)
    if image.ndim == 2:
        return image
    if image.ndim == 3 and image.shape[-1] == 3:
        pixels = np.ascontiguousarray(np.moveaxis(image, -1, 0))
        rgb = Image(pixels=pixels, channels=RGB_CHANNELS, pixel_size_um=None, is_rgb=True, uri="memory")
        return grey_image(rgb, channel=channel)
    raise ValueError(
        f"got an array of shape {image.shape}; expected [y x] or RGB [y x 3]. "
        "Pass one channel, such as image[0], or a dinocell_io.Image whose channels have names"
    )


def default_model_path() -> Path:
    """The weights inside this package."""
    return Path(str(resources.files("dinocell_seg") / "weights" / "default.safetensors"))


def _loaded(model: str | Path | nn.Module, device: torch.device) -> tuple[nn.Module, ModelIdentity]:
    if isinstance(model, nn.Module):
        version = getattr(model, "metadata", {}).get("version")
        return model.to(device).eval(), ModelIdentity("in memory", None, version)
    path = default_model_path() if str(model) == "default" else Path(model)
    if not path.is_file():
        raise ValueError(
            f"there is no model file {path}; give the .safetensors file that 'dinocell train' wrote, or 'default'"
        )
    loaded = load_model(path, device=device)
    identity = ModelIdentity(str(model), file_sha256(path), loaded.metadata.get("version"))
    return fold_batch_norm(loaded), identity


def _input_channels(model: nn.Module) -> int:
    in_channels = model.architecture.in_channels if isinstance(model, DINOCell) else 1
    if in_channels not in (1, 3):
        raise ValueError(
            f"the model takes {in_channels} channels; segmentation runs on one grey plane, "
            "for models of 1 channel, or of 3 that see it three times"
        )
    return in_channels
