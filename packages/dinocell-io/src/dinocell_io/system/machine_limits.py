"""What this process may use of its machine: memory and cores, also where a container or a batch system limits them."""

import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS_OF_PROCESS = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


def total_memory_bytes() -> int:
    """The physical memory, or the limit of a cgroup (container, Slurm job) if that is lower; else 2**63."""
    limits = [1 << 63]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for text in _settings("memory", "memory.max", "memory.limit_in_bytes"):
        if text.isdecimal():  # "max" is no limit
            limits.append(int(text))
    return min(limits)


def usable_cores() -> int:
    """The cores this process may run on: its affinity, or the share of time of a cgroup, rounded up, if it is lower."""
    limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    for text in _settings("cpu", "cpu.max"):  # "150000 100000": microseconds of each period
        quota, _, period = text.partition(" ")
        limits += _cores(quota, period)
    for quota, period in zip(
        _settings("cpu", "", "cpu.cfs_quota_us"), _settings("cpu", "", "cpu.cfs_period_us"), strict=False
    ):
        limits += _cores(quota, period)
    return min(limits)


def _cores(quota: str, period: str) -> list[int]:
    if not (quota.isdecimal() and period.isdecimal() and int(quota) > 0 and int(period) > 0):  # "max", -1: no limit
        return []
    return [max(1, -(-int(quota) // int(period)))]


def _settings(controller: str, version_2: str, version_1: str = "") -> Iterator[str]:
    """What a file says in the cgroup of this process and in those above it, in format 2 and 1."""
    try:
        lines = _CGROUPS_OF_PROCESS.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if controllers == "" and version_2:
            yield from _up_from(_CGROUPS, place, version_2)
        elif controller in controllers.split(",") and version_1:
            yield from _up_from(_CGROUPS / controller, place, version_1)


def _up_from(root: Path, place: str, name: str) -> Iterator[str]:
    # in a container the place may be that of the host: what is not there is passed over
    parts = [part for part in place.split("/") if part not in ("", "..")]
    for length in range(len(parts), -1, -1):
        try:
            yield root.joinpath(*parts[:length], name).read_text().strip()
        except OSError:
            continue
