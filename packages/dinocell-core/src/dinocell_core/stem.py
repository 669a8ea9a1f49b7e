"""Convolutional stem: the image itself, at pixel resolution, for the last stages of the decoder."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from dinocell_core.convolution import Norm, conv_norm_act


class ConvStem(nn.Module):
    """A small convolutional pyramid of the input image.

    Level ``i`` has stride ``2**i`` and ``channels[i]`` channels: a 3x3 convolution (stride 2 from the second level
    on) and one more at the same resolution. Patch tokens of 16 x 16 pixels cannot carry an edge one pixel wide;
    these maps can.

    Args:
        in_channels: channels of the image.
        channels: channels of each level, from stride 1 downwards.
        norm: kind of normalisation layer, see :func:`dinocell_core.convolution.conv_norm_act`.
    """

    def __init__(self, in_channels: int, channels: Sequence[int], *, norm: Norm = "batch") -> None:
        super().__init__()
        self.channels = tuple(channels)
        levels = []
        previous = in_channels
        for index, width in enumerate(channels):
            stride = 1 if index == 0 else 2
            levels.append(
                nn.Sequential(
                    conv_norm_act(previous, width, stride=stride, norm=norm),
                    conv_norm_act(width, width, norm=norm),
                )
            )
            previous = width
        self.levels = nn.ModuleList(levels)

    def forward(self, image: Float[Tensor, "b c y x"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Maps of stride 1, 2, 4, ... of the image; ``y`` and ``x`` must be divisible by the last stride."""
        maps = []
        for level in self.levels:
            image = level(image)
            maps.append(image)
        return maps
