"""Convolutional stem: the image itself, at pixel resolution, for the last stages of the decoder."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from dinocell_core.convolution import Norm, conv_norm_act


class ConvStem(nn.Module):
    """A small convolutional pyramid of the input image.

    Level ``i`` has stride ``2**i`` and ``channels[i]`` channels: a 3x3 convolution (stride 2 from the second level
    on) and one more at the same resolution. Patch tokens of 16 x 16 pixels cannot carry an edge one pixel wide;
    these maps can.

    Leading levels of 0 channels are left out: the first one that is built then sees the pixels of its stride side by
    side as channels (space to depth), so that nothing of the image is lost and nothing is computed at pixel resolution.

    Args:
        in_channels: channels of the image.
        channels: channels of each level, from stride 1 downwards; 0 for a leading level that is left out.
        norm: kind of normalisation layer, see :func:`dinocell_core.convolution.conv_norm_act`.

    Raises:
        ValueError: a level after the first one that is built has no channels.
    """

    def __init__(self, in_channels: int, channels: Sequence[int], *, norm: Norm = "batch") -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.num_left_out = next((index for index, width in enumerate(self.channels) if width), len(self.channels))
        built = self.channels[self.num_left_out :]
        if not built or min(built) < 1:
            raise ValueError(
                f"stem_channels is {self.channels}; only leading levels may be 0, and at least one level has channels"
            )
        levels = []
        previous = in_channels * 4**self.num_left_out
        for index, width in enumerate(built):
            stride = 1 if index == 0 else 2
            levels.append(
                nn.Sequential(
                    conv_norm_act(previous, width, stride=stride, norm=norm),
                    conv_norm_act(width, width, norm=norm),
                )
            )
            previous = width
        self.levels = nn.ModuleList(levels)

    def forward(self, image: Float[Tensor, "b c y x"]) -> list[Float[Tensor, "b _ _ _"] | None]:
        """Maps of stride 1, 2, 4, ... of the image, None for one that is left out.

        ``y`` and ``x`` must be divisible by the last stride.
        """
        maps: list[Tensor | None] = [None] * self.num_left_out
        if self.num_left_out:
            image = F.pixel_unshuffle(image, 1 << self.num_left_out)
        for level in self.levels:
            image = level(image)
            maps.append(image)
        return maps


def drop_maps(
    maps: Sequence[Float[Tensor, "b _ _ _"] | None], *, probability: float
) -> list[Float[Tensor, "b _ _ _"] | None]:
    """Set entire maps of single images to 0, each with `probability`, in training.

    The look of a pixel is then not enough: the patch tokens have to say where cells are.
    """
    dropped: list[Tensor | None] = []
    for stem_map in maps:
        if stem_map is None:
            dropped.append(None)
            continue
        kept = torch.rand(len(stem_map), 1, 1, 1, device=stem_map.device) >= probability
        dropped.append(stem_map * kept.to(stem_map.dtype))
    return dropped
