"""The charts of the reports, each a function from numbers to SVG text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from dinocell_eval.pages.colours import FIRST
from dinocell_eval.pages.svg import Axis, Chart, Number, element, polygon, polyline, text, tip
from dinocell_io import counted

Interval = tuple[Number, Number] | None
WIDE = 860  # pixels of a drawing over the whole width of the page, half of it for the others
MOST_DOTS = 1500  # more make files large and show no more


@dataclass(frozen=True)
class Line:
    """A line through points, with an interval at each of them or none, and a name written at its end."""

    name: str
    x: Sequence[Number]
    y: Sequence[Number | None]
    intervals: Sequence[Interval]
    colour: str = FIRST
    dashed: bool = False


def curves(lines: Sequence[Line], *, x_name: str, y_name: str, label: str) -> str:
    """Lines on a y-axis from 0 to 1, their intervals as bands."""
    chart = Chart(right=30)
    every_x = [x for line in lines for x in line.x]
    x_axis, y_axis = chart.x_axis(min(every_x), max(every_x)), chart.y_axis(0, 1)
    bands, drawn = [], []
    for line in lines:
        band = [(x_axis(x), i) for x, i in zip(line.x, line.intervals, strict=True) if i is not None]
        if len(band) > 1:
            edge = [(x, y_axis(i[0])) for x, i in band] + [(x, y_axis(i[1])) for x, i in reversed(band)]
            bands.append(polygon(edge, fill=line.colour, opacity=0.16))
        points = [(x_axis(x), y_axis(y), x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None]
        drawn.append(polyline([p[:2] for p in points], stroke=line.colour, stroke_width=2.2,
                              stroke_dasharray="6 4" if line.dashed else None))  # fmt: skip
        drawn += [
            element("circle", tip(f"{line.name}, IoU {x:.2f}: {y:.3f}"), cx=px, cy=py, r=3.4, fill=line.colour)
            for px, py, x, y in points
        ]
    key = "".join(
        element("line", x1=chart.left + 14, x2=chart.left + 42, y1=y, y2=y, stroke=line.colour, stroke_width=2.4,
                stroke_dasharray="6 4" if line.dashed else None)
        + text(chart.left + 50, y + 4, line.name)
        for line, y in zip(lines, np.arange(len(lines)) * 20.0 + chart.height - chart.bottom - 20 * len(lines),
                           strict=True)
    )  # fmt: skip
    thresholds = sorted(set(every_x))
    ticks = thresholds if len(thresholds) <= 12 else None
    return chart.drawing(
        chart.y_scale(y_axis, y_name), chart.x_scale(x_axis, x_name, ticks=ticks), *bands, *drawn, key, label=label
    )


def strips(
    rows: Mapping[str, Sequence[Number | None]],
    marks: Mapping[str, Number | None],
    *,
    names: Sequence[str],
    label: str,
) -> str:
    """A row of dots on an axis from 0 to 1 for each metric, one dot an image; a line marks the median, a diamond the
    mark."""
    pitch = 38
    chart = Chart(width=WIDE, height=pitch * len(rows) + 62, left=92)
    x_axis = chart.x_axis(0, 1)
    content = [chart.x_scale(x_axis, "value of an image", grid=True)]
    for number, (row, values) in enumerate(rows.items()):
        middle = chart.top + pitch * (number + 0.5)
        content.append(text(chart.left - 12, middle + 4, row, text_anchor="end", class_="row"))
        defined = [(value, name) for value, name in zip(values, names, strict=True) if value is not None]
        for order, (value, name) in enumerate(_thinned(defined)):
            y = middle + (order * 0.618034 % 1 - 0.5) * pitch * 0.62  # spread evenly, the same each time
            content.append(
                element("circle", tip(f"{name}: {value:.3f}"), cx=x_axis(value), cy=round(y, 1), r=2.7, class_="dot")
            )
        if defined:
            median = x_axis(float(np.median([value for value, _ in defined])))
            content.append(element("line", tip("median of images"), x1=median, x2=median, y1=middle - 14,
                                   y2=middle + 14, class_="median"))  # fmt: skip
        mark = marks[row]
        if mark is not None:
            x = x_axis(mark)
            corners = [(x, middle - 7), (x + 6, middle), (x, middle + 7), (x - 6, middle)]
            content.append(
                element("polygon", tip(f"pooled: {mark:.3f}"), points=" ".join(f"{a:g},{b:g}" for a, b in corners),
                        class_="pooled")
            )  # fmt: skip
    return chart.drawing(*content, label=label)


def stacked_histogram(
    parts: Mapping[str, Int64[np.ndarray, "bin"]],
    edges: Float64[np.ndarray, "edge"],
    colours: Mapping[str, str],
    *,
    x_name: str,
    y_name: str,
    label: str,
) -> str:
    """Counts in bins, the parts on top of each other."""
    chart = Chart()
    highest = int(np.sum(list(parts.values()), axis=0).max())
    x_axis, y_axis = chart.x_axis(float(edges[0]), float(edges[-1])), chart.y_axis(0, max(highest, 1) * 1.06)
    bars = []
    below = np.zeros(edges.size - 1, np.int64)
    for name, counts in parts.items():
        for k in np.flatnonzero(counts).tolist():
            left, right = x_axis(float(edges[k])) + 0.8, x_axis(float(edges[k + 1])) - 0.8
            top, foot = y_axis(int(below[k] + counts[k])), y_axis(int(below[k]))
            bars.append(
                element("rect", tip(f"{name}, {edges[k]:.2f} to {edges[k + 1]:.2f}: {counts[k]}"), x=left, y=top,
                        width=right - left, height=round(foot - top, 2), fill=colours[name])
            )  # fmt: skip
        below = below + counts
    return chart.drawing(chart.y_scale(y_axis, y_name), chart.x_scale(x_axis, x_name), *bars, label=label)


def shares(rows: Mapping[str, Mapping[str, int]], colours: Mapping[str, str], *, label: str) -> str:
    """One bar a row, divided by the counts of its parts; parts wide enough carry their count."""
    pitch = 54
    chart = Chart(width=WIDE, height=pitch * len(rows) + 8, left=160, right=4, bottom=0, top=4)
    x_axis = chart.x_axis(0, 1)
    content = []
    for number, (row, counts) in enumerate(rows.items()):
        top = chart.top + pitch * number + 5
        whole = sum(counts.values())
        content.append(text(chart.left - 10, top + 26, row, text_anchor="end", class_="row"))
        done = 0
        for name, count in counts.items():
            if not count:
                continue
            left, right = x_axis(done / whole), x_axis((done + count) / whole)
            done += count
            words = f"{name}: {count} of {whole}, {count / whole:.1%}"
            wide = max(0.5, round(right - left - 1, 2))
            content.append(element("rect", tip(words), x=left, y=top, width=wide, height=42, fill=colours[name]))
            if right - left > 11 * len(str(count)) + 4:
                content.append(text((left + right) / 2, top + 26, str(count), text_anchor="middle", class_="on-bar"))
    return chart.drawing(*content, label=label)


def scatter(
    x: Float64[np.ndarray, "point"],
    y: Float64[np.ndarray, "point"],
    *,
    x_name: str,
    y_name: str,
    label: str,
    names: Sequence[str] | None = None,
    log: bool = False,
    unit_square: bool = False,
) -> str:
    """Points beside the line of equality; many points as squares, darker where there are more."""
    chart = Chart(width=460, height=440, left=64)
    both = np.concatenate([x, y])
    if unit_square:
        low, high = 0.0, 1.0
    elif log:
        low, high = (float(both.min()) / 1.3, float(both.max()) * 1.3) if both.size else (1.0, 10.0)
    else:
        low, high = 0.0, (float(both.max()) * 1.06 if both.size and both.max() > 0 else 1.0)
    x_axis, y_axis = chart.x_axis(low, high, log=log), chart.y_axis(low, high, log=log)
    equal = element("line", tip("equal"), x1=x_axis(low), y1=y_axis(low), x2=x_axis(high), y2=y_axis(high),
                    class_="equal")  # fmt: skip
    if x.size > MOST_DOTS:
        marks = _squares(x, y, x_axis, y_axis)
    else:
        titles = names if names is not None else [""] * x.size
        marks = [
            element("circle", tip(f"{name} {a:.4g}, {b:.4g}".strip()), cx=x_axis(a), cy=y_axis(b), r=3, class_="dot")
            for a, b, name in zip(x.tolist(), y.tolist(), titles, strict=True)
        ]
    return chart.drawing(
        chart.y_scale(y_axis, y_name), chart.x_scale(x_axis, x_name), equal, *marks, label=label
    )  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, drawn in one row."""

    value: Number | None
    interval: Interval
    colour: str = FIRST
    square: bool = False


def estimates(
    rows: Mapping[str, Sequence[Estimate]],
    *,
    x_name: str,
    label: str,
    low: Number = 0.0,
    high: Number = 1.0,
    zero: bool = False,
) -> str:
    """Values and intervals in rows on one axis; `zero` draws a line at 0."""
    pitch = 40
    chart = Chart(width=WIDE, height=pitch * len(rows) + 62, left=150)
    x_axis = chart.x_axis(low, high)
    content = [chart.x_scale(x_axis, x_name, grid=True)]
    if zero:
        content.append(element("line", x1=x_axis(0), x2=x_axis(0), y1=chart.top, y2=chart.height - chart.bottom,
                               class_="zero"))  # fmt: skip
    for number, (row, marks) in enumerate(rows.items()):
        middle = chart.top + pitch * (number + 0.5)
        content.append(text(chart.left - 12, middle + 4, row, text_anchor="end", class_="row"))
        for mark, y in zip(marks, middle + (np.arange(len(marks)) - (len(marks) - 1) / 2) * 13, strict=True):
            content.append(_estimate(mark, x_axis, float(y)))
    return chart.drawing(*content, label=label)


def _estimate(mark: Estimate, x_axis: Axis, y: Number) -> str:
    if mark.value is None:
        return ""
    words = f"{mark.value:.3f}" + (f" ({mark.interval[0]:.3f} to {mark.interval[1]:.3f})" if mark.interval else "")
    x = x_axis(mark.value)
    whisker = ""
    if mark.interval is not None:
        whisker = element("line", x1=x_axis(mark.interval[0]), x2=x_axis(mark.interval[1]), y1=y, y2=y,
                          stroke=mark.colour, stroke_width=2.4, stroke_linecap="round")  # fmt: skip
    if mark.square:
        return whisker + element("rect", tip(words), x=x - 4.5, y=y - 4.5, width=9, height=9, fill=mark.colour)
    return whisker + element("circle", tip(words), cx=x, cy=y, r=5, fill=mark.colour)


def _squares(x: np.ndarray, y: np.ndarray, x_axis: Axis, y_axis: Axis) -> list[str]:
    """Counts of points in squares of 8 pixels, by opacity."""
    side = 8
    cells: dict[tuple[int, int], int] = {}
    for a, b in zip(x.tolist(), y.tolist(), strict=True):
        key = int(x_axis(a) // side), int(y_axis(b) // side)
        cells[key] = cells.get(key, 0) + 1
    most = max(cells.values())
    return [
        element("rect", tip(counted(n, "point")), x=i * side, y=j * side, width=side, height=side, class_="cell",
                opacity=round(0.15 + 0.85 * (n / most) ** 0.4, 3))
        for (i, j), n in sorted(cells.items())
    ]  # fmt: skip


def _thinned(dots: list[tuple[Number, str]]) -> list[tuple[Number, str]]:
    """At most MOST_DOTS of them, evenly spaced by value."""
    if len(dots) <= MOST_DOTS:
        return dots
    ordered = sorted(dots)
    return [ordered[k] for k in np.linspace(0, len(ordered) - 1, MOST_DOTS).astype(int).tolist()]
