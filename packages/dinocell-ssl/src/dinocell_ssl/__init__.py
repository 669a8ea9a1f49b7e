"""Self-supervised pretraining of the DINOCell backbone on multi-channel microscopy."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dinocell_ssl.attention import attention_entropy, attention_weights
    from dinocell_ssl.centering import centered_softmax, updated_center
    from dinocell_ssl.channel_consistency import ChannelConsistency, channel_consistency
    from dinocell_ssl.collapse import Alarm, CollapseMonitor, CollapseThresholds, CollapseWarning, find_alarms
    from dinocell_ssl.dino_loss import CropShares, crop_shares, dino_loss
    from dinocell_ssl.export import ExportReport, as_rgb, export_backbone
    from dinocell_ssl.feature_rank import feature_variance, rankme
    from dinocell_ssl.few_shot import FewShotCurve, FewShotTrainer, few_shot_curve
    from dinocell_ssl.gram_loss import gram_loss
    from dinocell_ssl.head import PrototypeHead
    from dinocell_ssl.ibot_loss import ibot_loss, masked_token_weights
    from dinocell_ssl.knn import NeighborAgreement, neighbor_agreement
    from dinocell_ssl.koleo_loss import koleo_loss
    from dinocell_ssl.masking import block_mask, image_masks
    from dinocell_ssl.monitor import CollapseError, Monitor, StepOutputs, TrainState
    from dinocell_ssl.monitoring import Monitoring, run_monitors
    from dinocell_ssl.open_backbone import open_backbone
    from dinocell_ssl.pretrain import pretrain
    from dinocell_ssl.probe import ProbeResult, ProbeSettings, read_probe_fields, run_probes
    from dinocell_ssl.prototype_loss import prototype_cross_entropy
    from dinocell_ssl.prototype_usage import PrototypeUsage, prototype_usage
    from dinocell_ssl.recipe import PretrainRecipe
    from dinocell_ssl.schedules import cosine_v1, cosine_v2, scaled_learning_rate
    from dinocell_ssl.sigreg_loss import sigreg_loss
    from dinocell_ssl.sinkhorn import sinkhorn
    from dinocell_ssl.teacher import Teacher
    from dinocell_ssl.tracking import Tracker, WandbSettings, read_log
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
    "Alarm",
    "ChannelConsistency",
    "ChannelViews",
    "CollapseError",
    "CollapseMonitor",
    "CollapseThresholds",
    "CollapseWarning",
    "CropShares",
    "ExportReport",
    "FewShotCurve",
    "FewShotTrainer",
    "Monitor",
    "Monitoring",
    "NeighborAgreement",
    "PretrainRecipe",
    "ProbeResult",
    "ProbeSettings",
    "PrototypeHead",
    "PrototypeUsage",
    "StepOutputs",
    "Teacher",
    "Tracker",
    "TrainState",
    "ViewStrategy",
    "WandbSettings",
    "as_rgb",
    "attention_entropy",
    "attention_weights",
    "bag_of_channels",
    "block_mask",
    "centered_softmax",
    "channel_consistency",
    "channel_drop",
    "cosine_v1",
    "cosine_v2",
    "crop_shares",
    "dino_loss",
    "export_backbone",
    "feature_variance",
    "few_shot_curve",
    "find_alarms",
    "gram_loss",
    "ibot_loss",
    "image_masks",
    "koleo_loss",
    "masked_token_weights",
    "mean_vs_single",
    "neighbor_agreement",
    "open_backbone",
    "pairwise",
    "pretrain",
    "prototype_cross_entropy",
    "prototype_usage",
    "rankme",
    "read_log",
    "read_probe_fields",
    "run_monitors",
    "run_probes",
    "scaled_learning_rate",
    "sigreg_loss",
    "sinkhorn",
    "updated_center",
]

_HOMES = {
    "VIEW_STRATEGIES": "views",
    "Alarm": "collapse",
    "ChannelConsistency": "channel_consistency",
    "ChannelViews": "views",
    "CollapseError": "monitor",
    "CollapseMonitor": "collapse",
    "CollapseThresholds": "collapse",
    "CollapseWarning": "collapse",
    "CropShares": "dino_loss",
    "ExportReport": "export",
    "FewShotCurve": "few_shot",
    "FewShotTrainer": "few_shot",
    "Monitor": "monitor",
    "Monitoring": "monitoring",
    "NeighborAgreement": "knn",
    "PretrainRecipe": "recipe",
    "ProbeResult": "probe",
    "ProbeSettings": "probe",
    "PrototypeHead": "head",
    "PrototypeUsage": "prototype_usage",
    "StepOutputs": "monitor",
    "Teacher": "teacher",
    "Tracker": "tracking",
    "TrainState": "monitor",
    "ViewStrategy": "views",
    "WandbSettings": "tracking",
    "as_rgb": "export",
    "attention_entropy": "attention",
    "attention_weights": "attention",
    "bag_of_channels": "views",
    "block_mask": "masking",
    "centered_softmax": "centering",
    "channel_consistency": "channel_consistency",
    "channel_drop": "views",
    "cosine_v1": "schedules",
    "cosine_v2": "schedules",
    "crop_shares": "dino_loss",
    "dino_loss": "dino_loss",
    "export_backbone": "export",
    "feature_variance": "feature_rank",
    "few_shot_curve": "few_shot",
    "find_alarms": "collapse",
    "gram_loss": "gram_loss",
    "ibot_loss": "ibot_loss",
    "image_masks": "masking",
    "koleo_loss": "koleo_loss",
    "masked_token_weights": "ibot_loss",
    "mean_vs_single": "views",
    "neighbor_agreement": "knn",
    "open_backbone": "open_backbone",
    "pairwise": "views",
    "pretrain": "pretrain",
    "prototype_cross_entropy": "prototype_loss",
    "prototype_usage": "prototype_usage",
    "rankme": "feature_rank",
    "read_log": "tracking",
    "read_probe_fields": "probe",
    "run_monitors": "monitoring",
    "run_probes": "probe",
    "scaled_learning_rate": "schedules",
    "sigreg_loss": "sigreg_loss",
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
