"""U-Net decoder: from four maps of patch tokens to one logit per pixel."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from dinocell_core.convolution import Norm, conv_norm_act

BACKGROUND_LOGIT = -2.0


class DecoderStage(nn.Module):
    """One stage: learned upsampling, one skip, two convolutions.

    The skip's 1x1 lateral runs on the patch grid, so what is upsampled is never wider than the stage itself.

    Args:
        in_channels: channels of the stage below.
        out_channels: channels of this stage.
        skip_channels: channels of the patch-token skip; 0 for none.
        stem_channels: channels of the stem's map at this stage's resolution; 0 for none.
        upsample: whether the stage doubles the grid.
        norm: kind of normalisation layer.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        skip_channels: int,
        stem_channels: int,
        upsample: bool,
        norm: Norm,
    ) -> None:
        super().__init__()
        self.up: nn.Module = (
            nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)
            if upsample
            else nn.Conv2d(in_channels, out_channels, kernel_size=1)
        )
        self.lateral = nn.Conv2d(skip_channels, out_channels, kernel_size=1) if skip_channels else None
        self.refine = nn.Sequential(
            conv_norm_act(out_channels + stem_channels, out_channels, norm=norm),
            conv_norm_act(out_channels, out_channels, norm=norm),
        )

    def forward(
        self,
        x: Float[Tensor, "b c_in y_in x_in"],
        skip: Float[Tensor, "b c_skip h w"] | None,
        stem: Float[Tensor, "b c_stem y x"] | None,
    ) -> Float[Tensor, "b c_out y x"]:
        x = self.up(x)
        if self.lateral is not None and skip is not None:
            x = x + F.interpolate(self.lateral(skip), size=x.shape[-2:], mode="bilinear", align_corners=False)
        if stem is not None:
            x = torch.cat([x, stem.to(x.dtype)], dim=1)
        return self.refine(x)


class SubpixelHead(nn.Module):
    """Logits of pixels from a map that is `factor` times coarser (Shi 2016): no wide convolution sees all pixels.

    Each position of the coarse map gives `channels` values to each of its pixels; one small convolution at pixel
    resolution makes the logit of them, so that neighbouring positions agree.
    """

    def __init__(self, in_channels: int, channels: int, *, factor: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(in_channels, channels * factor**2, kernel_size=3, padding=1)
        self.shuffle = nn.PixelShuffle(factor)
        self.act = nn.ReLU(inplace=True)
        self.logit = nn.Conv2d(channels, 1, kernel_size=3, padding=1)
        nn.init.constant_(self.logit.bias, BACKGROUND_LOGIT)  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "b c _ _"]) -> Float[Tensor, "b 1 y x"]:
        return self.logit(self.act(self.shuffle(self.expand(x))))


class UNetDecoder(nn.Module):
    """Decoder with one stage per entry of ``channels``; the output has the image's resolution.

    ``log2(patch)`` stages double the grid; the others (one, for patch 8 and four stages) refine without upsampling.
    With fewer stages the last one is coarser than the image, and a :class:`SubpixelHead` makes the pixels.
    The deepest map starts the decoder; the three shallower ones are the skips of the first three stages, deepest
    first; a fourth stage has no skip of its own.

    Args:
        embed_dim: channels of each patch-token map.
        patch: pixels per patch side, a power of two.
        channels: channels of the stages, coarse to fine.
        stem_channels: channels of the stem's levels (stride 1, 2, 4, ...); empty for no stem. A stage takes the level
            of its own resolution, where there is one; 0 for a level that it does not get.
        head_channels: channels at pixel resolution of a sub-pixel head; 0 for a head of one convolution, which needs
            stages up to pixel resolution.
        norm: kind of normalisation layer.

    Raises:
        ValueError: ``patch`` is not a power of two, or needs more doublings than there are stages and the head has no
            channels.
    """

    def __init__(
        self,
        embed_dim: int,
        *,
        patch: int,
        channels: Sequence[int] = (256, 128, 64, 32),
        stem_channels: Sequence[int] = (),
        head_channels: int = 0,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        num_doublings = patch.bit_length() - 1
        if patch != 1 << num_doublings:
            raise ValueError(f"patch is {patch}; the decoder doubles the grid, so it must be a power of two")
        if num_doublings > len(channels) and not head_channels:
            raise ValueError(
                f"patch {patch} needs {num_doublings} doublings but channels {tuple(channels)} has "
                f"{len(channels)} stages; give at least {num_doublings}, or head_channels for a sub-pixel head"
            )
        self.num_skips = 3
        self.bottleneck = nn.Conv2d(embed_dim, channels[0], kernel_size=1)
        stages = []
        self.stem_levels: list[int | None] = []
        previous = channels[0]
        for index, width in enumerate(channels):
            stride_log2 = max(0, num_doublings - index - 1)
            level = stride_log2 if stride_log2 < len(stem_channels) and stem_channels[stride_log2] else None
            self.stem_levels.append(level)
            stages.append(
                DecoderStage(
                    previous,
                    width,
                    skip_channels=embed_dim if index < self.num_skips else 0,
                    stem_channels=0 if level is None else stem_channels[level],
                    upsample=index < num_doublings,
                    norm=norm,
                )
            )
            previous = width
        self.stages = nn.ModuleList(stages)
        self.head: nn.Module
        if head_channels:
            self.head = SubpixelHead(previous, head_channels, factor=max(1, patch >> len(channels)))
        else:
            self.head = nn.Conv2d(previous, 1, kernel_size=1)
            # Most pixels are background: start near its distance, 0, instead of at 0.5.
            nn.init.constant_(self.head.bias, BACKGROUND_LOGIT)  # type: ignore[arg-type]

    def forward(
        self,
        token_maps: Sequence[Float[Tensor, "b d h w"]],
        stem_maps: Sequence[Float[Tensor, "b _ _ _"] | None] = (),
    ) -> Float[Tensor, "b 1 y x"]:
        """Logits of the distance map, from token maps given shallow to deep and stem maps of stride 1, 2, 4, ..."""
        *skips, deepest = token_maps
        x = self.bottleneck(deepest)
        for index, stage in enumerate(self.stages):
            skip = skips[-1 - index] if index < self.num_skips else None
            level = self.stem_levels[index]
            x = stage(x, skip, None if level is None else stem_maps[level])
        return self.head(x)
