"""The 3x3 convolution block of stem and decoder."""

from collections import OrderedDict
from typing import Literal

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

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


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Merge every batch normalisation that follows a convolution into that convolution, in place; return the model.

    For inference only: the outputs stay the same up to rounding, and the normalisations' passes over memory are saved.
    The model must be in evaluation mode; its state dict no longer fits a model file afterwards.
    """
    if model.training:
        raise ValueError("batch normalisation can be folded only in evaluation mode; call model.eval() first")
    for module in model.modules():
        if isinstance(module, nn.Sequential) and isinstance(getattr(module, "norm", None), nn.BatchNorm2d):
            conv, norm = module.conv, module.norm
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            module.conv = fuse_conv_bn_eval(conv, norm)
            module.norm = nn.Identity()
    return model
