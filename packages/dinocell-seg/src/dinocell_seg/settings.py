"""All settings of a segmentation; with the model's weights they determine the result."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dinocell_core.recipe import merged, validated
from dinocell_seg.normalize import Normalization

Precision = Literal["auto", "fp32", "bf16"]
TestTimeAugmentation = Literal["none", "flips", "dihedral"]


class Thresholds(BaseModel):
    """The levels of the distance map that make labels, and the smallest cell kept, in pixels.

    `prominence` None seeds a cell at every component above `peak`; a number seeds one at every maximum above `peak`
    that rises that much above the pass to a higher one, which splits cells that touch above `peak` and keeps a cell
    with two humps whole. The valleys between small cells are shallow: in an image whose median cell is less than
    `full_prominence_px` pixels across (pixels that the network sees), the prominence is lowered in proportion.
    `min_size_of` "network" says that `min_size`, too, counts pixels that the network sees, as calibration does; else
    it counts those of the image. `fill_holes` gives a cell what lies inside it. The defaults are SAMCell's published
    pair. They suit its blurry predictor and shrink the cells of a sharp one, so each model file carries thresholds of
    its own, calibrated on validation images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    peak: float = Field(default=0.47, ge=0, lt=1)
    fill: float = Field(default=0.09, ge=0, lt=1)
    prominence: float | None = Field(default=None, ge=0, lt=1)
    full_prominence_px: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    min_size: int = Field(default=0, ge=0)
    min_size_of: Literal["image", "network"] = "image"
    fill_holes: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> "Thresholds":
        if self.peak < self.fill:
            raise ValueError(
                f"peak {self.peak} is below fill {self.fill}; seeds are the pixels above peak and cells grow "
                "down to fill, so peak must be the larger"
            )
        return self

    def for_map(self, *, scale: float) -> dict[str, Any]:
        """Arguments of `labels_from_distance_map` for the map of an image that the network saw resized by `scale`."""
        min_size = self.min_size if self.min_size_of == "image" else round(self.min_size / scale**2)
        return {
            "peak": self.peak,
            "fill": self.fill,
            "prominence": self.prominence,
            "full_prominence_px": self.full_prominence_px / scale,
            "min_size": min_size,
            "fill_holes": self.fill_holes,
        }


PRESETS: dict[str, dict[str, Any]] = {
    "samcell": {"thresholds": {"peak": 0.47, "fill": 0.09, "prominence": None, "min_size": 0}},
}


class SegmentSettings(BaseModel):
    """Settings of one segmentation run; unknown keys are refused.

    `tile` None fits the tiles to each image, from the side the model was trained on to 2.25 times that (see
    `dinocell_seg.tiling.fitted_tile`). `overlap` is the number of pixels that neighbouring tiles share
    (stride = tile - overlap). `diameter_px`
    is the expected cell diameter in the image: with it, the image is resized to the diameter that the model
    knows. With "auto" the model estimates it, and an image is resized only if its cells are smaller or larger than
    those that the model knows. `pixel_size_um` overrides the file's. `batch_size` None chooses by device.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    normalization: Normalization = Normalization()
    thresholds: Thresholds = Thresholds()
    tile: int | None = Field(default=None, ge=1)
    overlap: int = Field(default=64, ge=0)
    tta: TestTimeAugmentation = "none"
    precision: Precision = "auto"
    diameter_px: float | Literal["auto"] | None = None
    pixel_size_um: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    batch_size: int | None = Field(default=None, ge=1)

    @field_validator("diameter_px", mode="before")
    @classmethod
    def _diameter_is_a_length(cls, value: Any) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value in (None, "auto") or (is_number and 0 < value < math.inf):
            return value
        raise ValueError(f"expected a finite number of pixels above 0, or auto (it is {value!r})")

    @model_validator(mode="after")
    def _tiles_overlap_by_half_at_most(self) -> "SegmentSettings":
        if self.tile is not None:
            self.check_overlap(self.tile)
        return self

    def check_overlap(self, tile: int) -> None:
        """Raises ValueError if tiles of this side would share more than half of it."""
        if self.overlap > tile // 2:
            raise ValueError(
                f"overlap {self.overlap} is more than half of tile {tile}; tiles share at most "
                f"{tile // 2} pixels, and a quarter of the tile is usual"
            )


def settings_of_model(metadata: Mapping[str, Any]) -> SegmentSettings:
    """The settings that a model file was calibrated with; settings that it lacks have their defaults.

    Reads `normalization`, `thresholds` and `overlap`. Raises ValueError if one of them does not validate.
    """
    known = ("normalization", "thresholds", "overlap")
    values = {key: metadata[key] for key in known if metadata.get(key) is not None}
    return validated(SegmentSettings, values)


def updated(settings: SegmentSettings, changes: Mapping[str, Any]) -> SegmentSettings:
    """`settings` with some values changed; sections are merged key by key, and all is checked again."""
    return validated(SegmentSettings, merged(settings.model_dump(), changes))
