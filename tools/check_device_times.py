"""Times of every kernel on a GPU, one line of JSON each, as soon as it is measured; tools/check_device.py runs this.

    python tools/check_device_times.py times.jsonl

Times are medians over inputs that are rotated past the L2 cache, of calls (CUDA events) and of replays of a CUDA graph
of the call. A kernel's floor is the bytes it must read and write at the bandwidth of a copy, measured in the same run.
With `--device cpu` they are those of the CPU kernels.
"""

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

REPEATS = 30
TILE, OVERLAP = 256, 64


@dataclass(frozen=True)
class Case:
    """A kernel on an image: `run(inputs)` for inputs of `make(seed)`, and the bytes it can not do without."""

    name: str
    make: Callable[[int], tuple[torch.Tensor, ...]]
    run: Callable[..., object]
    floor_bytes: int
    capturable: bool = True


@functools.lru_cache(maxsize=32)
def some_labels(side: int, seed: int) -> np.ndarray:
    """Touching cells about 27 pixels wide."""
    rng = np.random.default_rng(seed)
    cells = -(-side // 27)
    numbers = 1 + rng.permutation(cells * cells).astype(np.int32).reshape(cells, cells)
    labels = np.kron(numbers, np.ones((27, 27), np.int32))[:side, :side]
    from_center = np.arange(side, dtype=np.int32) % 27 - 13
    return np.where(from_center[:, None] ** 2 + from_center**2 < 190, labels, 0)


@functools.lru_cache(maxsize=32)
def some_map(side: int, seed: int) -> torch.Tensor:
    """The distance map of such cells with smooth noise."""
    from dinocell_kernels import distance_map

    exact = torch.from_numpy(distance_map(some_labels(side, seed)))
    noise = torch.randn((side, side), generator=torch.Generator().manual_seed(seed))[None, None]
    smooth = torch.nn.functional.avg_pool2d(noise, 5, stride=1, padding=2)[0, 0]
    return exact + 0.1 * smooth


def cases(side: int, device: torch.device) -> list[Case]:
    """Every kernel on images at one size: one, or up to 2048 pixels a batch of as many as make 4096 x 4096."""
    from dinocell_kernels import torch_ops  # not before it has been built

    num_images = max(1, 4096 // side) ** 2 if side <= 512 else 1
    pixels = num_images * side * side
    starts = [*range(0, side - TILE, TILE - OVERLAP), side - TILE]
    in_tiles = num_images * len(starts) ** 2 * TILE**2
    one, zero = torch.ones(1, device=device), torch.zeros(1, device=device)
    largest = side * side // 700 + side
    shape = f"{num_images} x {side} x {side}" if num_images > 1 else f"{side} x {side}"

    def batch(image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        image = image.to(device)
        return (image.expand(num_images, *image.shape).contiguous() if num_images > 1 else image,)

    def labels(seed: int) -> tuple[torch.Tensor, ...]:
        return batch(torch.from_numpy(some_labels(side, seed)))

    def heights(seed: int) -> tuple[torch.Tensor, ...]:
        return batch(some_map(side, seed))

    def image(seed: int) -> tuple[torch.Tensor, ...]:
        random = torch.Generator().manual_seed(seed)
        return batch(torch.randint(0, 255, (1, side, side), generator=random, dtype=torch.uint8))

    def tiles(dtype: torch.dtype) -> Callable[[int], tuple[torch.Tensor, ...]]:
        return lambda seed: batch(torch.rand((len(starts), len(starts), TILE, TILE), device=device).to(dtype))

    def gather(dtype: torch.dtype) -> Callable[..., object]:
        options = {"tile": TILE, "scale": one, "offset": zero, "low": 0.0, "high": 9.0, "dtype": dtype}
        return lambda pixels: torch_ops.gather_tiles(pixels, starts, starts, **options)

    def blend(tiles: torch.Tensor) -> object:
        return torch_ops.blend_tiles(tiles, starts, starts, overlap=OVERLAP, rows=(0, side), width=side)

    prominent = {"peak": 0.3, "fill": 0.12, "prominence": 0.15}
    float32, bfloat16 = torch.float32, torch.bfloat16
    listed = [
        Case("gather_tiles, uint8 to float32", image, gather(float32), pixels + 4 * in_tiles),
        Case("gather_tiles, uint8 to bfloat16", image, gather(bfloat16), pixels + 2 * in_tiles),
        Case("blend_tiles, float32", tiles(float32), blend, 4 * in_tiles + 4 * pixels),
        Case("blend_tiles, bfloat16", tiles(bfloat16), blend, 2 * in_tiles + 4 * pixels),
        Case("distance_map", labels, lambda x: torch_ops.distance_map(x, num_labels=largest), 8 * pixels),
        Case("connected_components", labels, torch_ops.connected_components, 8 * pixels),
        Case("relabel", labels, lambda x: torch_ops.relabel(x, num_labels=largest), 12 * pixels),
        Case("remove_small", labels, lambda x: torch_ops.remove_small(x, min_size=50, num_labels=largest), 12 * pixels),
        Case("label_overlap", labels, lambda x: torch_ops.label_overlap(x, x), 8 * pixels, capturable=False),
        Case("queue_watershed, components above peak", heights, torch_ops.queue_watershed, 8 * pixels),
        Case(
            "queue_watershed, prominent maxima",
            heights,
            lambda x: torch_ops.queue_watershed(x, **prominent),
            8 * pixels,
        ),
        Case(
            "watershed, prominent maxima",
            heights,
            lambda x: torch_ops.watershed(x, **prominent),
            8 * pixels,
            capturable=False,
        ),
    ]
    return [Case(f"{case.name}, {shape}", case.make, case.run, case.floor_bytes, case.capturable) for case in listed]


def sinkhorn_cases(prototypes: int, device: torch.device) -> list[Case]:
    from dinocell_kernels.torch_cuda import has_sinkhorn
    from dinocell_ssl import DenseMass, sinkhorn

    def logits(dtype: torch.dtype) -> Callable[[int], tuple[torch.Tensor, ...]]:
        random = torch.Generator()
        return lambda seed: (
            (0.3 * torch.randn((2048, prototypes), generator=random.manual_seed(seed))).to(device, dtype),
        )

    def plain(x: torch.Tensor) -> object:
        mass = DenseMass(x, 0.07)
        u, v = torch.ones(x.shape[1], device=device), torch.ones(x.shape[0], device=device)
        for _ in range(3):
            u, v = 1 / mass.of_prototypes(v), 1 / mass.of_samples(u)
        return mass.scaled(u, v)

    found = []
    for dtype, bytes_each in ((torch.float32, 4), (torch.bfloat16, 2)):
        name = "kernels" if has_sinkhorn(torch.zeros((1, 1), device=device, dtype=dtype)) else "the matrix stored"
        shape = f"2048 x {prototypes}, {str(dtype).removeprefix('torch.')}"
        floor = (8 * bytes_each + 4) * 2048 * prototypes  # the logits at each of eight looks, the targets once
        found.append(Case(f"sinkhorn, {shape}, {name}", logits(dtype), lambda x: sinkhorn(x, 0.07), floor, False))
        found.append(Case(f"sinkhorn, {shape}, plain torch", logits(dtype), plain, floor, False))
    return found


def median_milliseconds(run: Callable[..., object], inputs: Sequence[tuple[torch.Tensor, ...]], repeats: int) -> float:
    """Of single calls, each on the next of the inputs; the first round is not counted."""
    for arrays in inputs:
        run(*arrays)
    times = []
    for number in range(repeats):
        arrays = inputs[number % len(inputs)]
        if arrays[0].is_cuda:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run(*arrays)
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end))
        else:
            before = time.perf_counter()
            run(*arrays)
            times.append(1000 * (time.perf_counter() - before))
    return statistics.median(times)


def graph_milliseconds(run: Callable[..., object], inputs: Sequence[tuple[torch.Tensor, ...]], repeats: int) -> float:
    """The same of replays of one CUDA graph for each input, in which a call's launches cost nothing."""
    graphs, results = [], []
    for arrays in inputs:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results.append(run(*arrays))  # a graph writes where its results lie
        graphs.append(graph)
    return median_milliseconds(
        lambda _, graph: graph.replay(), [(x[0], graph) for x, graph in zip(inputs, graphs, strict=True)], repeats
    )


def copy_bandwidth(device: torch.device, num_bytes: int, repeats: int) -> float:
    """Bytes per millisecond of a large copy, read and written ones."""
    source = torch.ones(num_bytes // 4, device=device)
    target = torch.empty_like(source)
    return 2 * num_bytes / median_milliseconds(lambda x: target.copy_(x), [(source,)], repeats)


def timings(device: torch.device, sides: Sequence[int], prototypes: int, repeats: int) -> Iterator[dict[str, object]]:
    """A row for the copy, then one for each kernel as soon as it is measured; one that fails says so in its row."""
    on_gpu = device.type == "cuda"
    bandwidth = copy_bandwidth(device, 1 << 30 if on_gpu else 1 << 20, repeats)
    yield {"name": "copy", "gigabytes_per_second": bandwidth / 1e6}
    cache = torch.cuda.get_device_properties(device).L2_cache_size if on_gpu else 0
    for listed in (*(functools.partial(cases, side) for side in sides), functools.partial(sinkhorn_cases, prototypes)):
        for case in listed(device):
            row: dict[str, object] = {"name": case.name, "floor_milliseconds": case.floor_bytes / bandwidth}
            try:
                first = case.make(0)
                copies = max(1, min(16, 2 * cache // max(1, sum(x.nbytes for x in first)) + 1))
                inputs = [first] + [case.make(seed) for seed in range(1, copies)]
                row["milliseconds"] = median_milliseconds(case.run, inputs, repeats)
                if on_gpu and case.capturable:
                    row["graph_milliseconds"] = graph_milliseconds(case.run, inputs, repeats)
            except Exception as error:  # noqa: BLE001  # one kernel that fails must not cost the times of the others
                row["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
            yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="file to write")
    add_options(parser)
    options = parser.parse_args()
    with options.output.open("w", encoding="utf-8") as file:
        for row in timings(torch.device(options.device), options.sides, options.prototypes, options.repeats):
            print(json.dumps(row), file=file, flush=True)
            print(row, flush=True)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sides", nargs="+", type=int, default=[512, 2048, 8192], help=f"at least {TILE}")
    parser.add_argument("--prototypes", type=int, default=65_536)
    parser.add_argument("--repeats", type=int, default=REPEATS)


if __name__ == "__main__":
    main()
