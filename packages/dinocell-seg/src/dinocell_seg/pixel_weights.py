"""How much each pixel of a crop counts in the loss: partial and derived labels, and pixels to ignore."""

from typing import Literal, get_args

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Integer
from pydantic import BaseModel, ConfigDict, Field

Annotation = Literal["complete", "partial", "derived"]


class Weighting(BaseModel):
    """What counts in images that are not labelled completely.

    "partial" images: labelled cells and the background within `rim_px` of them; what lies farther away may be a cell
    that nobody outlined. "derived" images, labelled by an algorithm: every pixel, less.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rim_px: float = Field(default=4.0, ge=0, allow_inf_nan=False, description="in pixels of the crop")
    derived: float = Field(default=0.5, ge=0, le=1)


def annotation_of(text: str | None, where: str) -> Annotation:
    """The annotation that splits.csv names in its column `labels`; complete where it does not say."""
    for known in get_args(Annotation):
        if (text or "complete") == known:
            annotation: Annotation = known
            return annotation
    raise ValueError(
        f"{where} has {text!r} in the column labels of its splits.csv; expected "
        f"{', '.join(get_args(Annotation)[:-1])} or {get_args(Annotation)[-1]}"
    )


def pixel_weights(
    labels: Integer[np.ndarray, "y x"],
    *,
    annotation: Annotation,
    ignored: Bool[np.ndarray, "y x"] | None,
    settings: Weighting,
) -> Float32[np.ndarray, "y x"] | None:
    """Weight of each pixel in [0, 1]; None where all of them are 1."""
    if annotation == "complete" and ignored is None:
        return None
    weights = np.ones(labels.shape, np.float32)
    if annotation == "derived":
        weights *= np.float32(settings.derived)
    if annotation == "partial":
        background = (labels == 0).astype(np.uint8)
        if background.all():
            weights[:] = 0
        else:
            weights[cv2.distanceTransform(background, cv2.DIST_L2, cv2.DIST_MASK_5) > settings.rim_px] = 0
    if ignored is not None:
        weights[ignored] = 0
    return weights
