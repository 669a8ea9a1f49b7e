"""Analytic stand-ins for a trained network, and a small drawn image: exact, fast, and without weights."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BlurredForeground(nn.Module):
    """Distance map of an ideally bright cell: how much of the 9 x 9 pixels around a pixel is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.metadata: dict[str, object] = {}

    def forward(self, tiles: Tensor) -> Tensor:
        bright = (tiles.mean(dim=1, keepdim=True) > 0).float()
        return F.avg_pool2d(F.pad(bright, (4, 4, 4, 4), mode="replicate"), 9, stride=1)


@pytest.fixture
def stand_in() -> BlurredForeground:
    torch.manual_seed(0)
    return BlurredForeground()


@pytest.fixture
def three_discs() -> np.ndarray:
    """uint16 [90 120] with discs of radius 12, 9 and 6 at (25, 30), (60, 80) and (70, 20)."""
    y, x = np.mgrid[:90, :120]
    image = np.full((90, 120), 300, np.uint16)
    for row, column, radius in ((25, 30, 12), (60, 80, 9), (70, 20, 6)):
        image[(y - row) ** 2 + (x - column) ** 2 <= radius**2] = 2000
    return image
