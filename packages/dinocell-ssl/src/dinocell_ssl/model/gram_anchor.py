"""The anchor of Gram training: an earlier teacher's backbone, whose similarities of patches the student keeps."""

import copy

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn import functional as F

from dinocell_core import DinoVisionTransformer


class Gram(BaseModel):
    """Gram anchoring: off unless it has a weight; the other defaults are those of DINOv3's 7B model."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    weight: float = Field(default=0.0, ge=0, description="of the Gram loss after its warm-up; DINOv3 takes 2")
    start_step: int | None = Field(default=None, ge=0, description="first step of the loss")
    anchor_step: int | None = Field(
        default=None, ge=0, description="step before which the teacher becomes the anchor; null: start_step"
    )
    warmup_steps: int = Field(default=1000, ge=0, description="steps in which the weight rises from 0")
    refresh_every: int | None = Field(
        default=10_000, ge=1, description="steps after start_step until the teacher replaces the anchor; null: never"
    )
    max_refreshes: int | None = Field(default=3, ge=0, description="null: as many as the run has")
    local: float | None = Field(
        default=0.5, ge=0, description="what loss.local becomes during the warm-up; null: it stays"
    )
    enlarge: int = Field(default=2, ge=1, description="factor by which the anchor's global crops are larger")
    clamp_negatives: bool = Field(default=False, description="count opposite patches as dissimilar ones")

    @model_validator(mode="after")
    def _steps_are_given_and_in_order(self) -> "Gram":
        if self.weight == 0:
            return self
        if self.start_step is None:
            raise ValueError(
                f"weight is {self.weight} but there is no start_step; set gram.start_step to the step from which the "
                "student is anchored, late in the run, when the teacher's patches are good"
            )
        if self.anchor_step is not None and self.anchor_step > self.start_step:
            raise ValueError(
                f"anchor_step {self.anchor_step} lies after start_step {self.start_step}; the anchor must exist "
                "when the loss starts"
            )
        return self

    def share(self, step: int) -> float:
        """Of the weight at a step: 0 before `start_step` and at it, then linear to 1 over the warm-up."""
        if self.weight == 0 or self.start_step is None or step < self.start_step:
            return 0.0
        return min(1.0, (step - self.start_step) / self.warmup_steps) if self.warmup_steps else 1.0

    def is_taken_before(self, step: int) -> bool:
        """Whether the teacher becomes the anchor just before this step, for the first time or again."""
        if self.weight == 0 or self.start_step is None:
            return False
        if step == self.first_anchor_step:
            return True
        if self.refresh_every is None or step <= self.start_step:
            return False
        refresh, rest = divmod(step - self.start_step, self.refresh_every)
        return rest == 0 and (self.max_refreshes is None or refresh <= self.max_refreshes)

    @property
    def first_anchor_step(self) -> int:
        """The step before which the anchor is first taken; of a recipe without a start_step 0."""
        return (self.start_step or 0) if self.anchor_step is None else self.anchor_step


class GramAnchor(nn.Module):
    """A frozen copy of a teacher's backbone; made with the teacher, usable after `take`."""

    backbone: DinoVisionTransformer

    def __init__(self, backbone: DinoVisionTransformer, *, enlarge: int = 2) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone).eval().requires_grad_(False)
        self._enlarge = enlarge

    @torch.no_grad()
    def take(self, backbone: nn.Module) -> None:
        """Copy the current `backbone`; of sharded weights each rank copies its own part."""
        for own, given in zip(self.backbone.parameters(), backbone.parameters(), strict=True):
            _local(own).copy_(_local(given))

    @torch.no_grad()
    def forward(self, crops: Float[Tensor, "2 sample channel y x"]) -> Float[Tensor, "image patch feature"]:
        """Normed patch tokens of unmasked crops, in float32 and on the crops' own grid.

        The crops are enlarged bilinearly, which does not overshoot at bright spots; the map of tokens is shrunk
        bicubically without a filter before, as published.
        """
        images = crops.flatten(0, 1)
        patch = self.backbone.patch_size
        rows, columns = images.shape[-2] // patch, images.shape[-1] // patch
        if self._enlarge > 1:
            images = F.interpolate(images, scale_factor=self._enlarge, mode="bilinear")
        tokens = self.backbone.forward_features(images)["x_norm_patchtokens"].float()
        if self._enlarge == 1:
            return tokens
        large = (rows * self._enlarge, columns * self._enlarge)
        tokens_map = tokens.unflatten(1, large).permute(0, 3, 1, 2)
        return F.interpolate(tokens_map, size=(rows, columns), mode="bicubic").flatten(2).mT


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
