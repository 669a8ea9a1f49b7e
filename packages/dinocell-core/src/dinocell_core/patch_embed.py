"""Patch embedding, and what happens to its kernel when the patch size or the channels change.

A kernel is the weight of the convolution, (dim, channel, patch, patch).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Kernel = Float[Tensor, "dim channel y x"]


class PatchEmbed(nn.Module):
    """Convolution with stride = kernel = patch; rows and columns beyond the last whole patch are left out."""

    def __init__(self, in_channels: int, dim: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, x: Float[Tensor, "b channel y x"]) -> Float[Tensor, "b row column dim"]:
        return self.proj(x).permute(0, 2, 3, 1)


def sum_pool_kernel(kernel: Kernel, patch: int) -> Float[Tensor, "dim channel {patch} {patch}"]:
    """Kernel of a smaller patch by summing blocks: exact for images enlarged by nearest neighbour.

    An image enlarged n times and embedded with `kernel` gives the tokens of the image embedded with the
    result. It is also FlexiViT's resize for bilinear interpolation without antialiasing. Interpolating the
    kernel instead would divide its response to a constant image by n².
    Raises ValueError if `patch` does not divide the kernel's size.
    """
    size = kernel.shape[-1]
    if kernel.shape[-2] != size or size % patch:
        raise ValueError(
            f"cannot sum-pool a {kernel.shape[-2]} x {size} kernel to {patch} x {patch}: the new size must "
            "divide the old; use resize_kernel for other sizes"
        )
    factor = size // patch
    return kernel.unflatten(-1, (patch, factor)).unflatten(-3, (patch, factor)).sum(dim=(-3, -1))


def resize_kernel(
    kernel: Kernel, patch: int, *, mode: str = "bilinear", antialias: bool = False
) -> Float[Tensor, "dim channel {patch} {patch}"]:
    """Kernel of any patch size by the pseudo-inverse of image resizing (FlexiViT, Beyer 2023), in float64.

    It is the kernel that answers to a resized image as nearly as possible (least squares over white noise) as
    `kernel` does to the image itself. Reductions by 2 without antialiasing equal `sum_pool_kernel`.
    """
    size = kernel.shape[-1]
    if kernel.shape[-2] != size:
        raise ValueError(f"cannot resize a kernel of {kernel.shape[-2]} x {size} pixels: patches are square")
    if patch == size:
        return kernel.clone()
    pixels = torch.eye(size * size, dtype=torch.float64, device=kernel.device).view(-1, 1, size, size)
    resized = F.interpolate(pixels, size=(patch, patch), mode=mode, antialias=antialias)
    resize = resized.flatten(1).T  # (patch², size²)
    flat = kernel.flatten(2).double() @ torch.linalg.pinv(resize)
    return flat.unflatten(-1, (patch, patch)).to(kernel.dtype)


def fold_to_grey(kernel: Kernel) -> Float[Tensor, "dim 1 y x"]:
    """One-channel kernel that answers to a grey image as `kernel` to the image repeated in every channel."""
    return kernel.sum(dim=1, keepdim=True)


def expand_channels(kernel: Kernel, channels: int) -> Float[Tensor, "dim {channels} y x"]:
    """`channels` equal planes: the mean plane, scaled to give an image of equal channels the same tokens."""
    old = kernel.shape[1]
    return (kernel.mean(dim=1, keepdim=True) * (old / channels)).repeat(1, channels, 1, 1)
