"""Everything that needs a GPU, in one call: build the kernels with CUDA, test them, look for races, time them.

    python tools/check_device.py result.md

Run it in the checkout, in an environment with a CUDA build of torch and the test requirements, with nvcc and
compute-sanitizer on the PATH. Times are medians of CUDA events over inputs that are rotated past the L2 cache; a
kernel's floor is the bytes it must read and write at the bandwidth of a copy, measured in the same run. `--steps`
chooses some of the steps. With `--device cpu` the times are those of the CPU kernels, to try the script.
"""

import argparse
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
STEPS = ("build", "tests", "memcheck", "racecheck", "registers", "times")
REPEATS = 30
TILE, OVERLAP = 256, 64


@dataclass(frozen=True)
class Case:
    """A kernel on an image: `run(inputs)` for inputs of `make(seed)`, and the bytes it can not do without."""

    name: str
    make: Callable[[int], tuple[torch.Tensor, ...]]
    run: Callable[..., object]
    floor_bytes: int


@dataclass(frozen=True)
class Timing:
    name: str
    milliseconds: float
    floor_milliseconds: float


def some_labels(side: int, seed: int) -> np.ndarray:
    """Touching cells about 27 pixels wide."""
    rng = np.random.default_rng(seed)
    cells = -(-side // 27)
    numbers = 1 + rng.permutation(cells * cells).reshape(cells, cells)
    labels = np.kron(numbers, np.ones((27, 27), np.int64))[:side, :side]
    ys, xs = np.indices((side, side)) % 27 - 13
    return np.where(ys**2 + xs**2 < 190, labels, 0).astype(np.int32)


def some_map(side: int, seed: int) -> torch.Tensor:
    """The distance map of such cells with smooth noise."""
    from dinocell_kernels import distance_map

    exact = torch.from_numpy(distance_map(some_labels(side, seed)))
    noise = torch.randn((side, side), generator=torch.Generator().manual_seed(seed))[None, None]
    smooth = torch.nn.functional.avg_pool2d(noise, 5, stride=1, padding=2)[0, 0]
    return exact + 0.1 * smooth


def cases(side: int, device: torch.device, *, prototypes: int) -> list[Case]:
    """Every kernel at one size of image."""
    from dinocell_kernels import torch_ops  # not before it has been built

    pixels = side * side
    starts = [*range(0, side - TILE, TILE - OVERLAP), side - TILE]
    in_tiles = len(starts) ** 2 * TILE**2
    one, zero = torch.ones(1, device=device), torch.zeros(1, device=device)

    def labels(seed: int) -> tuple[torch.Tensor, ...]:
        return (torch.from_numpy(some_labels(side, seed)).to(device),)

    def heights(seed: int) -> tuple[torch.Tensor, ...]:
        return (some_map(side, seed).to(device),)

    def image(seed: int) -> tuple[torch.Tensor, ...]:
        random = torch.Generator().manual_seed(seed)
        return (torch.randint(0, 255, (1, side, side), generator=random, dtype=torch.uint8).to(device),)

    def tiles(seed: int) -> tuple[torch.Tensor, ...]:
        return (torch.rand((len(starts), len(starts), TILE, TILE), device=device),)

    def gather(pixels: torch.Tensor) -> object:
        return torch_ops.gather_tiles(pixels, starts, starts, tile=TILE, scale=one, offset=zero, low=0.0, high=9.0)

    def blend(tiles: torch.Tensor) -> object:
        return torch_ops.blend_tiles(tiles, starts, starts, overlap=OVERLAP, rows=(0, side), width=side)

    listed = [
        Case("gather_tiles, uint8 to float32", image, gather, pixels + 4 * in_tiles),
        Case("blend_tiles, float32", tiles, blend, 4 * in_tiles + 4 * pixels),
        Case("distance_map", labels, lambda x: torch_ops.distance_map(x, num_labels=pixels // 700 + side), 8 * pixels),
        Case("connected_components", labels, torch_ops.connected_components, 8 * pixels),
        Case("relabel", labels, lambda x: torch_ops.relabel(x, num_labels=pixels // 700 + side), 12 * pixels),
        Case("label_overlap", labels, lambda x: torch_ops.label_overlap(x, x), 8 * pixels),
        Case("watershed, components above peak", heights, torch_ops.watershed, 8 * pixels),
        Case(
            "watershed, prominent maxima",
            heights,
            lambda x: torch_ops.watershed(x, peak=0.3, fill=0.12, prominence=0.15),
            8 * pixels,
        ),
    ]
    return listed + _sinkhorn_cases(device, prototypes)


def _sinkhorn_cases(device: torch.device, prototypes: int) -> list[Case]:
    from dinocell_ssl.sinkhorn import DenseMass, mass_of, sinkhorn

    def logits(seed: int) -> tuple[torch.Tensor, ...]:
        return (0.3 * torch.randn((2048, prototypes), generator=torch.Generator().manual_seed(seed)).to(device),)

    def plain(x: torch.Tensor) -> object:
        mass = DenseMass(x, 0.07)
        u, v = torch.ones(x.shape[1], device=device), torch.ones(x.shape[0], device=device)
        for _ in range(3):
            u, v = 1 / mass.of_prototypes(v), 1 / mass.of_samples(u)
        return mass.scaled(u, v)

    name = type(mass_of(torch.zeros((1, 1), device=device), 1.0)).__name__
    size = 4 * 2048 * prototypes
    return [
        Case(f"sinkhorn, 2048 x {prototypes}, {name}", logits, lambda x: sinkhorn(x, 0.07), 9 * size),
        Case(f"sinkhorn, 2048 x {prototypes}, plain torch", logits, plain, 9 * size),
    ]


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


def copy_bandwidth(device: torch.device, num_bytes: int, repeats: int) -> float:
    """Bytes per millisecond of a large copy, read and written ones."""
    source = torch.ones(num_bytes // 4, device=device)
    target = torch.empty_like(source)
    return 2 * num_bytes / median_milliseconds(lambda x: target.copy_(x), [(source,)], repeats)


def times(device: torch.device, sides: Sequence[int], *, prototypes: int, repeats: int) -> tuple[float, list[Timing]]:
    """The bandwidth of a copy in GB/s, and every kernel beside its floor."""
    on_gpu = device.type == "cuda"
    bandwidth = copy_bandwidth(device, 1 << 30 if on_gpu else 1 << 20, repeats)
    cache = torch.cuda.get_device_properties(device).L2_cache_size if on_gpu else 0
    timings = []
    for side in sides:
        for case in cases(side, device, prototypes=prototypes):
            first = case.make(0)
            copies = max(1, min(16, 2 * cache // max(1, sum(x.nbytes for x in first)) + 1))
            inputs = [first] + [case.make(seed) for seed in range(1, copies)]
            name = case.name if case.name.startswith("sinkhorn") else f"{case.name}, {side} x {side}"
            if any(timing.name == name for timing in timings):
                continue
            taken = median_milliseconds(case.run, inputs, repeats)
            timings.append(Timing(name, taken, case.floor_bytes / bandwidth))
    return bandwidth / 1e6, timings


def table(timings: Sequence[Timing]) -> list[str]:
    """Markdown; the share says how much of the time the compulsory bytes alone would take."""
    rows = [
        f"| {t.name} | {t.milliseconds:.3f} | {t.floor_milliseconds:.3f} | "
        f"{100 * t.floor_milliseconds / t.milliseconds:.0f} % |"
        for t in timings
    ]
    return ["| kernel | ms | floor, ms | share |", "|---|---:|---:|---:|", *rows]


def commands(images: int) -> dict[str, tuple[list[str], dict[str, str]]]:
    """The command of each step that is one, and what it adds to the environment."""
    python = sys.executable
    define = "cmake.define.DINOCELL_CUDA=ON"
    pip = [python, "-m", "pip", "install", "--no-build-isolation", "--no-deps", f"--config-settings={define}", "./csrc"]
    tests = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "csrc/tests/test_cuda.py"]
    few = {"FAIL_WITHOUT_CUDA": "1", "DINOCELL_CUDA_IMAGES": "20"}
    # Caching would hide accesses past the end of an array inside the allocator's blocks.
    uncached = {**few, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    sanitizer = ["compute-sanitizer", "--error-exitcode=1"]
    package = importlib.util.find_spec("dinocell_kernels")
    folders = (package.submodule_search_locations or []) if package else []
    library = str(next((found for folder in folders for found in Path(folder).glob("_cuda*.so")), "_cuda.so"))
    return {
        "build": (pip, {}),
        "tests": (tests, {"FAIL_WITHOUT_CUDA": "1", "DINOCELL_CUDA_IMAGES": str(images)}),
        "memcheck": ([*sanitizer, "--tool=memcheck", *tests], uncached),
        "racecheck": ([*sanitizer, "--tool=racecheck", *tests], few),
        "registers": (["cuobjdump", "--dump-resource-usage", library], {}),
    }


def run_step(name: str, command: Sequence[str], environment: dict[str, str]) -> tuple[bool, list[str]]:
    """Whether a command went well, and a section about it."""
    title = f"## {name}"
    if shutil.which(command[0]) is None:
        return False, [title, "", f"**Not run:** there is no {command[0]} on the PATH.", ""]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    shown = done.stdout.strip().splitlines()
    shown = shown if name == "registers" else shown[-15:]
    verdict = "passed" if done.returncode == 0 else f"**failed** with exit code {done.returncode}"
    return done.returncode == 0, [title, "", f"`{' '.join(command)}` {verdict}.", "", "```", *shown, "```", ""]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="Markdown file to write")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sides", nargs="+", type=int, default=[2048, 8192], help=f"at least {TILE}")
    parser.add_argument("--prototypes", type=int, default=65_536)
    parser.add_argument("--images", type=int, default=10_000, help="random images for each test of the tests")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print(f"torch {torch.__version__} sees no GPU; run this where one is, or try it with --device cpu")
        return 1
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    lines = [f"# Kernels on {name}", "", f"torch {torch.__version__}.", ""]
    failed = []
    for step in STEPS[:-1]:
        if step in options.steps:
            good, section = run_step(step, *commands(options.images)[step])
            lines += section
            failed += [] if good else [step]
    if "times" in options.steps and "build" not in failed:
        from dinocell_kernels import build_info

        bandwidth, timings = times(device, options.sides, prototypes=options.prototypes, repeats=options.repeats)
        lines += [
            "## times",
            "",
            f"Kernels: {build_info()['cuda']}.",
            f"A copy moves {bandwidth:.0f} GB/s, read and written.",
            "",
            *table(timings),
            "",
        ]
    options.output.write_text("\n".join(lines), encoding="utf-8")
    print(f"wrote {options.output}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
