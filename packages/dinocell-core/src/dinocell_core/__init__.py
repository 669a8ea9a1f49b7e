"""The DINOCell model: a DINOv3 vision transformer with a U-Net decoder that predicts per-cell distance maps."""

from dinocell_core.backbones import BACKBONES, create_backbone
from dinocell_core.checkpoints import CheckpointReport, load_backbone_weights
from dinocell_core.convolution import fold_batch_norm
from dinocell_core.device import resolve_device
from dinocell_core.integrity import file_sha256
from dinocell_core.model import Architecture, DINOCell, create_dinocell_model
from dinocell_core.model_file import load_model, read_model_metadata, save_model
from dinocell_core.patch_embed import expand_channels, fold_to_grey, resize_kernel, sum_pool_kernel
from dinocell_core.rope import RopeAugmentation
from dinocell_core.vit import DinoVisionTransformer, ViTConfig

__all__ = [
    "BACKBONES",
    "Architecture",
    "CheckpointReport",
    "DINOCell",
    "DinoVisionTransformer",
    "RopeAugmentation",
    "ViTConfig",
    "create_backbone",
    "create_dinocell_model",
    "expand_channels",
    "file_sha256",
    "fold_batch_norm",
    "fold_to_grey",
    "load_backbone_weights",
    "load_model",
    "read_model_metadata",
    "resize_kernel",
    "resolve_device",
    "save_model",
    "sum_pool_kernel",
]
