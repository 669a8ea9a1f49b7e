"""The command `dinocell doctor`: what is installed, what works, and what to type if something does not."""

import json
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import typer

OURS = (
    "dinocell-cli",
    "dinocell-seg",
    "dinocell-ssl",
    "dinocell-core",
    "dinocell-eval",
    "dinocell-io",
    "dinocell-kernels",
)
NEEDED = ("torch", "numpy", "scipy", "scikit-image", "opencv-python-headless", "tifffile")
BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")  # x86 and Arm


@dataclass(frozen=True)
class Finding:
    """One thing that was checked. `fix` is what to do about it, empty if nothing is needed."""

    subject: str
    status: Literal["ok", "note", "broken"]
    found: str
    fix: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON, for bug reports.")] = False,
    parity: Annotated[
        Path | None,
        typer.Option(help="Segment this image on the CPU and on the GPU instead, and compare.", metavar="IMAGE"),
    ] = None,
) -> None:
    """Check this installation: versions, native kernels, processor, devices and the built-in weights.

    The exit code is 1 if something is broken, or if the CPU and the GPU disagree.
    """
    if parity is not None:
        _parity(parity)
        return
    findings = examine()
    if as_json:
        typer.echo(json.dumps([finding.__dict__ for finding in findings], indent=2))
    else:
        _print(findings)
    if any(finding.status == "broken" for finding in findings):
        raise typer.Exit(1)


def _parity(image: Path) -> None:
    from dinocell.parity import check_parity
    from dinocell_io import FAILED, errors_told

    with errors_told(FAILED):
        result = check_parity(image)
    for line in result.lines():
        typer.echo(line)
    if not (result.kernels_agree and result.maps_agree):
        raise typer.Exit(1)


def examine() -> list[Finding]:
    """All findings, in the order in which they are shown."""
    looks: tuple[Callable[[], list[Finding]], ...] = (
        _python,
        _packages,
        _kernels,
        _gpu_kernels,
        _processor,
        _devices,
        weights,
    )
    return [finding for look in looks for finding in look()]


def _python() -> list[Finding]:
    return [Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}")]


def _packages() -> list[Finding]:
    return [package(name, ours=name in OURS) for name in (*OURS, *NEEDED)]


def package(name: str, *, ours: bool) -> Finding:
    """Whether a distribution is installed, and in which version."""
    try:
        return Finding(name, "ok", version(name))
    except PackageNotFoundError:
        what = "run 'make setup' in the checkout" if ours else f"run: pip install {name}"
        return Finding(name, "broken", "not installed", what)


def _kernels() -> list[Finding]:
    try:
        import numpy as np

        from dinocell_kernels import build_info, watershed
    except ImportError as error:
        return [Finding("kernels", "broken", str(error), "run: pip install --no-build-isolation ./csrc")]
    built = ", ".join(f"{key} {value}" for key, value in build_info().items())
    peaks = np.array([[0.1, 0.9, 0.2, 0.8, 0.1]], np.float32)
    labels = watershed(peaks, peak=0.5, fill=0.15).tolist()
    if labels != [[0, 1, 1, 2, 0]]:
        return [Finding("kernels", "broken", f"two peaks became {labels}", "rebuild: pip install ./csrc")]
    return [Finding("kernels", "ok", built)]


def _gpu_kernels() -> list[Finding]:
    try:
        from dinocell_kernels import _cuda
    except ImportError:
        return []  # built without CUDA, as the line of the kernels says
    return [driver_and_runtime(driver=_cuda.driver_version(), runtime=_cuda.runtime_version())]


def driver_and_runtime(*, driver: int, runtime: int) -> Finding:
    """Whether the driver can run the GPU kernels as they were built; versions are CUDA's numbers, 13000 is 13.0."""
    built = f"built with CUDA {runtime // 1000}.{runtime % 1000 // 10}"
    if driver == 0:
        return Finding("GPU kernels", "ok", f"{built}, no driver on this machine")
    found = f"{built}, the driver supports {driver // 1000}.{driver % 1000 // 10}"
    if driver // 1000 < runtime // 1000:  # within a major version older drivers are enough
        fix = "update the driver, or rebuild the kernels with the older CUDA: pip install --no-build-isolation ./csrc"
        return Finding("GPU kernels", "note", found, fix)
    return Finding("GPU kernels", "ok", found)


def _processor() -> list[Finding]:
    try:
        import torch
    except ImportError:
        return []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    flags = sorted(processor_flags() & set(BF16_FLAGS))
    found = f"{cores} cores, torch uses {threads} threads and {torch.backends.cpu.get_cpu_capability()}"
    found += f", bf16 units: {', '.join(flags) or 'none seen'}"
    if threads < cores:
        fix = f"torch leaves cores idle; unless this is intended, unset OMP_NUM_THREADS or set it to {cores}"
        return [Finding("processor", "note", found, fix)]
    return [Finding("processor", "ok", found)]


def processor_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """The features Linux lists for the first processor; empty on other systems."""
    if not cpuinfo.is_file():
        return set()
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return set(value.split())
    return set()


def _devices() -> list[Finding]:
    try:
        import torch
    except ImportError:
        return []
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return [Finding("device", "ok", f"cuda: {', '.join(names)}")]
    if torch.backends.mps.is_available():
        return [Finding("device", "ok", "mps")]
    if shutil.which("nvidia-smi"):
        return [gpu_without_cuda(torch.__version__, torch.version.cuda)]
    return [Finding("device", "ok", "cpu (no GPU driver on this machine)")]


def gpu_without_cuda(torch_version: str, built_for: str | None) -> Finding:
    """A GPU driver is installed, but torch does not use it: why, and what to do."""
    if built_for is None:
        return Finding(
            "device",
            "note",
            f"cpu: a GPU driver is installed, but torch {torch_version} was built without CUDA",
            "install the CUDA build of the same torch version (pytorch.org, 'Get started' gives the command)",
        )
    return Finding(
        "device",
        "note",
        f"cpu: torch {torch_version} was built for CUDA {built_for} but sees no GPU",
        "compare with the CUDA version that nvidia-smi shows; update the driver, and check CUDA_VISIBLE_DEVICES",
    )


def weights(folder: Path | None = None) -> list[Finding]:
    """Whether the built-in weights have the hashes of the manifest."""
    try:
        from dinocell_io import file_sha256

        folder = folder or Path(str(files("dinocell_seg"))) / "weights"
    except ModuleNotFoundError:
        return []
    fix = "install dinocell-seg again; until then pass --model FILE"
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return [Finding("weights", "broken", f"{manifest} is missing", fix)]
    findings = []
    for name, facts in json.loads(manifest.read_text(encoding="utf-8")).items():
        path = folder / name
        if not path.is_file():
            findings.append(Finding(name, "broken", f"{path} is missing", fix))
            continue
        sha256 = file_sha256(path)
        same = sha256 == facts["sha256"]
        found = f"sha256 {sha256[:16]}..., " + ("as in the manifest" if same else "not as in the manifest")
        findings.append(Finding(name, "ok" if same else "broken", found, "" if same else fix))
    return findings


def _print(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    colours = {"ok": "green", "note": "yellow", "broken": "red"}
    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(overflow="fold")
    for finding in findings:
        status = Text(finding.status, style=colours[finding.status])
        table.add_row(finding.subject, status, Text(finding.found))
    console = Console()
    console.print(table)
    for finding in findings:
        if finding.fix:
            console.print(f"{finding.subject}: {finding.fix}", markup=False, soft_wrap=True)
