"""Memory and cores of containers: the limits of cgroups of both formats, wherever they are nested."""

import os
from pathlib import Path

import pytest

from dinocell_io import usable_cores
from dinocell_io.system.machine_limits import total_memory_bytes

GIB = 1 << 30


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 64 GiB and 16 cores, whose cgroups are files that a test writes."""
    monkeypatch.setattr("dinocell_io.system.machine_limits._CGROUPS_OF_PROCESS", tmp_path / "cgroup")
    monkeypatch.setattr("dinocell_io.system.machine_limits._CGROUPS", tmp_path / "fs")
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 16 << 20, "SC_PAGE_SIZE": 4096}.__getitem__)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    return tmp_path


def write(machine: Path, cgroup: str, **files: str) -> None:
    (machine / "cgroup").write_text(cgroup)
    for name, text in files.items():
        path = machine / "fs" / name.replace("__", "/").replace("--", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


def test_without_cgroups_the_machine_is_the_limit(machine: Path) -> None:
    assert (total_memory_bytes(), usable_cores()) == (64 * GIB, 16)
    write(machine, "0::/\n")
    assert (total_memory_bytes(), usable_cores()) == (64 * GIB, 16)


@pytest.mark.parametrize("place", ["/", "/job_7", "/../../job_7", "/of/the/host"])
def test_a_container_of_cgroup_2_is_the_limit(machine: Path, place: str) -> None:
    write(machine, f"0::{place}\n", **{"memory--max": str(4 * GIB), "cpu--max": "150000 100000"})
    assert (total_memory_bytes(), usable_cores()) == (4 * GIB, 2)


def test_the_lowest_limit_of_nested_groups_counts(machine: Path) -> None:
    write(
        machine,
        "0::/slurm/job_7/step_0\n",
        **{
            "slurm__memory--max": str(8 * GIB),
            "slurm__job_7__memory--max": str(3 * GIB),
            "slurm__job_7__step_0__memory--max": "max",
            "slurm__cpu--max": "400000 100000",
            "slurm__job_7__cpu--max": "max 100000",
        },
    )
    assert (total_memory_bytes(), usable_cores()) == (3 * GIB, 4)


def test_a_container_of_cgroup_1_is_the_limit(machine: Path) -> None:
    write(
        machine,
        "9:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n",
        **{
            "memory__memory--limit_in_bytes": str(2 * GIB),
            "cpu__cpu--cfs_quota_us": "50000",
            "cpu__cpu--cfs_period_us": "100000",
        },
    )
    assert (total_memory_bytes(), usable_cores()) == (2 * GIB, 1)


def test_cgroup_1_without_limits_is_none(machine: Path) -> None:
    write(
        machine,
        "9:memory:/\n4:cpu,cpuacct:/\n",
        **{
            "memory__memory--limit_in_bytes": "9223372036854771712",
            "cpu__cpu--cfs_quota_us": "-1",
            "cpu__cpu--cfs_period_us": "100000",
        },
    )
    assert (total_memory_bytes(), usable_cores()) == (64 * GIB, 16)


def test_the_affinity_counts_where_it_is_lower(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    write(machine, "0::/\n", **{"cpu--max": "400000 100000"})
    assert usable_cores() == 1
