"""The report of two predictions of the same images as a single HTML file."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version

import numpy as np

from dinocell_eval.images.bootstrap import SEED
from dinocell_eval.images.comparison import Comparison
from dinocell_eval.images.evaluate import Evaluation
from dinocell_eval.metrics.metric_table import shown_metrics
from dinocell_eval.pages import charts
from dinocell_eval.pages.cells import class_counts
from dinocell_eval.pages.colours import CLASS_COLOURS, FIRST, SECOND
from dinocell_eval.pages.evaluation_page import ap_line
from dinocell_eval.pages.page import card, details, figure, legend, notes, number, page, section, span, table
from dinocell_io import counted

_CHANGED_IMAGES = 12


def comparison_page(
    first: Evaluation,
    second: Evaluation,
    comparison: Comparison,
    *,
    names: tuple[str, str] = ("first", "second"),
    title: str = "Comparison of two predictions",
    facts: Mapping[str, str] | None = None,
) -> str:
    """HTML text of the report; `names` are those of the two predictions, `facts` close it."""
    return page(
        title,
        f"{counted(comparison.num_images, 'image')} \N{MIDDLE DOT} {first.counts['n_truth']} true cells \N{MIDDLE DOT} "
        f"{_named(FIRST, names[0])} against {_named(SECOND, names[1])}",
        _headline(first, comparison, names),
        notes(
            [*comparison.notes, *first.protocol.protocol.caveats,
             "p-values are not corrected for the number of metrics; the metric that decides is chosen beforehand"],
            title="What to know about these numbers",
        ),
        section("Differences", _forest(comparison, names), _difference_table(comparison, names)),
        section("Agreement and errors", '<div class="grid2">', _curves(first, second, names),
                _scatter(first, second, names), "</div>"),
        section("Fate of every cell", _taxonomy(first, second, names)),
        section("Images that changed most", _changed(first, second, names)),
        section("Provenance", _provenance(comparison, facts or {})),
    )  # fmt: skip


def _named(colour: str, name: str) -> str:
    return f'<span class="swatch" style="background:{colour}"></span><b>{escape(name)}</b>'


def _headline(first: Evaluation, comparison: Comparison, names: tuple[str, str]) -> str:
    protocol = first.protocol.protocol
    cards = "".join(
        card(
            name,
            number(one.difference, sign=True),
            f"{number(one.first)} \N{RIGHTWARDS ARROW} {number(one.second)}"
            + (f"<br>95\N{NO-BREAK SPACE}% {span(one.interval, sign=True)}" if one.interval else "")
            + (f"<br>p {p_text(one.p_value)}" if one.p_value is not None else ""),
            title=f"{protocol.quantities[name].meaning}; {protocol.quantities[name].aggregation}",
        )
        for name, one in comparison.protocol.items()
    )
    return (
        f'<p class="lead">Protocol <b>{escape(protocol.name)}</b>. A positive difference means that '
        f'{escape(names[1])} has the higher value.</p><div class="cards">{cards}</div>'
    )


def p_text(p_value: float) -> str:
    """`= 0.012` or `< 0.001`."""
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.3f}"


def _forest(comparison: Comparison, names: tuple[str, str]) -> str:
    rows = {
        name: [charts.Estimate(comparison.differences[name].difference, comparison.differences[name].interval)]
        for name in shown_metrics(comparison.definitions, "differences")
        if name in comparison.differences
    }
    ends = [
        abs(end) for marks in rows.values() for mark in marks for end in (mark.value or 0.0, *(mark.interval or ()))
    ]
    reach = max(max(ends, default=0.0) * 1.1, 0.01)
    drawing = charts.estimates(
        rows, x_name=f"{names[1]} \N{MINUS SIGN} {names[0]}", low=-reach, high=reach, zero=True,
        label="Differences of the pooled metrics with intervals",
    )  # fmt: skip
    return figure(
        drawing,
        "Difference of the pooled values and its 95\N{NO-BREAK SPACE}% interval over resampled images, both "
        "predictions of an image together. An interval that holds 0 leaves the sign open.",
        wide=True,
    )


def _difference_table(comparison: Comparison, names: tuple[str, str]) -> str:
    differences = comparison.differences

    def rows(shown: Sequence[str]) -> list[list[str]]:
        return [
            [
                f"<b>{escape(name)}</b>", number(one.first), number(one.second), number(one.difference, sign=True),
                span(one.interval, sign=True), "" if one.p_value is None else p_text(one.p_value).removeprefix("= "),
                f"{one.higher} / {one.lower}",
            ]
            for name in shown
            for one in [differences[name]]
        ]  # fmt: skip

    head = ["metric", escape(names[0]), escape(names[1]), "difference", "95 % interval", "p", "images higher / lower"]
    first = [name for name in shown_metrics(comparison.definitions, "differences") if name in differences]
    others = [name for name in differences if name not in first]
    return table(head, rows(first)) + details(f"{len(others)} further metrics", table(head, rows(others)))


def _curves(first: Evaluation, second: Evaluation, names: tuple[str, str]) -> str:
    if len(first.iou_thresholds) < 2:
        return ""
    lines = [ap_line(first, names[0], colour=FIRST), ap_line(second, names[1], colour=SECOND)]
    drawing = charts.curves(lines, x_name="IoU threshold", y_name="AP", label="AP of both against IoU threshold")
    return figure(drawing, "<b>AP against IoU</b>, pooled, with 95\N{NO-BREAK SPACE}% intervals of each alone.")


def _scatter(first: Evaluation, second: Evaluation, names: tuple[str, str]) -> str:
    both = [
        (one, other, name)
        for one, other, name in zip(
            first.per_image["ap_mean"], second.per_image["ap_mean"], first.names, strict=True
        )
        if one is not None and other is not None
    ]  # fmt: skip
    drawing = charts.scatter(
        np.array([one for one, _, _ in both], np.float64), np.array([other for _, other, _ in both], np.float64),
        x_name=f"{names[0]}: ap_mean", y_name=f"{names[1]}: ap_mean", names=[name for _, _, name in both],
        unit_square=True, label="ap_mean of each image, second against first",
    )  # fmt: skip
    return figure(drawing, f"<b>Each image.</b> Above the line, {escape(names[1])} is better.")


def _taxonomy(first: Evaluation, second: Evaluation, names: tuple[str, str]) -> str:
    rows: dict[str, Mapping[str, int]] = {}
    for kind in ("true cells", "predicted cells"):
        for name, evaluation in zip(names, (first, second), strict=True):
            rows[f"{kind.split()[0]}, {_short(name)}"] = class_counts(evaluation)[kind]
    used = dict.fromkeys(name for counts in rows.values() for name, count in counts.items() if count)
    return legend([(CLASS_COLOURS[name], name, "") for name in used]) + figure(
        charts.shares(rows, CLASS_COLOURS, label="Error classes of both predictions"),
        "Every true and every predicted cell is in exactly one class.",
        wide=True,
    )


def _short(name: str) -> str:
    return name if len(name) <= 12 else name[:11] + "\N{HORIZONTAL ELLIPSIS}"


def _changed(first: Evaluation, second: Evaluation, names: tuple[str, str]) -> str:
    rows = []
    for name, one, other, *counts in zip(
        first.names, first.per_image["ap_mean"], second.per_image["ap_mean"], first.per_image["n_truth"],
        first.per_image["n_predicted"], second.per_image["n_predicted"], strict=True,
    ):  # fmt: skip
        if one is not None and other is not None and one != other:
            rows.append((other - one, name, one, other, counts))
    rows.sort(key=lambda row: -abs(row[0]))
    cells = [
        [escape(name), *(number(count, digits=0) for count in counts), number(one), number(other),
         number(change, sign=True)]
        for change, name, one, other, counts in rows[:_CHANGED_IMAGES]
    ]  # fmt: skip
    head = ["image", "true cells", f"cells: {escape(names[0])}", f"cells: {escape(names[1])}",
            f"ap_mean: {escape(names[0])}", f"ap_mean: {escape(names[1])}", "change"]  # fmt: skip
    return table(head, cells, caption="By the change of ap_mean, the mean AP at IoU .50:.05:.90.")


def _provenance(comparison: Comparison, facts: Mapping[str, str]) -> str:
    lines = {
        **facts,
        "software": f"dinocell-eval {version('dinocell-eval')}",
        "intervals": f"{comparison.num_replicates} bootstrap replicates over images, both predictions together, "
        f"seed {SEED}",
        "p-values": "exchange of the two predictions within images: all ways up to 13 images, else as many random ones",
    }
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in lines.items())
    return f'<dl class="facts">{listed}</dl>'
