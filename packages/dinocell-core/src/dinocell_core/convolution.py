"""The 3x3 convolution block of stem and decoder."""

from collections import OrderedDict
from typing import Literal

from torch import nn

Norm = Literal["batch", "group"]

GROUP_CHANNELS = 16  # channels that share one mean and variance under group normalisation


def conv_norm_act(in_channels: int, out_channels: int, *, stride: int = 1, norm: Norm = "batch") -> nn.Sequential:
    """3x3 convolution, normalisation and ReLU; height and width are kept, or halved with ``stride=2``.

    ``norm`` is ``"batch"`` (folds into the convolution at inference) or ``"group"`` (independent of the batch:
    for training with one or two crops a step).
    """
    layer = (
        nn.BatchNorm2d(out_channels)
        if norm == "batch"
        else nn.GroupNorm(max(1, out_channels // GROUP_CHANNELS), out_channels)
    )
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(OrderedDict(conv=conv, norm=layer, act=nn.ReLU(inplace=True)))
