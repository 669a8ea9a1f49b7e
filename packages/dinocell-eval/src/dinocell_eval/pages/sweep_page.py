"""The report of a sweep of thresholds as a single HTML file."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version

import numpy as np
from jaxtyping import Float64

from dinocell_eval.images.bootstrap import FEWEST_IMAGES
from dinocell_eval.images.sweep import NO_RESULT, Optimum, Sweep
from dinocell_eval.pages.page import card, figure, notes, number, page, section, span, table
from dinocell_eval.pages.svg import Chart, element, text, tip
from dinocell_io import counted

# Anchors of the colour map viridis, which is even in lightness for every kind of colour vision.
_VIRIDIS = ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725")
_MOST_TEXTS = 130


def sweep_page(sweep: Sweep, *, title: str = "Sweep of thresholds", facts: Mapping[str, str] | None = None) -> str:
    """HTML text: for each metric a heat map with the best point and its plateau, and the numbers."""
    optima = {metric: sweep.best(metric) for metric in sweep.metrics}
    warnings = [f"{NO_RESULT}; report the test split once, with the thresholds chosen here"]
    warnings += [problem for metric in sweep.metrics if (problem := sweep.nothing_matches(metric))]
    if len(sweep.names) < FEWEST_IMAGES:
        only = counted(len(sweep.names), "image")
        warnings.append(f"only {only}: intervals and plateaus are rough below {FEWEST_IMAGES}")
    maps = "".join(_figure(sweep, metric, optimum) for metric, optimum in optima.items())
    lines = {**(facts or {}), "images": ", ".join(sweep.names), "software": f"dinocell-eval {version('dinocell-eval')}"}
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in lines.items())
    return page(
        title,
        f"{counted(len(sweep.names), 'image')} of the split <b>{escape(sweep.split)}</b> \N{MIDDLE DOT} "
        f"{int((~np.isnan(sweep.scores(sweep.metrics[0]))).sum())} points",
        '<div class="cards">', *(_card(metric, optimum) for metric, optimum in optima.items()), "</div>",
        notes(warnings, title="What to know about these numbers"),
        section("The grid", '<div class="grid2">', maps, "</div>",
                lead="Mean over images of each metric. The ring is the best point; outlined points are within one "
                "standard error of it, and as good a choice."),
        section("Best points", _table(optima)),
        section("Provenance", f'<dl class="facts">{listed}</dl>'),
    )  # fmt: skip


def _card(metric: str, optimum: Optimum) -> str:
    interval = f"<br>95\N{NO-BREAK SPACE}% {span(optimum.interval)}" if optimum.interval else ""
    return card(metric, number(optimum.score), f"peak {optimum.peak:g}, fill {optimum.fill:g}{interval}")


def _figure(sweep: Sweep, metric: str, optimum: Optimum) -> str:
    drawing = heat_map(sweep.scores(metric), sweep.peaks, sweep.fills, optimum, label=f"{metric} over the grid")
    return figure(drawing, f"<b>{escape(metric)}</b>: {counted(int(optimum.plateau.sum()), 'point')} on the plateau.")


def heat_map(
    scores: Float64[np.ndarray, "peak fill"],
    peaks: Sequence[float],
    fills: Sequence[float],
    optimum: Optimum,
    *,
    label: str,
) -> str:
    """Scores as colours, peaks downwards and fills to the right; points without a score stay empty."""
    chart = Chart(width=560, height=470, left=62, top=10, right=72, bottom=52)
    wide = (chart.width - chart.left - chart.right) / len(fills)
    tall = (chart.height - chart.top - chart.bottom) / len(peaks)
    low, high = float(np.nanmin(scores)), float(np.nanmax(scores))
    cells, outlines = [], []
    written = scores.size <= _MOST_TEXTS
    for row, peak in enumerate(peaks):
        y = chart.top + row * tall
        if row % -(-len(peaks) // 20) == 0:
            cells.append(text(chart.left - 8, round(y + tall / 2 + 4, 1), f"{peak:g}", text_anchor="end"))
        for column, fill in enumerate(fills):
            score = float(scores[row, column])
            if np.isnan(score):
                continue
            x = chart.left + column * wide
            share = (score - low) / (high - low) if high > low else 1.0
            cells.append(
                element("rect", tip(f"peak {peak:g}, fill {fill:g}: {score:.4f}"), x=round(x, 2), y=round(y, 2),
                        width=round(wide - 0.6, 2), height=round(tall - 0.6, 2), fill=viridis(share))
            )  # fmt: skip
            middle = round(x + wide / 2, 2), round(y + tall / 2, 2)
            if written:
                ink = "#fff" if share < 0.6 else "#10161f"
                words = f"{score:.2f}".removeprefix("0")
                cells.append(text(middle[0], middle[1] + 4, words, text_anchor="middle", style=f"fill:{ink}"))
            if optimum.plateau[row, column]:
                frame = {"width": round(wide - 3, 2), "height": round(tall - 3, 2), "fill": "none"}
                corner = {"x": round(x + 1.2, 2), "y": round(y + 1.2, 2)}
                outlines.append(element("rect", **corner, **frame, stroke="#d55e00", stroke_width=2))
            if (peak, fill) == (optimum.peak, optimum.fill):
                ring = {"cx": middle[0], "cy": middle[1], "r": 9, "fill": "none"}
                outlines.append(element("circle", **ring, stroke="#fff", stroke_width=5))
                outlines.append(element("circle", tip("best point"), **ring, stroke="#18202b", stroke_width=2.4))
    for column, fill in enumerate(fills):
        if column % -(-len(fills) // 8) == 0:
            x = round(chart.left + (column + 0.5) * wide, 1)
            cells.append(text(x, chart.height - chart.bottom + 18, f"{fill:g}", text_anchor="middle"))
    names = text((chart.left + chart.width - chart.right) / 2, chart.height - 10, "fill", class_="axis",
                 text_anchor="middle")  # fmt: skip
    names += text(0, 0, "peak", class_="axis", text_anchor="middle",
                  transform=f"translate(14 {(chart.top + chart.height - chart.bottom) / 2}) rotate(-90)")  # fmt: skip
    return chart.drawing(*cells, *outlines, names, _scale(chart, low, high), label=label)


def viridis(share: float | int) -> str:
    """Colour of a share from 0 to 1, evenly between the anchors."""
    at = min(max(share, 0.0), 1.0) * (len(_VIRIDIS) - 1)
    first = min(int(at), len(_VIRIDIS) - 2)
    one, other = ([int(colour[k : k + 2], 16) for k in (1, 3, 5)] for colour in _VIRIDIS[first : first + 2])
    mixed = [round(a + (b - a) * (at - first)) for a, b in zip(one, other, strict=True)]
    return "#" + "".join(f"{part:02x}" for part in mixed)


def _scale(chart: Chart, low: float, high: float) -> str:
    """The colours from the lowest to the highest score, at the right."""
    steps, x = 40, chart.width - chart.right + 22
    tall = (chart.height - chart.top - chart.bottom - 40) / steps
    bars = "".join(
        element("rect", x=x, y=round(chart.top + 20 + k * tall, 2), width=12, height=round(tall + 0.4, 2),
                fill=viridis(1 - k / (steps - 1)))
        for k in range(steps)
    )  # fmt: skip
    ends = text(x + 6, chart.top + 12, f"{high:.3f}", text_anchor="middle")
    return bars + ends + text(x + 6, chart.height - chart.bottom - 6, f"{low:.3f}", text_anchor="middle")


def _table(optima: Mapping[str, Optimum]) -> str:
    rows = [
        [f"<b>{escape(metric)}</b>", f"{best.peak:g}", f"{best.fill:g}", number(best.score, digits=4),
         span(best.interval, digits=4), number(best.standard_error, digits=4), str(int(best.plateau.sum()))]
        for metric, best in optima.items()
    ]  # fmt: skip
    return table(["metric", "peak", "fill", "score", "95 % interval", "standard error", "points on the plateau"], rows)
