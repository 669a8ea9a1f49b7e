"""Self-supervised pretraining of the DINOCell backbone on multi-channel microscopy: the parts of its objective."""

from dinocell_ssl.centering import centered_softmax, updated_center
from dinocell_ssl.dino_loss import CropShares, crop_shares, dino_loss
from dinocell_ssl.gram_loss import gram_loss
from dinocell_ssl.head import PrototypeHead
from dinocell_ssl.ibot_loss import ibot_loss, masked_token_weights
from dinocell_ssl.koleo_loss import koleo_loss
from dinocell_ssl.masking import block_mask, image_masks
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
    "CropShares",
    "PrototypeHead",
    "Teacher",
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
    "scaled_learning_rate",
    "sinkhorn",
    "updated_center",
]
