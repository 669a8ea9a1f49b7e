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
    if not torch_cuda.has_kernels():
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


def some_images() -> dict[str, torch.Tensor]:
    """Three images of each kind, as parts of larger tensors: neither contiguous nor at the start of their memory."""
    rng = np.random.default_rng(6)
    heights = torch.from_numpy(rng.random((4, 70, 90), np.float32))
    heights = (heights + sum(heights.roll(step, axis) for step in (-1, 1) for axis in (1, 2))) / 5
    labels = torch.from_numpy(np.stack([blobs(rng, (70, 90), 40) for _ in range(4)]).astype(np.int32))
    pixels = torch.from_numpy(rng.integers(0, 60_000, (4, 2, 70, 90)).astype(np.uint16))
    tiles = torch.from_numpy(rng.random((4, 2, 3, 32, 32), np.float32))
    images = {"heights": heights, "labels": labels, "pixels": pixels, "tiles": tiles}
    return {name: (image[1:, :, :, :] if name == "tiles" else image[1:, ..., 3:, 5:]) for name, image in images.items()}


STARTS = {"ys": [-3, 20], "xs": [0, 20, 40]}


def capturable(on: dict[str, torch.Tensor], scale: torch.Tensor) -> dict[str, object]:
    """What every operator that does not wait makes of the images."""
    thresholds = {"peak": 0.55, "fill": 0.4}
    gathering = {"tile": 32, "scale": scale, "offset": scale, "low": 0.0, "high": 1e4}
    blending = {"overlap": 8, "rows": (0, 50), "width": 70}
    return {
        "distance_map": torch_ops.distance_map(on["labels"], num_labels=40),
        "distance_map, plain": torch_ops.distance_map(on["labels"], normalize=False),
        "connected_components": torch_ops.connected_components(on["labels"] > 20, connectivity=2),
        "relabel": torch_ops.relabel(on["labels"], num_labels=40),
        "remove_small": torch_ops.remove_small(on["labels"], min_size=40, num_labels=40),
        "queue_watershed": torch_ops.queue_watershed(on["heights"], **thresholds),
        "queue_watershed, prominence": torch_ops.queue_watershed(on["heights"], **thresholds, prominence=0.01),
        "gather_tiles": torch_ops.gather_tiles(on["pixels"], **STARTS, **gathering),
        "gather_tiles, bfloat16": torch_ops.gather_tiles(on["pixels"], **STARTS, **gathering, dtype=torch.bfloat16),
        "blend_tiles": torch_ops.blend_tiles(on["tiles"], **STARTS, **blending),
        "spread_tiles": torch.ops.dinocell.spread_tiles(
            on["heights"][:, :50, :70], STARTS["ys"], STARTS["xs"], 32, 8, 0, 50, 70
        ),
    }


def assert_same(found: dict[str, object], expected: dict[str, object]) -> None:
    for name, results in expected.items():
        pairs = zip(*((x if isinstance(x, tuple) else (x,)) for x in (found[name], results)), strict=True)
        for result, one in pairs:
            exact = not name.startswith(("blend", "spread"))
            tolerance = {"rtol": 0, "atol": 0} if exact else {"rtol": 1e-5, "atol": 1e-6}
            torch.testing.assert_close(result.cpu(), one, **tolerance, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("device", range(max(1, torch.cuda.device_count())))
def test_batches_on_every_gpu_give_what_the_cpu_does(device: int) -> None:
    """The current device stays the first: kernels go where their tensors are."""
    images, scale = some_images(), torch.tensor([0.3, 0.7])
    on_gpu = {name: image.to(f"cuda:{device}") for name, image in images.items()}
    on_gpu["labels"] = images["labels"].to(torch.int64).to(f"cuda:{device}")
    found = capturable(on_gpu, scale.to(f"cuda:{device}"))
    assert_same(found, capturable(images, scale))
    maps = on_gpu["heights"].to(torch.bfloat16)
    labels = torch_ops.watershed(maps, peak=0.55, fill=0.4)
    assert torch.equal(labels.cpu(), torch_ops.watershed(maps.cpu(), peak=0.55, fill=0.4))


def test_all_that_does_not_wait_runs_on_the_callers_stream_and_in_a_graph() -> None:
    images, scale = some_images(), torch.tensor([0.3, 0.7])
    on_gpu, scale_on_gpu = (
        {name: torch.zeros_like(image, device="cuda") for name, image in images.items()},
        scale.cuda(),
    )
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        capturable(on_gpu, scale_on_gpu)
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        results = capturable(on_gpu, scale_on_gpu)
    for name, image in images.items():
        on_gpu[name].copy_(image)
    graph.replay()
    torch.cuda.synchronize()
    assert_same(results, capturable(images, scale))
    labels = torch_ops.settle_watershed(on_gpu["heights"], *results["queue_watershed"])
    assert torch.equal(labels.cpu(), torch_ops.watershed(images["heights"], peak=0.55, fill=0.4))


def test_what_does_not_wait_does_not_even_once() -> None:
    on_gpu = {name: image.cuda() for name, image in some_images().items()}
    scale = torch.tensor([0.3, 0.7]).cuda()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        capturable(on_gpu, scale)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sums_of_sinkhorn_on_the_gpu_are_those_of_the_matrix(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(8)
    for number in range(max(4, NUM_IMAGES // 10)):
        shape = tuple(int(n) for n in rng.integers(1, 3000 if number < 3 else 300, 2))
        logits = torch.from_numpy(rng.normal(0, 0.3, shape)).to("cuda", dtype)
        u, v = (torch.from_numpy(rng.random(n, np.float32)).cuda() for n in (shape[1], shape[0]))
        mass = torch_cuda.SinkhornMass(logits, 0.1)
        scaled = logits.double() / np.float32(0.1)
        matrix = (scaled - scaled.amax(dim=1, keepdim=True)).exp()
        for found, expected in (
            (mass.sample_max, scaled.amax(dim=1)),
            (mass.of_prototypes(v), v.double() @ matrix),
            (mass.of_samples(u), matrix @ u.double()),
            (mass.scaled(u, v), v.double()[:, None] * matrix * u.double()),
        ):
            torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-7)


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
