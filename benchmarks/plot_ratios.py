"""Draw benchmarks/ratios.svg: how many times longer the best library takes than each kernel, by release.

    python benchmarks/plot_ratios.py

Reads releases/<name>.json, copies of the baseline that --record wrote for one CPU, in the order of ORDER. Only contests
of one size are drawn, each against its closest rival. No library is needed.
"""

import json
import math
from pathlib import Path

HERE = Path(__file__).parent
ORDER = ("0.1.0 at first", "0.1.0")
COLOURS = ("#b8c4d6", "#2f5d9b")
SIZE = 2048
LEFT, TOP, BAR, GAP, WIDTH = 190, 40, 11, 9, 420


def closest(ratios: dict[str, float]) -> dict[str, float]:
    """The smallest ratio of each contest of SIZE."""
    least: dict[str, float] = {}
    for name, ratio in ratios.items():
        contest, _, rival = name.partition(" vs ")
        if rival and not rival.startswith("our ") and contest.endswith(f" {SIZE}"):
            kernel = contest.removesuffix(f" {SIZE}")
            least[kernel] = min(ratio, least.get(kernel, math.inf))
    return least


def svg(releases: dict[str, dict[str, float]]) -> str:
    kernels = sorted({kernel for ratios in releases.values() for kernel in ratios})
    most = max(ratio for ratios in releases.values() for ratio in ratios.values())
    step = len(releases) * BAR + GAP
    bottom = TOP + len(kernels) * step

    def across(ratio: float) -> float:
        return LEFT + WIDTH * math.log(max(ratio, 1)) / math.log(most)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 60}" height="{bottom + 30}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="100%" height="100%" fill="white"/><text x="{LEFT}" y="14">times longer the closest library '
        f"takes, {SIZE} x {SIZE}, one thread (logarithmic)</text>",
    ]
    for tick in (1, 2, 5, 10, 20, 50, 100):
        if tick <= most:
            x = across(tick)
            parts.append(f'<line x1="{x:.0f}" x2="{x:.0f}" y1="{TOP - 8}" y2="{bottom}" stroke="#ddd"/>')
            parts.append(f'<text x="{x:.0f}" y="{bottom + 14}" text-anchor="middle">{tick}</text>')
    for row, kernel in enumerate(kernels):
        y = TOP + row * step
        parts.append(f'<text x="{LEFT - 6}" y="{y + step / 2}" text-anchor="end">{kernel}</text>')
        for place, (ratios, colour) in enumerate(zip(releases.values(), COLOURS, strict=True)):
            if kernel in ratios:
                top, end = y + place * BAR, across(ratios[kernel])
                parts.append(
                    f'<rect x="{LEFT}" y="{top}" width="{end - LEFT:.1f}" height="{BAR - 1}" fill="{colour}"/>'
                )
                parts.append(f'<text x="{end + 4:.1f}" y="{top + 9}" font-size="9">{ratios[kernel]:.1f}</text>')
    for place, (name, colour) in enumerate(zip(releases, COLOURS, strict=True)):
        x = LEFT + 140 * place
        parts.append(
            f'<rect x="{x}" y="20" width="10" height="8" fill="{colour}"/><text x="{x + 14}" y="28">{name}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    found = {name: closest(json.loads((HERE / "releases" / f"{name}.json").read_text())) for name in ORDER}
    (HERE / "ratios.svg").write_text(svg(found))
