"""Everything that needs a GPU, in one call: build the kernels with CUDA, time them, test them, look for races.

    python tools/check_device.py benchmarks/results/2026-12-01-h200

Run it in the checkout on a machine with a CUDA build of torch, NumPy, pytest, hypothesis, jaxtyping, scikit-build-core,
pybind11, CMake, ninja and nvcc; nothing is fetched, and the environment stays as it is (kernels go to build/device).
The folder gets report.md, times.jsonl and a log for each step, all written as they come about, so that a run that is
cut off leaves what it had. `--budget` is how many seconds all steps have together; what does not fit is said.

Steps: `build`; `registers` from cuobjdump; `times`, alone on the device; then at once `tests` (FAIL_WITHOUT_CUDA=1,
10,000 random images for each kernel against the CPU) and compute-sanitizer's `memcheck`, `racecheck` and `synccheck` on
a few images. `--device cpu` tries the script with the times of the CPU kernels (check_device_times.py).
"""

import argparse
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from check_device_times import add_options  # beside this file

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "build" / "device"
STEPS = ("build", "registers", "times", "tests", "memcheck", "racecheck", "synccheck")
SHARES = {"build": 0.5, "registers": 0.1, "times": 0.4}  # of the budget at most; the other steps take what is left


def times_table(path: Path) -> list[str]:
    """Markdown of what was measured so far; the share is that of the floor in the shorter of the two times."""
    if not path.exists():
        return []
    copy, *rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] or [{}]
    if not copy:
        return []
    lines = [f"A copy moves {copy['gigabytes_per_second']:.0f} GB/s, read and written.", ""]
    lines += ["| kernel | ms a call | ms in a graph | floor, ms | GB/s | share |", "|---|---:|---:|---:|---:|---:|"]
    for row in rows:
        call, graph, floor = (row.get(f"{key}milliseconds") for key in ("", "graph_", "floor_"))
        best = min((t for t in (call, graph) if t is not None), default=None)
        shown = [f"{t:.3f}" if t is not None else "" for t in (call, graph, floor)]
        share = floor / best if best else None
        shown += [f"{share * copy['gigabytes_per_second']:.0f}", f"{100 * share:.0f} %"] if share else ["", ""]
        lines.append(f"| {' | '.join([row['name'], *shown])} |" + (f" {row['error']}" if "error" in row else ""))
    return lines


def registers_table(listing: str, architecture: str) -> list[str]:
    """Markdown of cuobjdump --dump-resource-usage: what each kernel takes; stack and local memory are spills."""
    rows, inside = [], False
    pattern = r"Function (\S+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)"
    for part in re.split(r"(?=^arch = )", listing, flags=re.MULTILINE):
        inside = part.startswith(f"arch = {architecture}")
        rows += re.findall(pattern, part) if inside else []
    names = [name for name, *_ in rows]
    filt = shutil.which("cu++filt") or shutil.which("c++filt")
    if filt and names:
        names = subprocess.run([filt], input="\n".join(names), text=True, capture_output=True).stdout.splitlines()
    short = [re.sub(r"^void |dinocell::|device::|run_on_device|\(.*$", "", name).strip() for name in names]
    lines = ["| kernel | registers | stack | shared | local |", "|---|---:|---:|---:|---:|"]
    lines += sorted(f"| `{name}` | {' | '.join(row[1:])} |" for name, row in zip(short, rows, strict=True))
    return (
        lines
        if rows
        else [f"cuobjdump lists no kernel for {architecture}.", "", "```", *listing.splitlines()[:20], "```"]
    )


@dataclass
class Step:
    """A command that runs, and its log."""

    name: str
    command: list[str]
    log: Path
    process: subprocess.Popen | None
    verdict: str = ""

    @classmethod
    def start(cls, name: str, command: list[str], folder: Path, **environment: str) -> "Step":
        log = folder / f"{name}.log"
        if shutil.which(command[0]) is None:
            return cls(name, command, log, None, f"**not run**: there is no {command[0]} on the PATH")
        paths = [
            str(SITE),
            *(str(path) for path in sorted(ROOT.glob("packages/*/src"))),
            os.environ.get("PYTHONPATH", ""),
        ]
        given = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1", **environment}
        with log.open("w", encoding="utf-8") as file:
            # a group of its own, so that what the command starts ends with it
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **given},
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
                process_group=0,
            )
        return cls(name, command, log, process)

    def finish(self, deadline: float) -> "Step":
        """Waits, until the deadline at most."""
        if self.process is None:
            return self
        try:
            code = self.process.wait(max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()
            self.verdict = "**cut off**: its time was used up"
        else:
            self.verdict = "passed" if code == 0 else f"**failed** with exit code {code}"
        return self

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.verdict = "**stopped**"

    def section(self) -> list[str]:
        tail = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:] if self.log.exists() else []
        return [
            f"## step {self.name}",
            "",
            f"`{' '.join(self.command)}`: {self.verdict or 'running'}.",
            "",
            "```",
            *tail,
            "```",
            "",
        ]


def commands(options: argparse.Namespace) -> dict[str, tuple[list[str], dict[str, str]]]:
    """The command of each step, and what it adds to the environment."""
    python = sys.executable
    pip = [python, "-m", "pip", "install", "--no-build-isolation", "--no-deps", "--no-index", "--upgrade"]
    pip += [f"--target={SITE}", f"--config-settings=cmake.define.DINOCELL_CUDA={options.cuda}"]
    pip += [f"--config-settings=build-dir={SITE.with_name('device-objects')}", "./csrc"]
    # The workspace's options ask for plugins that a bare machine lacks.
    pytest = [python, "-m", "pytest", "-q", "--import-mode=importlib", "-o", "addopts=", "-o", "filterwarnings=default"]
    pytest += ["-p", "no:cacheprovider", "csrc/tests/test_cuda.py"]
    at_once = ["-n", str(min(8, os.cpu_count() or 1))] if importlib.util.find_spec("xdist") else []
    few = {"FAIL_WITHOUT_CUDA": "1", "DINOCELL_CUDA_IMAGES": str(min(20, options.images))}
    # Caching would hide accesses past the end of an array inside the allocator's blocks; graphs need it.
    uncached = {**few, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    sanitizer = ["compute-sanitizer", "--error-exitcode=1", "--print-limit=20"]
    library = next(SITE.glob("dinocell_kernels/_cuda*.so"), Path("_cuda.so"))
    script = Path(__file__).with_name("check_device_times.py")
    times = [python, str(script), str(options.folder / "times.jsonl"), f"--device={options.device}"]
    times += ["--sides", *map(str, options.sides), f"--prototypes={options.prototypes}", f"--repeats={options.repeats}"]
    return {
        "build": (pip, {}),
        "times": (times, {}),
        "registers": (["cuobjdump", "--dump-resource-usage", str(library)], {}),
        "tests": (pytest + at_once, {"FAIL_WITHOUT_CUDA": "1", "DINOCELL_CUDA_IMAGES": str(options.images)}),
        "memcheck": ([*sanitizer, "--tool=memcheck", *pytest, "-k", "not graph"], uncached),
        "racecheck": ([*sanitizer, "--tool=racecheck", *pytest], few),
        "synccheck": ([*sanitizer, "--tool=synccheck", *pytest], few),
    }


def architecture(device: torch.device) -> str:
    return "sm_{}{}".format(*torch.cuda.get_device_capability(device)) if device.type == "cuda" else "sm_90"


def device_lines(device: torch.device) -> list[str]:
    if device.type != "cuda":
        return ["# Kernels on a CPU", "", f"torch {torch.__version__}."]
    properties = torch.cuda.get_device_properties(device)
    query = ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm,clocks.max.memory", "--format=csv,noheader"]
    driver = subprocess.run(query, text=True, capture_output=True).stdout.strip() if shutil.which(query[0]) else "?"
    return [
        f"# Kernels on {properties.name}",
        "",
        f"torch {torch.__version__}, {properties.multi_processor_count} multiprocessors, L2 "
        f"{properties.L2_cache_size >> 20} MiB; driver and largest clocks: {driver}.",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for the report, the times and the logs")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--budget", type=float, default=560, help="seconds for all steps together")
    parser.add_argument(
        "--cuda", choices=["ON", "OFF"], default="ON", help="OFF builds without nvcc, to try the script"
    )
    add_options(parser)
    parser.add_argument("--images", type=int, default=10_000, help="random images for each test of the tests")
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    options.folder.mkdir(parents=True, exist_ok=True)
    return check(options)


def check(options: argparse.Namespace) -> int:
    """All steps, and the report anew after each."""
    device, deadline = torch.device(options.device), time.monotonic() + options.budget
    if device.type == "cuda" and not torch.cuda.is_available():
        print(f"torch {torch.__version__} sees no GPU; run this where one is, or try it with --device cpu")
        return 1
    head, steps, registers = device_lines(device), [], []

    def report() -> None:
        sections = [line for step in steps for line in step.section()]
        kernels = ["## registers", "", *registers, ""] if registers else []
        text = [*head, "", "## times", "", *times_table(options.folder / "times.jsonl"), "", *kernels, *sections]
        written = options.folder / "report.md.part"
        written.write_text("\n".join(text), encoding="utf-8")
        written.replace(options.folder / "report.md")

    def start(name: str) -> Step | None:
        if name not in options.steps:
            return None
        command, environment = commands(options)[name]  # the library is where it is only after the build
        print(f"{time.monotonic() - deadline + options.budget:4.0f} s: {name}", flush=True)
        steps.append(Step.start(name, command, options.folder, **environment))
        report()
        return steps[-1]

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        for names in (("build",), ("registers",), ("times",), ("tests", "memcheck", "racecheck", "synccheck")):
            running = [step for step in map(start, names) if step is not None]
            until = min(deadline, time.monotonic() + SHARES.get(names[0], 1) * options.budget)
            for step in running:
                step.finish(until)
                if step.name == "registers" and step.verdict == "passed":
                    registers = registers_table(step.log.read_text(encoding="utf-8"), architecture(device))
                    steps.remove(step)
                report()
            if names == ("build",) and any(step.verdict != "passed" for step in running):
                break
    finally:  # also when this is told to stop
        for step in steps:
            step.kill()
        report()
    failed = [step.name for step in steps if step.verdict != "passed"]
    print(f"wrote {options.folder / 'report.md'}" + (f"; not passed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
