"""What `torch_cuda` does around the GPU's kernels: arguments, memory, repetition, what goes back to the CPU.

CPU tensors stand in for those on a GPU, and the emulated kernels, called by address as the compiled ones are, for them.
"""

import contextlib
import ctypes

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the GPU kernels are reached through torch")

import dinocell_kernels  # noqa: E402  # after the skip
from dinocell_kernels import _native, torch_cuda, torch_ops  # noqa: E402

emulated = _native.device_emulation


def at(address: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_byte * size).from_address(address), dtype).reshape(shape)


class EmulatedModule:
    """Functions of `_cuda` with the arguments of `bindings/cuda.cpp`."""

    def __init__(self) -> None:
        self.capacities: list[int] = []

    def watershed_scratch(self, height, width, by_prominence):
        return 1

    def watershed(self, heights, height, width, peak, fill, prominence, out, scratch, status, stream):
        shape = (height, width)
        labels, numbers = emulated.watershed(at(heights, shape, np.float32), peak, fill, prominence)
        at(out, shape, np.int32)[:] = labels
        at(status, (3,), np.int32)[:] = numbers

    def label_overlap_scratch(self, capacity):
        return 1

    def label_overlap_int64(self, truth, predicted, size, capacity, pairs, counts, scratch, status, stream):
        self.capacities.append(capacity)
        arrays = (at(labels, (size,), np.int64) for labels in (truth, predicted))
        found = emulated.label_overlap(*arrays, capacity)
        at(status, (2,), np.int32)[:] = (0, 1) if found is None else (len(found[0]), 0)
        if found is not None:
            at(pairs, found[0].shape, np.uint64)[:] = found[0]
            at(counts, found[1].shape, np.int64)[:] = found[1]

    def sinkhorn_scratch(self, num_samples, num_prototypes):
        return 1

    def sinkhorn_sample_max_float32(self, logits, samples, prototypes, temperature, out, stream):
        maxima = emulated.sinkhorn_sample_max(at(logits, (samples, prototypes), np.float32), temperature)
        at(out, (samples,), np.float32)[:] = maxima

    def sinkhorn_prototype_mass_float32(
        self, logits, samples, prototypes, temperature, maxima, v, out, scratch, stream
    ):
        matrix = at(logits, (samples, prototypes), np.float32)
        by_sample = (at(array, (samples,), np.float32) for array in (maxima, v))
        at(out, (prototypes,), np.float32)[:] = emulated.sinkhorn_prototype_mass(matrix, temperature, *by_sample)

    def sinkhorn_sample_mass_float32(self, logits, samples, prototypes, temperature, maxima, u, out, stream):
        matrix, largest = at(logits, (samples, prototypes), np.float32), at(maxima, (samples,), np.float32)
        factors = at(u, (prototypes,), np.float32)
        at(out, (samples,), np.float32)[:] = emulated.sinkhorn_sample_mass(matrix, temperature, largest, factors)

    def sinkhorn_targets_float32(self, logits, samples, prototypes, temperature, maxima, u, v, out, stream):
        matrix = at(logits, (samples, prototypes), np.float32)
        factors = (at(maxima, (samples,), np.float32), at(u, (prototypes,), np.float32), at(v, (samples,), np.float32))
        at(out, matrix.shape, np.float32)[:] = emulated.sinkhorn_targets(matrix, temperature, *factors)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> EmulatedModule:
    module = EmulatedModule()
    monkeypatch.setattr(torch_cuda, "_cuda", module)
    monkeypatch.setattr(torch_cuda, "_stream", lambda tensor: 0)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    return module


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("prominence", [None, 0.1])
def test_labels_are_those_of_the_cpu_also_where_components_are_left_open(prominence, dtype):
    heights = torch.rand((60, 70), generator=torch.Generator().manual_seed(0))
    heights = torch.nn.functional.avg_pool2d(heights[None, None], 5, stride=1)[0, 0].to(dtype)  # bfloat16 has ties
    labels = torch_cuda.watershed(heights, 0.5, 0.42, prominence)
    expected = torch_ops.watershed(heights, peak=0.5, fill=0.42, prominence=prominence)
    assert labels.max() > 5
    assert torch.equal(labels, expected)


@pytest.mark.usefixtures("module")
def test_maps_and_thresholds_that_make_no_labels_are_refused():
    heights = torch.rand((4, 4))
    for arguments, message in (
        ((torch.full((2, 2), torch.nan), 0.5, 0.1, None), "the distance map holds NaN"),
        ((heights, 0.1, 0.5, None), "choose peak >= fill"),
        ((heights, 0.5, 0.1, -1.0), r"prominence is -1\.0; it is a height of the map"),
        ((heights.double(), 0.5, 0.1, None), r"distance_map is torch\.float64; on a GPU it must be float32"),
    ):
        with pytest.raises(ValueError, match=message):
            torch_cuda.watershed(*arguments)


def test_pairs_are_sorted_and_counted_again_in_a_larger_table_where_one_overflows(module):
    random = np.random.default_rng(0)
    truth = (np.arange(30_000).reshape(150, 200) - 15_000) * 140_000
    predicted = random.integers(-5, 5, truth.shape)
    columns = torch_cuda.label_overlap(torch.from_numpy(truth), torch.from_numpy(predicted))
    expected = dinocell_kernels.label_overlap(truth, predicted)
    for column, name in zip(columns, ("truth", "predicted", "pixels"), strict=True):
        np.testing.assert_array_equal(column.numpy(), getattr(expected, name))
    assert module.capacities == [1 << 14, 1 << 16]


@pytest.mark.usefixtures("module")
def test_labels_beyond_32_bits_are_refused():
    labels = torch.tensor([[1 << 40]])
    with pytest.raises(ValueError, match="truth reaches from 1099511627776 to 1099511627776; on a GPU"):
        torch_cuda.label_overlap(labels, labels)


@pytest.mark.usefixtures("module")
def test_the_mass_of_sinkhorn_has_the_sums_of_the_matrix():
    logits = torch.randn((30, 70), generator=torch.Generator().manual_seed(1))
    mass = torch_cuda.SinkhornMass(logits, 0.5)
    matrix = torch.exp(logits / 0.5 - (logits / 0.5).amax(dim=1, keepdim=True))
    u, v = torch.rand(70), torch.rand(30)
    torch.testing.assert_close(mass.sample_max, (logits / 0.5).amax(dim=1))
    torch.testing.assert_close(mass.of_prototypes(v), v @ matrix, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mass.of_samples(u), matrix @ u, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mass.scaled(u, v), v[:, None] * matrix * u, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(torch_cuda._cuda is None, reason="dinocell-kernels was built without CUDA")
@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU the kernels would be given addresses of the CPU")
@pytest.mark.parametrize("dtype", [torch.uint16, torch.int32, torch.int64, torch.float32, torch.bfloat16])
def test_the_compiled_kernels_take_these_arguments_and_name_themselves_where_there_is_no_driver(dtype, monkeypatch):
    monkeypatch.setattr(torch_cuda, "_stream", lambda tensor: 0)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    values = torch.ones((8, 9)).to(dtype)
    calls = [lambda: torch_cuda.label_overlap(values, values)]
    if dtype.is_floating_point:
        calls = [lambda: torch_cuda.SinkhornMass(values, 0.1)]
        mass = torch_cuda.SinkhornMass.__new__(torch_cuda.SinkhornMass)
        mass._logits, mass._temperature, mass.sample_max = values, 0.1, torch.ones(8)
        calls += [lambda: mass.of_prototypes(torch.ones(8)), lambda: mass.of_samples(torch.ones(9))]
        calls += [lambda: mass.scaled(torch.ones(9), torch.ones(8))]
        calls += [lambda prominence=p: torch_cuda.watershed(values, 0.5, 0.1, prominence) for p in (None, 0.1)]
    for call in calls:
        with pytest.raises(RuntimeError, match=r"(sinkhorn: \w+.*|cudaMemsetAsync) failed to start on"):
            call()
