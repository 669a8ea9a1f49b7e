"""The settings of a training run; with the data they determine it."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dinocell_core.model import STEM_CHANNELS, Size, decoder_channels_of
from dinocell_seg.augment import Augmentation
from dinocell_seg.crops import Sampling
from dinocell_seg.losses import Loss
from dinocell_seg.normalize import Normalization
from dinocell_seg.optimizer import Optimization


class Network(BaseModel):
    """The network to train; see ``dinocell_core.create_dinocell_model``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size: Size = "tiny"
    patch: int = 16
    in_channels: int = 1
    stem_channels: tuple[int, ...] = STEM_CHANNELS
    stem_skips: tuple[int, ...] | None = None
    stem_to_tokens: bool = False
    decoder_channels: tuple[int, ...] = Field(
        default=decoder_channels_of("tiny"), description="by default those of the size"
    )
    head_channels: int = 0
    diameter_head: bool = False
    norm: Literal["batch", "group"] = "batch"
    pretrained: Path | None = Field(default=None, description="backbone weights to start from")
    pretrained_channels: Literal["exact", "fold", "expand"] = Field(
        default="exact", description="what to do with weights of several stains: fold sums their kernels"
    )
    start_from: Path | None = Field(
        default=None,
        description="model file to start from ('default': the embedded one), whose architecture and weights it keeps",
    )
    freeze_backbone: bool = False
    stem_dropout: float = Field(
        default=0.0, ge=0, le=1, description="share of the stem's maps that the decoder does not see in training"
    )

    @model_validator(mode="before")
    @classmethod
    def _decoder_of_the_size(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("start_from") is not None or "size" not in values:
            return values
        return {"decoder_channels": decoder_channels_of(values["size"]), **values}

    @model_validator(mode="after")
    def _one_architecture(self) -> "Network":
        if self.start_from is None:
            return self
        free = ("start_from", "freeze_backbone", "stem_dropout", "pretrained_channels")
        unset = type(self)()
        set_too = [
            name for name in type(self).model_fields if name not in free and getattr(self, name) != getattr(unset, name)
        ]
        if set_too:
            raise ValueError(
                f"start_from {self.start_from} fixes the network, but {' and '.join(set_too)} would be another; drop "
                "one of the two"
            )
        return self


class Schedule(BaseModel):
    """Length of a run, and when it is validated."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(default=3000, ge=1)
    steps_per_epoch: int = Field(default=200, ge=1, description="steps between validations")
    patience: int = Field(default=7, ge=1, description="epochs without improvement before the run stops")
    min_delta: float = Field(default=1e-4, ge=0, description="smallest improvement of the validation loss that counts")
    validation_crops: int = Field(default=128, ge=1)
    ema: float = Field(default=0.998, ge=0, lt=1, description="decay of the averaged weights, after its own warm-up")


class TrainRecipe(BaseModel):
    """All settings of a training run; with the data they determine it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    network: Network = Network()
    normalization: Normalization = Normalization()
    sampling: Sampling = Sampling()
    augmentation: Augmentation = Augmentation()
    loss: Loss = Loss()
    optimization: Optimization = Optimization()
    schedule: Schedule = Schedule()
    channel: str | int | None = Field(default=None, description="channel to train on, for multi-channel images")
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0
