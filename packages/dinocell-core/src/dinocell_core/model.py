"""DINOCell: a DINOv3 backbone, a convolutional stem and a U-Net decoder that predict per-cell distance maps."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from dinocell_core.backbones import create_backbone
from dinocell_core.checkpoints import load_backbone_weights
from dinocell_core.convolution import Norm
from dinocell_core.decoder import UNetDecoder
from dinocell_core.recipe import validated
from dinocell_core.stem import ConvStem
from dinocell_io.counted import counted

Size = Literal["tiny", "small", "small_plus", "base", "large", "large_plus", "huge_plus", "7b"]

# Blocks whose output feeds the decoder, by depth of the backbone: about a quarter, half, three quarters and the end.
SKIP_BLOCKS = {
    12: (2, 5, 8, 11),
    24: (4, 11, 17, 23),
    32: (7, 15, 23, 31),
    40: (9, 19, 29, 39),
}


class Architecture(BaseModel):
    """What :func:`build_model` needs to build the same network again; stored in every model file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Size = "tiny"
    patch: int = 16
    in_channels: int = 1
    stem_channels: tuple[int, ...] = (32, 48, 96, 128)
    decoder_channels: tuple[int, ...] = (256, 128, 64, 32)
    norm: Norm = "batch"


@dataclass(frozen=True)
class Summary:
    """Numbers of parameters of a model's parts."""

    backbone: int
    stem: int
    decoder: int
    trainable: int

    @property
    def total(self) -> int:
        return self.backbone + self.stem + self.decoder


class DINOCell(nn.Module):
    """Image in, distance map out, of exactly the image's height and width.

    Input is a normalised image (see ``dinocell_seg.normalize``), output the predicted distance of each pixel to the
    edge of its own cell, divided by that cell's maximum: 0 on background, 1 at a cell's deepest pixel.

    ``metadata`` is what the model file said besides the architecture (thresholds, scores, licences, ...).
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.metadata: dict[str, Any] = {}
        self.backbone = create_backbone(
            architecture.size, patch=architecture.patch, in_channels=architecture.in_channels
        )
        self.skip_blocks = SKIP_BLOCKS[self.backbone.num_blocks]
        self.stem = (
            ConvStem(architecture.in_channels, architecture.stem_channels, norm=architecture.norm)
            if architecture.stem_channels
            else None
        )
        self.decoder = UNetDecoder(
            self.backbone.embed_dim,
            patch=architecture.patch,
            channels=architecture.decoder_channels,
            stem_channels=architecture.stem_channels,
            norm=architecture.norm,
        )
        self.size_multiple = max(architecture.patch, 1 << max(0, len(architecture.stem_channels) - 1))
        self.backbone_is_frozen = False

    def freeze_backbone(self) -> "DINOCell":
        """Keep the backbone as it is: no gradients, and evaluation mode even while the rest trains."""
        self.backbone_is_frozen = True
        self.backbone.requires_grad_(False)
        self.backbone.eval()
        return self

    def train(self, mode: bool = True) -> "DINOCell":
        super().train(mode)
        if self.backbone_is_frozen:
            # Training mode would draw a random RoPE scale and drop paths: features would change at every step.
            self.backbone.eval()
        return self

    def logits(self, image: Float[Tensor, "b c y x"]) -> Float[Tensor, "b 1 y x"]:
        """The distance map before its sigmoid, for losses."""
        if image.shape[1] != self.architecture.in_channels:
            raise ValueError(
                f"the image has {counted(image.shape[1], 'channel')} but this model takes "
                f"{self.architecture.in_channels}; choose a channel or use another model"
            )
        height, width = image.shape[-2:]
        image = pad_to_multiple(image, self.size_multiple)
        token_maps = self.backbone.get_intermediate_layers(image, n=self.skip_blocks, reshape=True, norm=True)
        stem_maps = self.stem(image) if self.stem is not None else []
        return self.decoder(token_maps, stem_maps)[..., :height, :width]

    def forward(self, image: Float[Tensor, "b c y x"]) -> Float[Tensor, "b 1 y x"]:
        """Distance map in [0, 1], float32. Raises ValueError if the number of channels is not the model's."""
        return self.logits(image).float().sigmoid()

    def summary(self) -> Summary:
        """True numbers of parameters, by part."""
        return Summary(
            backbone=num_parameters(self.backbone),
            stem=num_parameters(self.stem) if self.stem is not None else 0,
            decoder=num_parameters(self.decoder),
            trainable=sum(p.numel() for p in self.parameters() if p.requires_grad),
        )


def num_parameters(module: nn.Module) -> int:
    """Number of trainable and frozen parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def pad_to_multiple(image: Float[Tensor, "b c y x"], multiple: int) -> Float[Tensor, "b c y_out x_out"]:
    """Mirror an image at its bottom and right until both sides are multiples of ``multiple``.

    Where the image is too small to be mirrored once, its last row or column is repeated.
    """
    height, width = image.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if bottom == 0 and right == 0:
        return image
    mode = "reflect" if bottom < height and right < width else "replicate"
    return F.pad(image, (0, right, 0, bottom), mode=mode)


def create_dinocell_model(
    size: str = "tiny",
    *,
    patch: int = 16,
    in_channels: int = 1,
    stem_channels: tuple[int, ...] | None = None,
    decoder_channels: tuple[int, ...] | None = None,
    norm: Norm = "batch",
    pretrained: str | Path | None = None,
    freeze_backbone: bool = False,
) -> DINOCell:
    """A DINOCell model, its decoder freshly initialised.

    Args:
        size: size of the backbone, a name of ``BACKBONES``.
        patch: 16 or 8; 8 has four times the patch tokens.
        in_channels: 1 for grey images (RGB weights are folded exactly), 3 for RGB.
        stem_channels: channels of the convolutional stem; ``()`` for none. Default (32, 48, 96, 128).
        decoder_channels: channels of the decoder's stages. Default (256, 128, 64, 32); (128, 96, 64, 32) for tiny.
        norm: ``"batch"`` or ``"group"`` normalisation in stem and decoder.
        pretrained: file of backbone weights (Meta ``.pth``, Hugging Face or timm layout).
        freeze_backbone: train stem and decoder only.

    Raises:
        ValueError: an unknown size, or weights that do not fit the backbone completely; nothing is loaded then.
        FileNotFoundError: there is no file of weights.
    """
    defaults = Architecture()
    if decoder_channels is None:
        decoder_channels = (128, 96, 64, 32) if size == "tiny" else defaults.decoder_channels
    architecture = {
        "size": size,
        "patch": patch,
        "in_channels": in_channels,
        "stem_channels": defaults.stem_channels if stem_channels is None else stem_channels,
        "decoder_channels": decoder_channels,
        "norm": norm,
    }
    model = DINOCell(validated(Architecture, architecture))
    if pretrained is not None:
        load_backbone_weights(model.backbone, pretrained)
    if freeze_backbone:
        model.freeze_backbone()
    return model
