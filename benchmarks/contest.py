"""Ratios of CPU time between ours and the libraries people would otherwise use, with recorded baselines.

All functions of a contest run in turn inside one process, round after round, so that a busy machine slows all of them
alike; CPU time (`time.process_time`) leaves out what other processes take. A ratio is best time over best time.
"""

import json
import platform
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dinocell_kernels import build_info

BASELINES = Path(__file__).parent / "baselines"
SLACK = 0.25  # a ratio may fall so far below its baseline
SECONDS = 1.5  # of rounds for each function


@dataclass(frozen=True)
class Result:
    """Milliseconds of CPU time by name, the best of all rounds; `floor` is a memcpy of the contest's own bytes."""

    contest: str
    ours: float
    rivals: Mapping[str, float]
    floor: float

    def ratios(self) -> dict[str, float]:
        return {f"{self.contest} vs {name}": spent / self.ours for name, spent in self.rivals.items()}


@dataclass
class Contests:
    """Results of a session; `seconds` of rounds for each function, three rounds at least."""

    results: list[Result] = field(default_factory=list)
    seconds: float = SECONDS

    def run(
        self,
        contest: str,
        ours: Callable[[], object],
        rivals: Mapping[str, Callable[[], object]],
        *,
        bytes_moved: int,
        least_rounds: int = 3,
    ) -> Result:
        """Time `ours` against `rivals`. `bytes_moved` is what the kernel must read and write at least."""
        half = bytes_moved // 2
        source, target = np.ones(half, np.uint8), np.ones(half, np.uint8)
        functions = {"ours": ours, "floor": lambda: np.copyto(target, source), **rivals}
        best = dict.fromkeys(functions, float("inf"))
        spent = dict.fromkeys(functions, 0.0)
        for turn in range(40):
            for name, function in functions.items():
                if turn >= least_rounds and spent[name] > self.seconds:
                    continue
                begin = time.process_time()
                function()
                seconds = time.process_time() - begin
                best[name] = min(best[name], seconds)
                spent[name] += seconds
        milliseconds = {name: 1e3 * seconds for name, seconds in best.items()}
        result = Result(contest, milliseconds.pop("ours"), milliseconds, milliseconds.pop("floor"))
        self.results.append(result)
        return result

    def ratios(self) -> dict[str, float]:
        return {name: ratio for result in self.results for name, ratio in result.ratios().items()}

    def table(self) -> str:
        """A Markdown table: ours in ms, the share of memcpy speed it reaches, and how many times longer others take."""
        lines = ["| kernel | ours, ms | % of memcpy | against, times longer |", "|---|---|---|---|"]
        for result in self.results:
            others = ", ".join(f"{name} {spent / result.ours:.1f}x" for name, spent in result.rivals.items())
            share = 100 * result.floor / result.ours
            lines.append(f"| {result.contest} | {result.ours:.3g} | {share:.0f} | {others} |")
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """Keep what the table says as JSON, with the CPU it holds for."""
        kernels = {
            result.contest: {
                "milliseconds": round(result.ours, 4),
                "percent_of_memcpy": round(100 * result.floor / result.ours, 1),
                "times_longer": {name: round(spent / result.ours, 2) for name, spent in result.rivals.items()},
            }
            for result in self.results
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"cpu": cpu_model(), "kernels": kernels}, indent=1) + "\n")


def cpu_model() -> str:
    """A file name for this kind of CPU and the instruction set in use."""
    name = platform.processor() or platform.machine()
    try:
        facts = dict(re.findall(r"^([\w ]+?)\s*: (.*)$", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE))
        name = f"{facts['model name']} {facts['cpu family']} {facts['model']}"
    except (OSError, KeyError):
        pass
    return re.sub(r"[^a-z0-9]+", "-", f"{name} {build_info()['isa']}".lower()).strip("-")


def record(ratios: Mapping[str, float], *, folder: Path = BASELINES) -> Path:
    """Keep the ratios as this CPU's baseline, beside those of contests that were not run."""
    path = folder / f"{cpu_model()}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept.update({name: round(ratio, 2) for name, ratio in ratios.items()})
    path.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")
    return path


def losses(ratios: Mapping[str, float], *, folder: Path = BASELINES) -> list[str]:
    """What fell more than 25 % below the baseline of this CPU; an empty list if nothing did."""
    path = folder / f"{cpu_model()}.json"
    if not path.exists():
        return [f"no baseline for this CPU; record one with --record, it goes to {path.name}"]
    kept = json.loads(path.read_text())
    return [
        f"{name} is {ratio:.2f}x, its baseline {kept[name]:.2f}x"
        for name, ratio in ratios.items()
        if name in kept and ratio < (1 - SLACK) * kept[name]
    ]
