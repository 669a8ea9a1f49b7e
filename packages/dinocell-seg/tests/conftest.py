"""Analytic stand-ins for a trained network, and a small drawn image: exact, fast, and without weights."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinocell_seg.batch import segment_files
from dinocell_seg.outcomes import Outcome
from dinocell_seg.segment_request import SegmentRequest
from dinocell_seg.worker_process import pipeline_of


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


class InThisProcess:
    """What `dinocell segment` asks of a WorkerBatch, done here, where tests put stand-ins for a model or a disk."""

    def __init__(self, request: SegmentRequest) -> None:
        self._request = request

    def start(self) -> None:
        self._pipeline, self._choice = pipeline_of(self._request)

    def segment(
        self, images: Sequence[str], *, left_out: Mapping[str, str], report: Callable[[Outcome], None]
    ) -> list[Outcome]:
        return segment_files(
            images,
            self._request.output,
            self._pipeline,
            **vars(self._choice),
            save_distance_map=self._request.save_distance_map,
            existing=self._request.existing,
            left_out=left_out,
            report=report,
        )

    def stop(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _without_a_worker_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "worker_process" not in request.keywords:
        monkeypatch.setattr("dinocell_seg.worker.WorkerBatch", InThisProcess)
