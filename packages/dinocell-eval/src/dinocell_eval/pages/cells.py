"""The cells of an evaluation in its report: their IoU, classes, areas, and the worst of them."""

from html import escape

import numpy as np

from dinocell_eval.images.evaluate import Evaluation
from dinocell_eval.images.taxonomy import PREDICTED_CLASSES, TRUTH_CLASSES
from dinocell_eval.pages import charts
from dinocell_eval.pages.colours import CLASS_COLOURS, CLASS_MEANING
from dinocell_eval.pages.page import figure, number, table

_WORST_OBJECTS = 25


def iou_figure(evaluation: Evaluation) -> str:
    """Best IoU of every true cell, coloured by class."""
    objects = evaluation.objects
    truth = objects.kind == "truth"
    edges = np.linspace(0, 1, 21)
    parts = {
        name: np.histogram(objects.iou[truth & (objects.error_class == name)], edges)[0].astype(np.int64)
        for name in TRUTH_CLASSES
    }
    drawing = charts.stacked_histogram(
        parts, edges, CLASS_COLOURS, x_name="best IoU with any prediction", y_name="true cells",
        label="Histogram of the best IoU of every true cell",
    )  # fmt: skip
    found = objects.iou[truth & (objects.error_class == "correct")]
    middle = f" Median of the correct ones: {np.median(found):.3f}." if found.size else ""
    return figure(
        drawing, f"<b>IoU of every true cell</b> with the prediction it overlaps best, by its class below.{middle}"
    )


def taxonomy(evaluation: Evaluation) -> str:
    """Bars and a table of the error classes."""
    rows = class_counts(evaluation)
    drawing = charts.shares(rows, CLASS_COLOURS, label="Error classes of true and predicted cells")
    tables = []
    for row, counts in rows.items():
        whole = sum(counts.values())
        cells = [
            [f"{swatch(name)}<small>{escape(CLASS_MEANING[name])}</small>", str(count),
             f"{count / whole:.1%}" if whole else number(None)]
            for name, count in counts.items()
        ]  # fmt: skip
        tables.append(table([row, "cells", "share"], cells))
    words = "Every true and every predicted cell is in exactly one class; the classes of a row add up to all its cells."
    return figure(drawing, words, wide=True) + f'<div class="grid2">{"".join(tables)}</div>'


def swatch(error_class: str) -> str:
    """The name of a class with its colour."""
    dot = f'<span class="swatch" style="background:{CLASS_COLOURS[error_class]}"></span>'
    return f'<span class="class">{dot}{error_class}</span>'


def class_counts(evaluation: Evaluation) -> dict[str, dict[str, int]]:
    """Cells of each class, of the true and of the predicted cells."""
    counts = evaluation.counts
    return {
        row: {name: counts[f"{kind}_{name.replace(' ', '_')}"] for name in classes}
        for row, kind, classes in (
            ("true cells", "truth", TRUTH_CLASSES),
            ("predicted cells", "predicted", PREDICTED_CLASSES),
        )
    }


def area_figure(evaluation: Evaluation) -> str:
    """Predicted against true area of the correct cells."""
    truth, predicted = matched_areas(evaluation)
    drawing = charts.scatter(
        truth, predicted, x_name="true area (px)", y_name="predicted area (px)", log=True,
        label="Predicted against true area of correct cells",
    )  # fmt: skip
    bias = f"Median of predicted / true area: {np.median(predicted / truth):.3f}." if truth.size else ""
    return figure(drawing, f"<b>Area of {truth.size} correct cells.</b> {bias} Above the line, outlines are too wide.")


def matched_areas(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """Areas of the correct true cells whose majority match is correct too, and of these matches."""
    objects = evaluation.objects
    truth = np.flatnonzero((objects.kind == "truth") & (objects.error_class == "correct") & (objects.matched_label > 0))
    predicted = np.flatnonzero(objects.kind == "predicted")
    rows = zip(
        objects.image[predicted].tolist(), objects.label[predicted].tolist(), objects.area[predicted].tolist(),
        strict=True,
    )  # fmt: skip
    area = {(image, label): value for image, label, value in rows}
    wanted = zip(objects.image[truth].tolist(), objects.matched_label[truth].tolist(), strict=True)
    partner = [area[key] for key in wanted]
    return objects.area[truth].astype(np.float64), np.array(partner, np.float64)


def worst_objects(evaluation: Evaluation) -> str:
    """Table of the cells that lost most pixels."""
    objects = evaluation.objects
    spurious = (objects.kind == "predicted") & (objects.error_class == "spurious")
    lost = np.where(objects.kind == "truth", (1 - objects.jaccard) * objects.area, spurious * objects.area)
    order = [row for row in np.argsort(-lost, kind="stable")[:_WORST_OBJECTS].tolist() if lost[row] > 0]
    rows = []
    for row in order:
        box = "" if objects.box is None else "{0}-{2}, {1}-{3}".format(*objects.box[row].tolist())
        rows.append(
            [
                escape(evaluation.names[int(objects.image[row])]),
                swatch(str(objects.error_class[row])),
                str(objects.kind[row]),
                str(objects.label[row]),
                str(objects.area[row]),
                number(float(objects.iou[row])),
                number(float(objects.jaccard[row])),
                str(objects.matched_label[row] or number(None)),
                box,
            ]
        )
    head = ["image", "class", "of", "label", "area (px)", "best IoU", "J", "matched", "rows, columns"]
    return table(
        head, rows, words=3,
        caption="By lost pixels: area \N{MULTIPLICATION SIGN} (1 \N{MINUS SIGN} J) of true cells, area of spurious "
        "ones. All cells are in objects.csv.",
    )  # fmt: skip
