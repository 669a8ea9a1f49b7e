"""DINOCell: a DINOv3 backbone, a convolutional stem and a U-Net decoder that predict per-cell distance maps."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from dinocell_core.backbones import create_backbone
from dinocell_core.checkpoints import load_backbone_weights
from dinocell_core.convolution import Norm
from dinocell_core.decoder import UNetDecoder
from dinocell_core.recipe import validated
from dinocell_core.stem import ConvStem, drop_maps

Size = Literal["mini", "tiny", "small", "small_plus", "base", "large", "large_plus", "huge_plus", "7b"]

# Blocks whose output feeds the decoder, by depth of the backbone: about a quarter, half, three quarters and the end.
SKIP_BLOCKS = {
    8: (1, 3, 5, 7),
    12: (2, 5, 8, 11),
    24: (4, 11, 17, 23),
    32: (7, 15, 23, 31),
    40: (9, 19, 29, 39),
}


STEM_CHANNELS = (32, 48, 96, 128)


def decoder_channels_of(size: str) -> tuple[int, ...]:
    """Channels of the decoder's stages for a size of backbone, unless others are asked for."""
    return (128, 96, 64, 32) if size in ("mini", "tiny") else (256, 128, 64, 32)


class Architecture(BaseModel):
    """Everything needed to build the same network again; stored in every model file.

    `stem_channels` are the channels at stride 1, 2, 4, ...; leading zeros leave these levels out. `stem_skips` are the
    strides whose maps the decoder sees (None: all). With `stem_to_tokens` the coarsest level is added to the patch
    tokens. `head_channels` gives a sub-pixel head, for a decoder that stops above pixel resolution. With
    `diameter_head` the patch tokens also predict the diameter of the cell they lie in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Size = "tiny"
    patch: int = 16
    in_channels: int = 1
    stem_channels: tuple[int, ...] = STEM_CHANNELS
    stem_skips: tuple[int, ...] | None = None
    stem_to_tokens: bool = False
    decoder_channels: tuple[int, ...] = (256, 128, 64, 32)
    head_channels: int = Field(default=0, ge=0)
    diameter_head: bool = False
    norm: Norm = "batch"

    @model_validator(mode="after")
    def _stem_fits(self) -> "Architecture":
        strides = tuple(1 << level for level, width in enumerate(self.stem_channels) if width)
        if unknown := set(self.stem_skips or ()) - set(strides):
            raise ValueError(f"stem_skips names stride {min(unknown)}, but the stem has the strides {strides}")
        if self.stem_to_tokens and (not strides or strides[-1] > self.patch):
            raise ValueError(f"stem_to_tokens needs a stem whose last stride is at most patch {self.patch}")
        return self


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
        self.stem_to_tokens = _stem_to_tokens(architecture, self.backbone.embed_dim)
        self.stem_dropout = 0.0  # share of the stem's maps that the decoder does not see in training
        skips = architecture.stem_skips
        self.decoder = UNetDecoder(
            self.backbone.embed_dim,
            patch=architecture.patch,
            channels=architecture.decoder_channels,
            stem_channels=tuple(
                width if skips is None or 1 << level in skips else 0
                for level, width in enumerate(architecture.stem_channels)
            ),
            head_channels=architecture.head_channels,
            norm=architecture.norm,
        )
        self.diameter_head = nn.Conv2d(self.backbone.embed_dim, 1, 1) if architecture.diameter_head else None
        self.size_multiple = max(architecture.patch, 1 << max(0, len(architecture.stem_channels) - 1))
        self.backbone_is_frozen = False

    def freeze_backbone(self) -> "DINOCell":
        """Keep the backbone as it is: no gradients, and evaluation mode even while the other parts train."""
        self.backbone_is_frozen = True
        self.backbone.requires_grad_(False)
        self.backbone.eval()
        return self

    def train(self, mode: bool = True) -> "DINOCell":
        super().train(mode)
        if self.backbone_is_frozen:
            self.backbone.eval()  # also of a backbone with drop paths, whose features would change at every step
        return self

    def logits(self, image: Float[Tensor, "b c y x"]) -> Float[Tensor, "b 1 y x"]:
        """The distance map before its sigmoid, for losses."""
        return self.logits_and_diameters(image)[0]

    def logits_and_diameters(
        self, image: Float[Tensor, "b c y x"]
    ) -> tuple[Float[Tensor, "b 1 y x"], Float[Tensor, "b 1 row column"] | None]:
        """The logits, and for each patch log2 of the diameter, in pixels, of the cell that it lies in.

        The second is None without a diameter head, and means nothing where there is no cell.
        """
        if image.shape[1] != self.architecture.in_channels:
            raise ValueError(
                f"the image has {image.shape[1]} channel{'' if image.shape[1] == 1 else 's'} but this model takes "
                f"{self.architecture.in_channels}; choose a channel or use another model"
            )
        height, width = image.shape[-2:]
        image = pad_to_multiple(image, self.size_multiple)
        stem_maps = self.stem(image) if self.stem is not None else []
        added = self.stem_to_tokens(stem_maps[-1]) if self.stem_to_tokens is not None else None
        token_maps = self.backbone.get_intermediate_layers(
            image, n=self.skip_blocks, reshape=True, norm=True, added=added
        )
        if self.training and self.stem_dropout > 0:
            stem_maps = drop_maps(stem_maps, probability=self.stem_dropout)
        diameters = self.diameter_head(token_maps[-1]) if self.diameter_head is not None else None
        return self.decoder(token_maps, stem_maps)[..., :height, :width], diameters

    def forward(self, image: Float[Tensor, "b c y x"]) -> Float[Tensor, "b 1 y x"]:
        """Distance map in [0, 1], float32. Raises ValueError if the number of channels is not the model's."""
        return self.logits(image).float().sigmoid()

    def summary(self) -> Summary:
        """Numbers of parameters, by part."""
        return Summary(
            backbone=num_parameters(self.backbone),
            stem=sum(num_parameters(part) for part in (self.stem, self.stem_to_tokens) if part is not None),
            decoder=sum(num_parameters(part) for part in (self.decoder, self.diameter_head) if part is not None),
            trainable=sum(p.numel() for p in self.parameters() if p.requires_grad),
        )


def _stem_to_tokens(architecture: Architecture, embed_dim: int) -> nn.Conv2d | None:
    """The projection of the stem's coarsest level onto the patch grid; 0 at first, for pretrained backbones."""
    if not architecture.stem_to_tokens:
        return None
    stride = 1 << (len(architecture.stem_channels) - 1)
    size = architecture.patch // stride
    projection = nn.Conv2d(architecture.stem_channels[-1], embed_dim, kernel_size=size, stride=size)
    nn.init.zeros_(projection.weight)
    nn.init.zeros_(projection.bias)  # type: ignore[arg-type]
    return projection


def num_parameters(module: nn.Module) -> int:
    """Number of trainable and frozen parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def pad_to_multiple(image: Float[Tensor, "b c y x"], multiple: int) -> Float[Tensor, "b c y_out x_out"]:
    """Mirror an image at its bottom and right until both sides are multiples of ``multiple``.

    If the image is too small to be mirrored once, its last row or column is repeated.
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
    stem_skips: tuple[int, ...] | None = None,
    stem_to_tokens: bool = False,
    decoder_channels: tuple[int, ...] | None = None,
    head_channels: int = 0,
    diameter_head: bool = False,
    norm: Norm = "batch",
    pretrained: str | Path | None = None,
    pretrained_channels: Literal["exact", "fold", "expand"] = "exact",
    freeze_backbone: bool = False,
) -> DINOCell:
    """A DINOCell model with a freshly initialised decoder.

    Args:
        size: size of the backbone, a name of ``BACKBONES``.
        patch: 16 or 8; 8 has four times the patch tokens.
        in_channels: 1 for grey images (RGB weights are folded exactly), 3 for RGB.
        stem_channels: channels of the convolutional stem at stride 1, 2, 4, ...; ``()`` for none, leading zeros for
            one that starts at a coarser stride. Default (32, 48, 96, 128).
        stem_skips: strides whose maps the decoder sees. Default all.
        stem_to_tokens: add the stem's coarsest level to the patch tokens.
        decoder_channels: channels of the decoder's stages. Default (256, 128, 64, 32); (128, 96, 64, 32) for mini and
            tiny.
        head_channels: channels of a sub-pixel head, for a decoder with fewer stages; 0 for a plain head.
        diameter_head: also predict cell diameters.
        norm: ``"batch"`` or ``"group"`` normalisation in stem and decoder.
        pretrained: file of backbone weights (Meta ``.pth``, Hugging Face or timm layout). ``metadata["backbone"]`` says
            what was loaded and changed.
        pretrained_channels: what to do with weights of another number of channels, see `load_backbone_weights`.
        freeze_backbone: train stem and decoder only.

    Raises:
        ValueError: an unknown size, or weights that do not fit the backbone completely; nothing is loaded then.
        FileNotFoundError: there is no file of weights.
    """
    architecture = {
        "size": size,
        "patch": patch,
        "in_channels": in_channels,
        "stem_channels": STEM_CHANNELS if stem_channels is None else stem_channels,
        "stem_skips": stem_skips,
        "stem_to_tokens": stem_to_tokens,
        "decoder_channels": decoder_channels_of(size) if decoder_channels is None else decoder_channels,
        "head_channels": head_channels,
        "diameter_head": diameter_head,
        "norm": norm,
    }
    model = DINOCell(validated(Architecture, architecture))
    if pretrained is not None:
        report = load_backbone_weights(model.backbone, pretrained, channels=pretrained_channels)
        model.metadata["backbone"] = report.facts()
    if freeze_backbone:
        model.freeze_backbone()
    return model
