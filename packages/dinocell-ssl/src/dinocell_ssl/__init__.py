"""Self-supervised pretraining of the DINOCell backbone on multi-channel microscopy."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dinocell_ssl.centering import centered_softmax, updated_center
    from dinocell_ssl.dino_loss import CropShares, crop_shares, dino_loss
    from dinocell_ssl.gram_loss import gram_loss
    from dinocell_ssl.head import PrototypeHead
    from dinocell_ssl.ibot_loss import ibot_loss, masked_token_weights
    from dinocell_ssl.koleo_loss import koleo_loss
    from dinocell_ssl.masking import block_mask, image_masks
    from dinocell_ssl.monitor import CollapseError, Monitor, StepOutputs, TrainState
    from dinocell_ssl.pretrain import pretrain
    from dinocell_ssl.prototype_loss import prototype_cross_entropy
    from dinocell_ssl.recipe import PretrainRecipe
    from dinocell_ssl.schedules import cosine_v1, cosine_v2, scaled_learning_rate
    from dinocell_ssl.sinkhorn import sinkhorn
    from dinocell_ssl.teacher import Teacher
    from dinocell_ssl.views import (
        VIEW_STRATEGIES,
        ChannelViews,
        ViewStrategy,
        bag_of_channels,
        channel_drop,
        mean_vs_single,
        pairwise,
    )

__all__ = [
    "VIEW_STRATEGIES",
    "ChannelViews",
    "CollapseError",
    "CropShares",
    "Monitor",
    "PretrainRecipe",
    "PrototypeHead",
    "StepOutputs",
    "Teacher",
    "TrainState",
    "ViewStrategy",
    "bag_of_channels",
    "block_mask",
    "centered_softmax",
    "channel_drop",
    "cosine_v1",
    "cosine_v2",
    "crop_shares",
    "dino_loss",
    "gram_loss",
    "ibot_loss",
    "image_masks",
    "koleo_loss",
    "masked_token_weights",
    "mean_vs_single",
    "pairwise",
    "pretrain",
    "prototype_cross_entropy",
    "scaled_learning_rate",
    "sinkhorn",
    "updated_center",
]

_HOMES = {
    "VIEW_STRATEGIES": "views",
    "ChannelViews": "views",
    "CollapseError": "monitor",
    "CropShares": "dino_loss",
    "Monitor": "monitor",
    "PretrainRecipe": "recipe",
    "PrototypeHead": "head",
    "StepOutputs": "monitor",
    "Teacher": "teacher",
    "TrainState": "monitor",
    "ViewStrategy": "views",
    "bag_of_channels": "views",
    "block_mask": "masking",
    "centered_softmax": "centering",
    "channel_drop": "views",
    "cosine_v1": "schedules",
    "cosine_v2": "schedules",
    "crop_shares": "dino_loss",
    "dino_loss": "dino_loss",
    "gram_loss": "gram_loss",
    "ibot_loss": "ibot_loss",
    "image_masks": "masking",
    "koleo_loss": "koleo_loss",
    "masked_token_weights": "ibot_loss",
    "mean_vs_single": "views",
    "pairwise": "views",
    "pretrain": "pretrain",
    "prototype_cross_entropy": "prototype_loss",
    "scaled_learning_rate": "schedules",
    "sinkhorn": "sinkhorn",
    "updated_center": "centering",
}


def __getattr__(name: str) -> Any:
    # on first use: the commands' help must not wait for torch
    if name in _HOMES:
        return getattr(import_module(f"dinocell_ssl.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _TableOfContents(ModuleType):
    """A function that is called like its module (`sinkhorn`) stays the function when the module is imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _HOMES.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _TableOfContents
