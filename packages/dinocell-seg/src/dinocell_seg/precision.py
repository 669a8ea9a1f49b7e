"""fp32 or bf16, decided by what the machine has: the same for every image, and never by a stopwatch."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dinocell_seg.tiling import Network

BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")  # of Linux: x86 and Arm
# Values of ONEDNN_MAX_CPU_ISA that leave the bf16 units of a CPU in use.
_ONEDNN_WITH_BF16 = ("DEFAULT", "AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX512_CORE_AMX", "AVX512_CORE_AMX_FP16")
_FIRST_GPU_WITH_BF16 = (8, 0)


def choose_precision(precision: Literal["auto", "fp32", "bf16"], device: torch.device) -> Literal["fp32", "bf16"]:
    """The precision that was asked for; "auto" is bf16 where the device multiplies in it, else fp32.

    That is a CPU with avx512_bf16, amx_bf16 or Arm's bf16 instructions that torch and oneDNN are allowed to use, and a
    GPU of compute capability 8.0 or newer. CPUs without these units are several times slower in bf16.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        has_bf16 = torch.cuda.get_device_capability(device) >= _FIRST_GPU_WITH_BF16
    else:
        has_bf16 = device.type == "cpu" and cpu_has_bf16()
    return "bf16" if has_bf16 else "fp32"


def cpu_has_bf16(
    *,
    cpuinfo: Path = Path("/proc/cpuinfo"),
    capability: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> bool:
    """Whether this CPU multiplies in bf16, by the features that Linux lists; False on other systems.

    Not where a user keeps torch (ATEN_CPU_CAPABILITY) or oneDNN (ONEDNN_MAX_CPU_ISA) from the units.
    """
    environment = os.environ if environment is None else environment
    capability = torch.backends.cpu.get_cpu_capability() if capability is None else capability
    flags = _processor_flags(cpuinfo) & set(BF16_FLAGS)
    is_x86 = bool(flags - {"bf16"})
    if not flags or (is_x86 and not capability.startswith("AVX512")):
        return False
    allowed = environment.get("ONEDNN_MAX_CPU_ISA", environment.get("DNNL_MAX_CPU_ISA", "DEFAULT")).upper()
    return not is_x86 or allowed in _ONEDNN_WITH_BF16


def _processor_flags(cpuinfo: Path) -> set[str]:
    if not cpuinfo.is_file():
        return set()
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return set(value.split())
    return set()


def with_precision(model: nn.Module, precision: Literal["fp32", "bf16"], device: torch.device) -> Network:
    """The model as a function; in bf16 its matrix products are, and its final sigmoid stays float32."""
    if precision == "fp32":
        return model

    def in_bf16(tiles: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            output: Tensor = model(tiles)
        return output.float()

    return in_bf16
