"""Where the work around the network is done, and that a map's home does not show in its labels."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dinocell_kernels import distance_map, torch_cuda, torch_ops
from dinocell_kernels.arguments import kernel_labels
from dinocell_seg.crops import target_of
from dinocell_seg.devices import BYTES_A_PIXEL, as_tensor, kernel_device
from dinocell_seg.watershed import _labels_by, labels_from_distance_map

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def with_gpu(monkeypatch: pytest.MonkeyPatch, *, memory: int, kernels: bool = True) -> None:
    monkeypatch.setattr(torch_cuda, "has_kernels", lambda device: kernels)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=memory))


def test_work_is_done_on_a_gpu_that_has_kernels_and_room(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch, memory=2 * BYTES_A_PIXEL * 1000)
    assert kernel_device("cuda", num_pixels=1000) == GPU
    assert kernel_device("cuda", num_pixels=1001) == CPU
    with_gpu(monkeypatch, memory=1 << 60)
    assert kernel_device("cuda", num_pixels=2**31 - 1) == GPU
    assert kernel_device("cuda", num_pixels=2**31) == CPU


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_devices_without_kernels_leave_the_work_to_the_cpu(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch, memory=1 << 40)
    assert kernel_device(device, num_pixels=1) == CPU


def test_a_build_without_cuda_leaves_the_work_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch, memory=1 << 40, kernels=False)
    assert kernel_device("cuda", num_pixels=1) == CPU


def test_an_array_becomes_a_tensor_without_a_copy_unless_it_is_read_only() -> None:
    array = np.arange(6, dtype=np.uint16)
    assert as_tensor(array, CPU).data_ptr() == array.ctypes.data
    array.setflags(write=False)
    copied = as_tensor(array, CPU)
    assert copied.data_ptr() != array.ctypes.data
    assert copied.tolist() == array.tolist()


THRESHOLDS = [
    {"peak": 0.7, "fill": 0.3, "prominence": prominence, "full_prominence_px": full_px, "min_size": 3}
    for prominence, full_px in ((None, 0.0), (0.1, 0.0), (0.5, 20.0))
]


@pytest.mark.parametrize("thresholds", THRESHOLDS)
def test_labels_of_a_tensor_are_those_of_its_array(thresholds: dict) -> None:
    heights = np.random.default_rng(0).random((40, 50), np.float32)
    labels = labels_from_distance_map(heights, **thresholds)
    assert labels.max() > 3
    np.testing.assert_array_equal(labels_from_distance_map(torch.from_numpy(heights), **thresholds), labels)


@pytest.mark.parametrize("thresholds", THRESHOLDS)
def test_maps_on_a_gpu_take_the_operators_with_the_same_labels(thresholds: dict) -> None:
    """The branch for GPUs, with the operators on the CPU in the place of those on a GPU."""
    heights = np.random.default_rng(1).random((40, 50), np.float32)
    labels, _ = _labels_by(torch_ops, torch.from_numpy(heights), **thresholds)
    assert isinstance(labels, torch.Tensor)
    expected = labels_from_distance_map(heights, **thresholds, fill_holes=False)  # which is done on the CPU
    np.testing.assert_array_equal(labels.numpy(), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_targets_are_the_distance_map_of_the_labels_whatever_their_type(dtype: type) -> None:
    rng = np.random.default_rng(2)
    labels = np.kron(rng.integers(0, 200, (20, 20)), np.ones((8, 8), np.int64)).astype(dtype)
    inner = (slice(48, -48), slice(48, -48))
    target = target_of(kernel_labels(labels), CPU)
    np.testing.assert_array_equal(target.numpy(), distance_map(labels)[inner])
