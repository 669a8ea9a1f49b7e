"""The GPU kernels against the CPU kernels; without a GPU they skip, or fail where FAIL_WITHOUT_CUDA=1 asks for one."""

import os

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the GPU kernels are reached through torch")

import dinocell_kernels  # noqa: E402  # after the skip
from dinocell_kernels import torch_cuda, torch_ops  # noqa: E402


def missing() -> str | None:
    if not torch.cuda.is_available():
        return "no CUDA device here"
    if torch_cuda._cuda is None:
        return "dinocell-kernels was built without CUDA"
    return None


REASON = missing()
pytestmark = pytest.mark.skipif(REASON is not None and os.environ.get("FAIL_WITHOUT_CUDA") != "1", reason=str(REASON))
NUM_IMAGES = int(os.environ.get("DINOCELL_CUDA_IMAGES", "300"))


@pytest.fixture(autouse=True)
def _a_device_is_there() -> None:
    assert REASON is None, REASON


def blobs(rng: np.random.Generator, shape: tuple[int, int], num_labels: int) -> np.ndarray:
    coarse = rng.integers(0, num_labels + 1, (shape[0] // 4 + 1, shape[1] // 4 + 1))
    labels = np.kron(coarse, np.ones((4, 4), int))[: shape[0], : shape[1]]
    return np.where(rng.random(shape) < rng.choice([0.0, 0.02, 0.2]), 0, labels)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.int32, torch.int64])
@pytest.mark.parametrize("largest", [60, 900])
def test_distance_maps_on_the_gpu_have_the_bits_of_the_cpu(dtype: torch.dtype, largest: int) -> None:
    rng = np.random.default_rng(largest)
    for _ in range(NUM_IMAGES if largest < 100 else 10):
        shape = tuple(int(n) for n in rng.integers(1, largest, 2))
        labels = blobs(rng, shape, 40).astype(str(dtype).removeprefix("torch."))
        normalize, border = bool(rng.integers(2)), bool(rng.integers(2))
        on_gpu = torch_ops.distance_map(
            torch.from_numpy(labels).cuda(), normalize=normalize, border_is_background=border
        )
        expected = dinocell_kernels.distance_map(labels, normalize=normalize, border_is_background=border)
        np.testing.assert_array_equal(on_gpu.cpu().numpy(), expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_tiles_on_the_gpu_have_the_bits_of_the_cpu(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(0)
    for _ in range(NUM_IMAGES):
        channels, height, width, tile = (int(n) for n in rng.integers(1, (4, 300, 300, 200)))
        image = (rng.random((channels, height, width)) * 250).astype(str(dtype).removeprefix("torch."))
        ys, xs = (np.sort(rng.integers(-tile, size + tile, rng.integers(1, 5))) for size in (height, width))
        scale, offset = rng.random(channels).astype(np.float32), rng.random(channels).astype(np.float32)
        options = {"tile": tile, "low": 0.5, "high": 100.0}
        on_gpu = torch_ops.gather_tiles(
            torch.from_numpy(image).cuda(),
            ys,
            xs,
            scale=torch.from_numpy(scale).cuda(),
            offset=torch.from_numpy(offset).cuda(),
            **options,
        )
        expected = dinocell_kernels.gather_tiles(image, ys, xs, scale=scale, offset=offset, **options)
        np.testing.assert_array_equal(on_gpu.cpu().numpy(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blended_tiles_on_the_gpu_are_those_of_the_cpu(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(1)
    for _ in range(NUM_IMAGES):
        tile = int(rng.integers(1, 100))
        overlap = int(rng.integers(0, tile // 2 + 1))
        stride = int(rng.integers(max(1, tile // 6), max(1, tile - overlap) + 1))
        height, width = (int(n) for n in rng.integers(1, 500, 2))
        ys, xs = (np.append(np.arange(0, max(0, n - tile), stride), max(0, n - tile)) for n in (height, width))
        tiles = torch.from_numpy(rng.random((len(ys), len(xs), tile, tile), np.float32)).to(dtype)
        rows, columns = min(height, int(ys[-1]) + tile), min(width, int(xs[-1]) + tile)
        on_gpu = torch_ops.blend_tiles(tiles.cuda(), ys, xs, overlap=overlap, rows=(0, rows), width=columns)
        expected = dinocell_kernels.blend_tiles(
            tiles.float().numpy(), ys, xs, overlap=overlap, rows=(0, rows), width=columns
        )
        np.testing.assert_allclose(on_gpu.cpu().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_the_gradient_of_blending_is_that_of_the_cpu() -> None:
    gradients = []
    for device in ("cpu", "cuda"):
        tiles = torch.ones((2, 2, 8, 8), device=device, requires_grad=True)
        image = torch_ops.blend_tiles(tiles, [0, 4], [0, 6], overlap=4, rows=(0, 12), width=14)
        image.square().sum().backward()
        assert tiles.grad is not None
        gradients.append(tiles.grad.cpu())
    torch.testing.assert_close(gradients[1], gradients[0])


def test_kernels_run_on_the_callers_stream_and_in_a_graph() -> None:
    labels = torch.zeros((64, 64), dtype=torch.int32, device="cuda")
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch_ops.distance_map(labels, num_labels=2)
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        result = torch_ops.distance_map(labels, num_labels=2)
    labels[10:20, 10:20] = 1
    labels[10:20, 20:40] = 2
    graph.replay()
    torch.cuda.synchronize()
    np.testing.assert_array_equal(result.cpu().numpy(), dinocell_kernels.distance_map(labels.cpu().numpy()))


def test_types_that_have_no_kernel_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"labels is torch\.int8; on a GPU it must be uint16, int32, int64"):
        torch_ops.distance_map(torch.ones((2, 2), dtype=torch.int8, device="cuda"))


@pytest.mark.parametrize("connectivity", [1, 2])
def test_components_on_the_gpu_are_numbered_as_on_the_cpu(connectivity: int) -> None:
    rng = np.random.default_rng(connectivity)
    for number in range(NUM_IMAGES):
        shape = tuple(int(n) for n in rng.integers(1, 900 if number < 20 else 80, 2))
        mask = rng.random(shape) < rng.choice([0.3, 0.5, 0.6, 0.8, 1.0])
        on_gpu, count = torch_ops.connected_components(torch.from_numpy(mask).cuda(), connectivity=connectivity)
        expected, expected_count = dinocell_kernels.connected_components(mask, connectivity=connectivity)
        assert count == expected_count
        np.testing.assert_array_equal(on_gpu.cpu().numpy(), expected)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.int32, torch.int64])
def test_relabelling_on_the_gpu_is_that_of_the_cpu(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(3)
    for number in range(NUM_IMAGES):
        shape = tuple(int(n) for n in rng.integers(1, 900 if number < 20 else 80, 2))
        labels = (blobs(rng, shape, 60) * 37 % 1000).astype(str(dtype).removeprefix("torch."))
        on_gpu = torch.from_numpy(labels).cuda()
        for result, expected in (
            (torch_ops.relabel(on_gpu), dinocell_kernels.relabel(labels)),
            (torch_ops.remove_small(on_gpu, min_size=12), dinocell_kernels.remove_small(labels, min_size=12)),
        ):
            assert result[1] == expected[1]
            np.testing.assert_array_equal(result[0].cpu().numpy(), expected[0])


@pytest.mark.parametrize("dtype", [torch.uint16, torch.int32, torch.int64])
def test_pairs_on_the_gpu_are_counted_as_on_the_cpu(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(4)
    for number in range(NUM_IMAGES):
        shape = tuple(int(n) for n in rng.integers(1, 2000 if number < 5 else 80, 2))
        truth, predicted = (
            (blobs(rng, shape, 60) * 37 % 1000).astype(str(dtype).removeprefix("torch.")) for _ in range(2)
        )
        on_gpu = torch_ops.label_overlap(torch.from_numpy(truth).cuda(), torch.from_numpy(predicted).cuda())
        expected = dinocell_kernels.label_overlap(truth, predicted)
        for column, name in zip(on_gpu, ("truth", "predicted", "pixels"), strict=True):
            np.testing.assert_array_equal(column.cpu().numpy(), getattr(expected, name))


def test_more_pairs_than_the_first_table_holds_are_counted_on_the_gpu() -> None:
    truth = torch.arange(200_000, dtype=torch.int32, device="cuda").reshape(400, 500)
    columns = torch_ops.label_overlap(truth, truth)
    assert [len(column) for column in columns] == [200_000] * 3
    assert bool((columns[2] == 1).all())


@pytest.mark.parametrize("prominence", [None, 0.1])
@pytest.mark.parametrize("levels", [None, 20])
def test_labels_on_the_gpu_are_those_of_the_cpu(prominence: float | None, levels: int | None) -> None:
    rng = np.random.default_rng(5)
    for number in range(NUM_IMAGES):
        shape = tuple(int(n) for n in rng.integers(1, 900 if number < 20 else 80, 2))
        heights = torch.from_numpy(rng.random(shape, np.float32))
        for _ in range(int(rng.integers(0, 5))):
            heights = (heights + sum(heights.roll(step, axis) for step in (-1, 1) for axis in (0, 1))) / 5
        heights = (heights - heights.min()) / (heights.max() - heights.min()).clamp_min(1e-9)
        heights = heights if levels is None else (heights * levels).round() / levels
        thresholds = {"peak": 0.5, "fill": 0.2, "prominence": prominence}
        on_gpu = torch_ops.watershed(heights.cuda(), **thresholds)
        np.testing.assert_array_equal(on_gpu.cpu().numpy(), torch_ops.watershed(heights, **thresholds).numpy())


def test_nan_in_a_map_on_the_gpu_is_refused() -> None:
    with pytest.raises(ValueError, match="the distance map holds NaN"):
        torch_ops.watershed(torch.full((3, 3), torch.nan, device="cuda"))
