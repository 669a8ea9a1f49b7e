"""Whether two devices give the same result for one image: maps, labels and times side by side."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int32, Shaped

if TYPE_CHECKING:
    from dinocell_seg import DINOCellPipeline

MAP_TOLERANCE = 1e-3  # networks sum in another order on another device; kernels must agree exactly


@dataclass(frozen=True)
class DeviceRun:
    """The result of one device for an image: the network's map, its labels, and how long each took."""

    device: str
    distance_map: Float32[np.ndarray, "y x"]
    labels: Int32[np.ndarray, "y x"]
    labels_of_first: Int32[np.ndarray, "y x"]  # of the first device's map
    distances_of_first: Float32[np.ndarray, "y x"]  # to the edges of the first device's labels
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Parity:
    """Two runs and where they differ.

    `kernels_agree`: the same map gives the same labels, and the same labels give the same distances, bit for bit.
    `maps_agree`: no pixel of the two maps differs by more than `MAP_TOLERANCE`.
    """

    first: DeviceRun
    second: DeviceRun
    largest_map_difference: float
    label_pixels_that_differ: int
    kernel_label_pixels_that_differ: int
    kernel_distance_pixels_that_differ: int

    @property
    def kernels_agree(self) -> bool:
        return not (self.kernel_label_pixels_that_differ or self.kernel_distance_pixels_that_differ)

    @property
    def maps_agree(self) -> bool:
        return self.largest_map_difference <= MAP_TOLERANCE

    def lines(self) -> list[str]:
        """The report, with both devices in columns."""
        first, second = self.first, self.second
        stages = [*first.seconds, *(name for name in second.seconds if name not in first.seconds)]
        rows = [("", first.device, second.device), ("cells", *(str(run.labels.max()) for run in (first, second)))]
        rows += [
            (f"{name}, ms", *(f"{1000 * run.seconds.get(name, 0):.1f}" for run in (first, second))) for name in stages
        ]
        table = [f"{name:<24}{a:>14}{b:>14}" for name, a, b in rows]
        total = first.labels.size
        return [
            *table,
            f"largest difference of the maps: {self.largest_map_difference:.2e} (at most {MAP_TOLERANCE:.0e})",
            f"labels of the two maps: {self.label_pixels_that_differ} of {total} pixels differ",
            f"labels of one map: {self.kernel_label_pixels_that_differ} of {total} pixels differ (expected: none)",
            f"distances of one label image: {self.kernel_distance_pixels_that_differ} of {total} pixels differ "
            "(expected: none)",
        ]


def check_parity(image: str | Path, *, first: str = "cpu", second: str = "cuda") -> Parity:
    """Run the built-in model on one image on both devices, in float32, and compare.

    Raises ValueError if a device is missing, or is a GPU for which dinocell-kernels was not built.
    """
    from dinocell_io import read_image
    from dinocell_seg.pipeline import DINOCellPipeline, grey_plane

    for device in (first, second):
        _require_kernels(device)
    plane = grey_plane(read_image(image), None)
    runs: list[DeviceRun] = []
    for device in (first, second):
        pipeline = DINOCellPipeline(device=device, precision="fp32")
        pipeline.run(plane)  # the first call also loads and allocates
        runs.append(_run(pipeline, plane, runs[0] if runs else None))
    return compare(*runs)


def compare(first: DeviceRun, second: DeviceRun) -> Parity:
    """Where two runs of one image differ."""
    return Parity(
        first=first,
        second=second,
        largest_map_difference=float(np.abs(first.distance_map - second.distance_map).max(initial=0)),
        label_pixels_that_differ=int((first.labels != second.labels).sum()),
        kernel_label_pixels_that_differ=int((first.labels != second.labels_of_first).sum()),
        kernel_distance_pixels_that_differ=int((first.distances_of_first != second.distances_of_first).sum()),
    )


def _require_kernels(device: str) -> None:
    import torch

    from dinocell_kernels import torch_cuda
    from dinocell_seg.devices import kernel_device

    if torch.device(device).type != "cuda":
        return
    if not torch.cuda.is_available():
        raise ValueError(
            f"there is no GPU to compare with: torch {torch.__version__} sees none; run this on a machine that has one "
            "('dinocell doctor' without --parity shows what is missing)"
        )
    if kernel_device(device, num_pixels=1).type != "cuda":
        reason = (
            torch_cuda.why_not(torch.device(device))
            if torch_cuda.has_kernels()
            else "was built without CUDA; rebuild it where nvcc is installed: pip install --no-build-isolation ./csrc,"
        )
        raise ValueError(f"dinocell-kernels {reason} or compare without it: only the network would run on the GPU")


def _run(pipeline: "DINOCellPipeline", plane: Shaped[np.ndarray, "y x"], reference: DeviceRun | None) -> DeviceRun:
    """One image on the pipeline's device; `reference` is the run of the first device, None for the first itself."""
    import time

    import torch

    from dinocell_kernels import torch_ops
    from dinocell_seg.devices import as_tensor, kernel_device
    from dinocell_seg.watershed import labels_from_distance_map

    started = time.perf_counter()
    prediction = pipeline.predict(plane)
    predicted = time.perf_counter()
    settings = pipeline.settings.thresholds.for_map(scale=prediction.scale)
    labels = labels_from_distance_map(prediction.heights, **settings)
    labelled = time.perf_counter()
    device_of_kernels = kernel_device(pipeline.device, num_pixels=plane.size)
    map_of_first = prediction.distance_map if reference is None else reference.distance_map
    labels_of_first = labels_from_distance_map(as_tensor(map_of_first, device_of_kernels), **settings)
    first_labels = as_tensor(labels_of_first if reference is None else reference.labels, device_of_kernels)
    before = time.perf_counter()
    distances = torch_ops.distance_map(first_labels, num_labels=int(first_labels.max())).cpu().numpy()
    seconds = {
        "map": predicted - started,
        "labels": labelled - predicted,
        "distances of labels": time.perf_counter() - before,
    }
    name = torch.cuda.get_device_name(pipeline.device) if pipeline.device.type == "cuda" else str(pipeline.device)
    return DeviceRun(name, prediction.distance_map, labels, labels_of_first, distances, seconds)
