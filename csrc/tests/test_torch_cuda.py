"""What `torch_cuda` does around the GPU's kernels: arguments, memory, repetition, what goes back to the CPU.

CPU tensors stand in for those on a GPU, and the emulated kernels, called by address as the compiled ones are, for them.
"""

import contextlib
import ctypes
import functools
import inspect
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the GPU kernels are reached through torch")

import dinocell_kernels  # noqa: E402  # after the skip
from dinocell_kernels import _native, torch_cuda, torch_ops  # noqa: E402

emulated = _native.device_emulation


def at(address: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if not size:
        return np.empty(shape, dtype)
    return np.frombuffer((ctypes.c_byte * size).from_address(address), dtype).reshape(shape)


def put(results: tuple[np.ndarray, ...], *addresses: int) -> None:
    for result, address in zip(results, addresses, strict=True):
        at(address, result.shape, result.dtype)[...] = result


class EmulatedModule:
    """Functions of `_cuda` with the arguments of `bindings/cuda.cpp`."""

    def __init__(self) -> None:
        self.capacities: list[int] = []

    def __getattr__(self, name):
        """A kernel for one type of labels, pixels or tiles, from the one for all; scratch is not used here."""
        if name.endswith("_scratch"):
            return lambda *sizes: 1
        name, *dtypes = name.rsplit("_", 2 if name.startswith("gather_tiles") else 1)
        return functools.partial(getattr(self, "any_" + name), np.dtype(dtypes[0]))

    def any_distance_map(self, dtype, labels, images, height, width, largest, border, out, runs, maxima, stream):
        shape = (images, height, width)
        at(out, shape, np.float32)[:] = emulated.distance_map(at(labels, shape, dtype), largest, maxima != 0, border)

    def connected_components(self, mask, images, height, width, connectivity, out, scratch, counts, stream):
        shape = (images, height, width)
        put(emulated.connected_components(at(mask, shape, np.uint8), connectivity), out, counts)

    def any_relabel(self, dtype, labels, images, pixels, largest, out, scratch, counts, stream):
        put(emulated.relabel(at(labels, (images, 1, pixels), dtype), largest), out, counts)

    def any_remove_small(self, dtype, labels, images, pixels, largest, min_size, out, scratch, counts, stream):
        put(emulated.remove_small(at(labels, (images, 1, pixels), dtype), largest, min_size), out, counts)

    def watershed(self, heights, images, height, width, peak, fill, prominence, out, scratch, status, stream):
        maps = at(heights, (images, height, width), np.float32)
        put(emulated.watershed(maps, peak, fill, prominence), out, status)

    def any_label_overlap(self, dtype, truth, predicted, size, capacity, pairs, counts, scratch, status, stream):
        self.capacities.append(capacity)
        found = emulated.label_overlap(*(at(labels, (size,), dtype) for labels in (truth, predicted)), capacity)
        at(status, (2,), np.int32)[:] = (0, 1) if found is None else (len(found[0]), 0)
        if found is not None:
            put(found, pairs, counts)

    def any_gather_tiles(
        self, dtype, image, images, channels, height, width, ys, xs, tile, scale, offset, low, high, out, stream
    ):
        pixels = at(image, (images, channels, height, width), dtype)
        factors = (at(values, (images, channels), np.float32) for values in (scale, offset))
        put((emulated.gather_tiles(pixels, np.array(ys), np.array(xs), tile, *factors, low, high),), out)

    def any_blend_tiles(self, dtype, tiles, images, ys, xs, tile, overlap, row_begin, row_end, width, out, stream):
        given = at(tiles, (images, len(ys), len(xs), tile, tile), dtype)
        put((emulated.blend_tiles(given, np.array(ys), np.array(xs), overlap, row_begin, row_end, width),), out)

    def spread_tiles(self, image, images, ys, xs, tile, overlap, row_begin, row_end, width, out, stream):
        pixels = at(image, (images, row_end - row_begin, width), np.float32)
        put((emulated.spread_tiles(pixels, np.array(ys), np.array(xs), tile, overlap, row_begin, row_end, width),), out)

    def any_sinkhorn_sample_max(self, dtype, logits, samples, prototypes, temperature, out, stream):
        put((emulated.sinkhorn_sample_max(at(logits, (samples, prototypes), dtype), temperature),), out)

    def any_sinkhorn_prototype_mass(
        self, dtype, logits, samples, prototypes, temperature, maxima, v, out, scratch, stream
    ):
        by_sample = (at(array, (samples,), np.float32) for array in (maxima, v))
        matrix = at(logits, (samples, prototypes), dtype)
        put((emulated.sinkhorn_prototype_mass(matrix, temperature, *by_sample),), out)

    def any_sinkhorn_sample_mass(self, dtype, logits, samples, prototypes, temperature, maxima, u, out, stream):
        matrix, largest = at(logits, (samples, prototypes), dtype), at(maxima, (samples,), np.float32)
        put((emulated.sinkhorn_sample_mass(matrix, temperature, largest, at(u, (prototypes,), np.float32)),), out)

    def any_sinkhorn_targets(self, dtype, logits, samples, prototypes, temperature, maxima, u, v, out, stream):
        factors = (at(maxima, (samples,), np.float32), at(u, (prototypes,), np.float32), at(v, (samples,), np.float32))
        put((emulated.sinkhorn_targets(at(logits, (samples, prototypes), dtype), temperature, *factors),), out)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> EmulatedModule:
    module = EmulatedModule()
    monkeypatch.setattr(torch_cuda.device, "_cuda", module)
    monkeypatch.setattr(torch_cuda.device, "stream_of", lambda tensor: 0)
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


def some_labels(dtype, *, seed=0):
    """Three images of touching cells, as a part of a larger tensor: neither contiguous nor at its memory's start."""
    coarse = np.random.default_rng(seed).integers(0, 7, (3, 5, 6))
    whole = torch.from_numpy(np.pad(np.kron(coarse, np.ones((1, 4, 4), int)), ((1, 0), (2, 1), (3, 2))))
    return whole.to(dtype)[1:, 2:-1, 3:-2]


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize("dtype", [torch.uint16, torch.int32, torch.int64])
@pytest.mark.parametrize("images", [0, slice(0, 0), slice(None)], ids=["one", "none", "batch"])
def test_operators_on_labels_give_what_those_of_the_cpu_do(dtype, images):
    labels = some_labels(dtype)[images]
    mask = labels.to(torch.int32) > 2
    for found, expected in (
        ([torch_cuda.distance_map(labels, True, True, 6)], [torch_ops.distance_map(labels, border_is_background=True)]),
        ([torch_cuda.distance_map(labels, False, False, None)], [torch_ops.distance_map(labels, normalize=False)]),
        (torch_cuda.connected_components(mask, 2), torch_ops.connected_components(mask, connectivity=2)),
        (torch_cuda.relabel(labels, None), torch_ops.relabel(labels)),
        (torch_cuda.remove_small(labels, 33, 9), torch_ops.remove_small(labels, min_size=33)),
    ):
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
@pytest.mark.parametrize("images", [0, slice(None)], ids=["one", "batch"])
def test_operators_on_tiles_give_what_those_of_the_cpu_do(dtype, images):
    generator = torch.Generator().manual_seed(0)
    image = (200 * torch.rand((3, 2, 20, 25), generator=generator)).to(dtype)[images, :, 1:, 2:]
    ys, xs, tile = [-2, 5, 11], [0, 8, 15], 8
    scale, offset = torch.rand((2, 2), generator=generator)
    arguments = (ys, xs, tile, scale, offset, 0.0, 99.0)
    found = torch_cuda.gather_tiles(image, *arguments, torch.float32)
    tiles = torch.ops.dinocell.gather_tiles(image, *arguments)
    assert torch.equal(found, tiles)
    for by_image in (image.shape[:-2], (1, 2)[-image.ndim + 2 :]):
        expanded = (values.expand(by_image) for values in (scale, offset))
        assert torch.equal(torch_cuda.gather_tiles(image, ys, xs, tile, *expanded, 0.0, 99.0, torch.float32), tiles)
    blending = (ys, xs, 3, 0, 19, 23)
    image = torch_cuda.blend_tiles(tiles[..., 0, :, :], *blending)
    torch.testing.assert_close(image, torch.ops.dinocell.blend_tiles(tiles[..., 0, :, :], *blending))
    spreading = (ys, xs, tile, 3, 0, 19, 23)
    torch.testing.assert_close(
        torch_cuda.spread_tiles(image, *spreading), torch.ops.dinocell.spread_tiles(image, *spreading)
    )


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize("prominence", [None, 0.0, 0.1])
def test_a_batch_is_settled_image_by_image(prominence):
    """Open components reach the last row of an image and the first of the next."""
    heights = torch.rand((4, 30, 33), generator=torch.Generator().manual_seed(2))
    heights[::2] = (heights[::2] * 6).round() / 6
    codes, status = torch_cuda.queue_watershed(heights, 0.5, 0.3, prominence)
    assert (status[1] > 0).tolist() == [True, False, True, False]
    assert bool((codes[0, -1] < 0).any())
    labels = torch_cuda.settle_watershed(heights, codes, status)
    for image, alone in zip(heights, labels, strict=True):
        assert torch.equal(alone, torch_ops.watershed(image, peak=0.5, fill=0.3, prominence=prominence))
    assert bool((codes < 0).any())  # what a graph left behind is not changed
    heights[1, 3, 4] = torch.nan
    codes, status = torch_cuda.queue_watershed(heights, 0.5, 0.3, prominence)
    assert status[2].tolist() == [0, 1, 0, 0]
    with pytest.raises(ValueError, match="the distance map holds NaN"):
        torch_cuda.settle_watershed(heights, codes, status)


@pytest.mark.usefixtures("module")
def test_arguments_that_do_not_fit_are_refused_before_a_kernel_reads_past_their_ends():
    labels, image, tiles = some_labels(torch.int32), torch.zeros((2, 9, 9)), torch.zeros((2, 3, 8, 8))
    one, two = torch.ones(1), torch.ones(2)
    cuda, bfloat16, no_kernel = torch_cuda, torch.bfloat16, torch.float16
    for call, message in (
        (lambda: cuda.distance_map(labels, True, False, -1), r"labels of 3 images reach -1; on a GPU"),
        (lambda: cuda.relabel(labels, 1 << 30), r"labels of 3 images reach 1073741824; on a GPU"),
        (
            lambda: cuda.relabel(labels[0, 0], 9),
            r"labels must have 2 axes or, for a batch, more; got shape \(24,",
        ),
        (lambda: cuda.remove_small(labels, -1, 9), r"min_size is a number of pixels .* got -1"),
        (lambda: cuda.connected_components(labels, 4), r"connectivity must be 1 .* got 4"),
        (lambda: cuda.connected_components(image, 1), r"mask must hold booleans or integers, got torch\.float32"),
        (
            lambda: cuda.gather_tiles(image, [0], [0], 4, one, two, 0.0, 1.0, bfloat16),
            r"scale has shape \(1,\), but",
        ),
        (
            lambda: cuda.gather_tiles(image[0], [0], [0], 4, one, one, 0.0, 1.0, bfloat16),
            r"image must be \[c y x\]",
        ),
        (
            lambda: cuda.gather_tiles(image, [0], [0], 4, two, two, 1.0, 0.0, bfloat16),
            r"low must not exceed high",
        ),
        (lambda: cuda.gather_tiles(image, [0], [0], 4, two, two, 0.0, 1.0, no_kernel), r"tiles cannot be"),
        (lambda: cuda.blend_tiles(tiles, [0, 4], [0, 4], 2, 0, 9, 9), r"expected \[2 2 t t\] for 2 ys and 2 xs"),
        (lambda: cuda.blend_tiles(tiles, [0, 4], [0, 4, 8], 5, 0, 9, 9), r"overlap is 5"),
        (
            lambda: cuda.blend_tiles(tiles, [0, 4], [0, 4, 8], 2, 9, 0, 9),
            r"rows \(9, 0\) and width 9 are not an image",
        ),
        (lambda: cuda.blend_tiles(tiles, [0, 4], [0, 4, 8], 2, 0, 20, 9), r"row 12"),
        (
            lambda: cuda.spread_tiles(image, [0], [0], 8, 2, 0, 8, 8),
            r"image has shape \(2, 9, 9\), expected rows",
        ),
        (lambda: cuda.SinkhornMass(one, 0.1), r"logits must be \[sample prototype\], got shape \(1,\)"),
        (lambda: cuda.SinkhornMass(image[0], 0.1).of_samples(two), r"u is \(2,\) on cpu, expected \(9,\) on cpu"),
        (lambda: cuda.SinkhornMass(image[0], 0.1).of_samples(torch.ones(9).double()), r"u is torch\.float64; on"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_functions_for_a_gpu_have_the_arguments_and_defaults_of_the_operators():
    """torch calls them without the last arguments where these equal the defaults."""
    for name in ("distance_map", "connected_components", "relabel", "remove_small", "label_overlap", "watershed",
                 "queue_watershed", "gather_tiles", "blend_tiles", "spread_tiles"):  # fmt: skip
        schema = getattr(torch.ops.dinocell, name).default._schema.arguments
        parameters = inspect.signature(getattr(torch_cuda, name)).parameters.values()
        assert [argument.name for argument in schema] == [parameter.name for parameter in parameters]
        for argument, parameter in zip(schema, parameters, strict=True):
            if argument.has_default_value():
                default = argument.default_value
                given = torch.float32 if name == "gather_tiles" else parameter.default  # a schema has dtypes as numbers
                assert parameter.default is given
                assert name == "gather_tiles" or default == parameter.default
            else:
                assert parameter.default is inspect.Parameter.empty


DISPATCHED = """
import contextlib, sys
import torch
from dinocell_kernels import torch_cuda, torch_ops
sys.path.insert(0, sys.argv[1])
from test_torch_cuda import EmulatedModule

labels = (torch.arange(720).reshape(24, 30) // 60).to(torch.int32)
heights = torch.nn.functional.avg_pool2d(torch.rand((1, 40, 50), generator=torch.Generator().manual_seed(0)), 5, 1)[0]
image, one = torch.rand((1, 20, 20), generator=torch.Generator().manual_seed(1)), torch.ones(1)
tiles = torch.rand((1, 1, 8, 8), generator=torch.Generator().manual_seed(2))

def results():
    leaf = tiles.clone().requires_grad_()
    blended = torch_ops.blend_tiles(leaf, [0], [0], overlap=2, rows=(0, 8), width=8)
    blended.square().sum().backward()
    gathered = torch_ops.gather_tiles(image, [0], [4], tile=8, scale=one, offset=one, low=0.0, high=9.0)
    return [
        torch_ops.distance_map(labels), torch_ops.distance_map(labels, normalize=False),
        torch_ops.distance_map(labels, num_labels=11), *torch_ops.connected_components(labels > 5),
        *torch_ops.relabel(labels), *torch_ops.relabel(labels, num_labels=11),
        *torch_ops.remove_small(labels, min_size=61), *torch_ops.label_overlap(labels, labels.roll(1)),
        torch_ops.watershed(heights), torch_ops.watershed(heights, prominence=0.01),
        torch_ops.settle_watershed(heights, *torch_ops.queue_watershed(heights)),
        gathered, blended.detach(), leaf.grad,
    ]

on_cpu = results()
torch_cuda.device._cuda = EmulatedModule()
torch_cuda.device.stream_of = lambda tensor: 0
torch.cuda.device = lambda device: contextlib.nullcontext()
count = 0
for module in (sys.modules["dinocell_kernels.torch_ops." + name] for name in ("labels", "tiles", "watershed")):
    for name, operator in vars(module).items():
        if name.endswith("_op"):
            operator.register_kernel("cpu")(getattr(torch_cuda, name[1:-3]))
            count += 1
assert count == 10, count
for one, other in zip(results(), on_cpu, strict=True):
    assert one.dtype == other.dtype
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
"""


def test_operators_called_as_torch_calls_those_of_a_gpu_give_what_those_of_the_cpu_do():
    """The functions for a GPU in the place of those of the CPU, in a process of its own."""
    command = [sys.executable, "-c", DISPATCHED, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_why_kernels_do_not_run_on_a_gpu_is_told(monkeypatch):
    def told(driver, capability):
        build = SimpleNamespace(driver_version=lambda: driver, runtime_version=lambda: 13000)
        monkeypatch.setattr(torch_cuda.device, "_cuda", build)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
        torch_cuda.device._why_not.cache_clear()
        gpu = torch.device("cuda", 0)
        reason = torch_cuda.why_not(gpu)
        assert torch_cuda.has_kernels(gpu) == (reason is None)
        torch_cuda.device._why_not.cache_clear()
        return reason

    assert told(13010, (9, 0)) is None
    assert told(14000, (8, 0)) is None
    assert "needs a driver for CUDA 13, and this one is for CUDA 12" in told(12080, (9, 0))
    assert "GPUs of capability 8.0 or newer, and this one has 7.5" in told(13000, (7, 5))


@pytest.mark.skipif(not torch_cuda.has_kernels(), reason="dinocell-kernels was built without CUDA")
@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU the kernels would be given addresses of the CPU")
@pytest.mark.parametrize("dtype", [torch.uint16, torch.int32, torch.int64, torch.float32, torch.bfloat16])
def test_the_compiled_kernels_take_these_arguments_and_name_themselves_where_there_is_no_driver(dtype, monkeypatch):
    monkeypatch.setattr(torch_cuda.device, "stream_of", lambda tensor: 0)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    values = torch.ones((2, 8, 9)).to(dtype)
    calls = [
        lambda: torch_cuda.label_overlap(values, values),
        lambda: torch_cuda.distance_map(values, True, False, 1),
        lambda: torch_cuda.distance_map(values, False, False, 1),
        lambda: torch_cuda.connected_components(values, 1),
        lambda: torch_cuda.relabel(values, 1),
        lambda: torch_cuda.remove_small(values, 2, 1),
    ]
    if dtype.is_floating_point:
        ones, tiles = torch.ones(2), values[:, None, None, :, :8]
        calls = [lambda: torch_cuda.blend_tiles(tiles, [0], [0], 2, 0, 8, 8)]
        calls += [lambda: torch_cuda.spread_tiles(values.float(), [0], [0], 9, 2, 0, 8, 9)]
        calls += [
            lambda: torch_cuda.watershed(values, 0.5, 0.1, None),
            lambda: torch_cuda.watershed(values, 0.5, 0.1, 0.1),
        ]
        calls += [
            lambda pixels=p, out=o: torch_cuda.gather_tiles(values.to(pixels), [0], [0], 4, ones, ones, 0.0, 1.0, out)
            for p in torch_cuda.device.PIXELS
            for o in torch_cuda.device.TILES
        ]
        logits = values[0]
        calls += [lambda: torch_cuda.SinkhornMass(logits, 0.1)]
        mass = torch_cuda.SinkhornMass.__new__(torch_cuda.SinkhornMass)
        mass._logits, mass._temperature, mass.sample_max = logits, 0.1, torch.ones(8)
        calls += [lambda: mass.of_prototypes(torch.ones(8)), lambda: mass.of_samples(torch.ones(9))]
        calls += [lambda: mass.scaled(torch.ones(9), torch.ones(8))]
    for call in calls:
        with pytest.raises(RuntimeError, match=r"([a-z_]+(: .*)?|cudaMemsetAsync) failed to start on"):
            call()
