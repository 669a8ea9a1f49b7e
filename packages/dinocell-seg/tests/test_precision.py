"""The precision "auto" follows from the machine alone."""

from pathlib import Path

import pytest
import torch

from dinocell_seg import precision as module
from dinocell_seg.precision import choose_precision, cpu_has_bf16

CPU = torch.device("cpu")


def cpuinfo(folder: Path, flags: str, *, name: str = "flags") -> Path:
    path = folder / "cpuinfo"
    path.write_text(f"processor\t: 0\nmodel name\t: a CPU\n{name}\t\t: {flags}\n\nprocessor\t: 1\n")
    return path


@pytest.mark.parametrize(
    ("flags", "capability", "environment", "expected"),
    [
        ("fpu avx2 avx512f avx512_bf16", "AVX512", {}, True),
        ("fpu avx2 avx512f amx_bf16", "AVX512_AMX", {}, True),
        ("fpu avx2 avx512f avx512_vnni", "AVX512", {}, False),
        ("fpu avx2", "AVX2", {}, False),
        ("fpu avx2 avx512f avx512_bf16", "AVX2", {}, False),  # ATEN_CPU_CAPABILITY=avx2
        ("fpu avx2 avx512f avx512_bf16", "AVX512", {"ONEDNN_MAX_CPU_ISA": "AVX2"}, False),
        ("fpu avx2 avx512f avx512_bf16", "AVX512", {"DNNL_MAX_CPU_ISA": "avx512_core"}, False),
        ("fpu avx2 avx512f avx512_bf16", "AVX512", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, True),
    ],
)
def test_a_cpu_has_bf16_where_it_lists_the_units_and_may_use_them(
    tmp_path: Path, flags: str, capability: str, environment: dict[str, str], expected: bool
) -> None:
    path = cpuinfo(tmp_path, flags)
    assert cpu_has_bf16(cpuinfo=path, capability=capability, environment=environment) is expected


def test_arm_lists_its_units_under_another_name(tmp_path: Path) -> None:
    path = cpuinfo(tmp_path, "fp asimd bf16 i8mm", name="Features")
    assert cpu_has_bf16(cpuinfo=path, capability="DEFAULT", environment={})
    assert not cpu_has_bf16(cpuinfo=tmp_path / "none", capability="AVX512", environment={})


@pytest.mark.parametrize("has_bf16", [True, False])
def test_auto_follows_the_machine_and_a_wish_is_followed_anywhere(
    monkeypatch: pytest.MonkeyPatch, has_bf16: bool
) -> None:
    monkeypatch.setattr(module, "cpu_has_bf16", lambda: has_bf16)
    assert choose_precision("auto", CPU) == ("bf16" if has_bf16 else "fp32")
    assert choose_precision("auto", torch.device("mps")) == "fp32"
    assert choose_precision("bf16", CPU) == "bf16"
    assert choose_precision("fp32", CPU) == "fp32"


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_gpus_multiply_in_bf16_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose_precision("auto", torch.device("cuda", 0)) == expected
