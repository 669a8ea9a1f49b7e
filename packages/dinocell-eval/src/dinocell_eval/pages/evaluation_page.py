"""The report of one evaluation as a single HTML file."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version

import numpy as np

from dinocell_eval.bootstrap import FEWEST_IMAGES, SEED
from dinocell_eval.evaluate import Evaluation
from dinocell_eval.matching import threshold_key
from dinocell_eval.metrics import COUNTS
from dinocell_eval.pages import charts
from dinocell_eval.pages.colours import CLASS_COLOURS, CLASS_MEANING, FIRST, SECOND
from dinocell_eval.pages.gallery import GalleryImage, data_uri
from dinocell_eval.pages.page import card, details, figure, legend, notes, number, page, section, span, table
from dinocell_eval.protocols import ProtocolResult
from dinocell_eval.strata import STRATUM_METRICS, stratify
from dinocell_eval.taxonomy import PREDICTED_CLASSES, TRUTH_CLASSES

STRIP_METRICS = ("seg", "det", "ap_0.50", "ap_mean", "pq", "aji", "mma", "dice")
_GE = "\N{GREATER-THAN OR EQUAL TO}"
_WORST_OBJECTS = 25


def evaluation_page(
    evaluation: Evaluation,
    *,
    title: str = "Segmentation report",
    facts: Mapping[str, str] | None = None,
    gallery: Sequence[GalleryImage] = (),
    inputs: Mapping[str, object] | None = None,
) -> str:
    """HTML text of the report; `facts` (folders, command, date) open it, `inputs` are those of `describe_inputs`."""
    counts = evaluation.counts
    subtitle = (
        f"{counts['images']} images \N{MIDDLE DOT} {counts['n_truth']} true and {counts['n_predicted']} predicted cells"
    )
    return page(
        title,
        subtitle,
        headline(evaluation.protocol),
        notes(
            [*evaluation.notes, *evaluation.protocol.protocol.caveats], title="What to know about these numbers"
        ),
        section("Agreement and errors", '<div class="grid2">', _ap_figure(evaluation), _iou_figure(evaluation),
                "</div>"),
        section("Fate of every cell", _taxonomy(evaluation)),
        section("Image by image", _strip_figure(evaluation), '<div class="grid2">', _count_figure(evaluation),
                _area_figure(evaluation), "</div>"),
        section("Size and position", _strata(evaluation)),
        _gallery(gallery),
        section("Worst cells", _worst_objects(evaluation)),
        section("All metrics", metric_table_of(evaluation)),
        section("Provenance", _provenance(evaluation, facts or {}, inputs)),
    )  # fmt: skip


def headline(result: ProtocolResult) -> str:
    """The protocol's numbers as cards."""
    cards = "".join(
        card(
            name,
            number(result.values[name]),
            span(result.intervals[name]) and f"95\N{NO-BREAK SPACE}% {span(result.intervals[name])}",
            title=f"{quantity.meaning}; {quantity.aggregation}; {quantity.definition}",
        )
        for name, quantity in result.protocol.quantities.items()
    )
    protocol = result.protocol
    return (
        f'<p class="lead">Protocol <b>{escape(protocol.name)}</b> ({escape(protocol.title)}): '
        f'{escape(protocol.description)}</p><div class="cards">{cards}</div>'
    )


def ap_line(evaluation: Evaluation, name: str, *, colour: str, mean: bool = False) -> charts.Line:
    """AP over the evaluation's IoU thresholds, pooled with intervals or as mean of images."""
    thresholds = sorted(evaluation.iou_thresholds)
    keys = [f"ap_{threshold_key(threshold)}" for threshold in thresholds]
    return charts.Line(
        name,
        [float(threshold) for threshold in thresholds],
        [(evaluation.per_image_mean if mean else evaluation.pooled)[key] for key in keys],
        [None if mean else evaluation.intervals[key] for key in keys],
        colour,
        dashed=mean,
    )


def _ap_figure(evaluation: Evaluation) -> str:
    if len(evaluation.iou_thresholds) < 2:
        return ""
    lines = [
        ap_line(evaluation, "pooled", colour=FIRST),
        ap_line(evaluation, "mean of images", colour=SECOND, mean=True),
    ]
    drawing = charts.curves(lines, x_name="IoU threshold", y_name="AP", label="AP against IoU threshold")
    return figure(
        drawing,
        "<b>AP against IoU.</b> TP / (TP + FP + FN), one-to-one; the band is the 95\N{NO-BREAK SPACE}% interval of the "
        "pooled value when images are drawn anew.",
    )


def _iou_figure(evaluation: Evaluation) -> str:
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


def _taxonomy(evaluation: Evaluation) -> str:
    rows = class_counts(evaluation)
    drawing = charts.shares(rows, CLASS_COLOURS, label="Error classes of true and predicted cells")
    texts = []
    for row, counts in rows.items():
        whole = sum(counts.values())
        texts += [
            [swatch(name), row,
             escape(CLASS_MEANING[name]), str(count), f"{count / whole:.1%}" if whole else number(None)]
            for name, count in counts.items()
        ]  # fmt: skip
    return figure(
        drawing,
        "Every true and every predicted cell is in exactly one class; the classes of a row add up to its number of "
        "cells.",
        wide=True,
    ) + table(["class", "of", "meaning", "cells", "share"], texts, words=3)


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


def _strip_figure(evaluation: Evaluation) -> str:
    shown = [name for name in STRIP_METRICS if name in evaluation.pooled]
    drawing = charts.strips(
        {name: evaluation.per_image[name] for name in shown},
        {name: evaluation.pooled[name] for name in shown},
        names=evaluation.names,
        label="Metrics of each image",
    )
    return figure(
        drawing,
        "<b>One dot an image</b>, a line at the median, a diamond at the pooled value. Images where a metric is "
        "undefined have no dot.",
        wide=True,
    )


def _count_figure(evaluation: Evaluation) -> str:
    truth, predicted = (np.array(evaluation.per_image[name], np.float64) for name in ("n_truth", "n_predicted"))
    drawing = charts.scatter(
        truth, predicted, x_name="true cells", y_name="predicted cells", names=evaluation.names,
        label="Predicted against true number of cells of each image",
    )  # fmt: skip
    ratio, error = evaluation.pooled["count_ratio"], evaluation.pooled["count_error"]
    return figure(
        drawing,
        f"<b>Number of cells in each image.</b> Predicted / true over the set: {number(ratio)}; count error, which "
        f"does not cancel between images: {number(error)}.",
    )


def _area_figure(evaluation: Evaluation) -> str:
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


def _strata(evaluation: Evaluation) -> str:
    strata = stratify(evaluation)
    rows = {
        f"{stratum.name}": [
            charts.Estimate(stratum.values["seg"], stratum.intervals["seg"], FIRST),
            charts.Estimate(stratum.values["ap_0.50"], stratum.intervals["ap_0.50"], SECOND, square=True),
        ]
        for stratum in strata
    }
    drawing = charts.estimates(rows, x_name="value and 95 % interval", label="SEG and AP by size and position")
    texts = [
        [stratum.kind, escape(stratum.name), str(stratum.n_truth), str(stratum.n_predicted)]
        + [f"{number(stratum.values[name])} <small>{span(stratum.intervals[name])}</small>" for name in STRATUM_METRICS]
        for stratum in strata
    ]
    return (
        legend([(FIRST, "SEG", "circle"), (SECOND, "AP@.50", "square")])
        + figure(
            drawing,
            "Quarters of the true cells by area, and cells inside or cut by the border of the image. Predictions are "
            "put into them by their own area and position.",
            wide=True,
        )
        + table(["by", "stratum", "true", "predicted", "SEG", "AP@.50", "recall@.50"], texts, words=2)
    )


def _gallery(gallery: Sequence[GalleryImage]) -> str:
    if not gallery:
        return ""
    items, backgrounds = [], []
    for order, image in enumerate(gallery):
        backgrounds.append(f'.g{order}{{background-image:url("{data_uri(image.background)}")}}')
        y0, x0, y1, x1 = image.window
        part = "" if (y1 - y0, x1 - x0) == image.whole else f" \N{MIDDLE DOT} rows {y0}-{y1 - 1}, columns {x0}-{x1 - 1}"
        panels = "".join(
            f'<div><p>{words}</p><div class="shown g{order}"><img src="{data_uri(outlines)}" '
            f'width="{x1 - x0}" height="{y1 - y0}" alt="{words} of {escape(image.name)}"></div></div>'
            for words, outlines in (("true outlines", image.truth), ("predicted outlines", image.predicted))
        )
        items.append(
            f'<div class="item"><h3>{escape(image.name)}</h3><p class="facts">{image.n_truth} true, '
            f"{image.n_predicted} predicted cells \N{MIDDLE DOT} lost SEG mass {image.lost:.2f} cells{part}</p>"
            f'<div class="pair">{panels}</div></div>'
        )
    names = dict.fromkeys([*TRUTH_CLASSES, *PREDICTED_CLASSES])
    keys: dict[str, list[str]] = {}
    for name in names:
        keys.setdefault(CLASS_COLOURS[name], []).append(name)
    return section(
        "Worst images",
        f"<style>{''.join(backgrounds)}</style>",
        legend([(colour, " / ".join(words), "") for colour, words in keys.items()]),
        f'<div class="gallery">{"".join(items)}</div>',
        lead="Images that lost most, by the sum over their true cells of 1 \N{MINUS SIGN} J plus their false "
        "positives. Outlines are coloured by the class of their cell.",
    )


def _worst_objects(evaluation: Evaluation) -> str:
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


def metric_table_of(evaluation: Evaluation) -> str:
    """Every metric with its definition."""
    rows = []
    for name, value in evaluation.pooled.items():
        metric = evaluation.definitions.get(name)
        count = name in COUNTS
        rows.append(
            [
                f"<b>{escape(name)}</b>",
                "" if metric is None else escape(metric.meaning).replace("&gt;=", _GE),
                f"<code>{COUNTS[name] if metric is None else metric.definition}</code>",
                number(value, digits=0 if count else 4),
                span(evaluation.intervals[name], digits=4),
                number(evaluation.per_image_mean[name], digits=1 if count else 4),
                str(sum(one is not None for one in evaluation.per_image[name])),
            ]
        )
    head = ["metric", "meaning", "definition", "pooled", "95 % interval", "mean of images", "images"]
    return details(f"{len(rows)} metrics with their definitions", table(head, rows, words=3))


def _provenance(evaluation: Evaluation, facts: Mapping[str, str], inputs: Mapping[str, object] | None) -> str:
    lines = {
        **facts,
        "software": f"dinocell-eval {version('dinocell-eval')}",
        "intervals": f"{evaluation.num_replicates} bootstrap replicates over images, seed {SEED}, percentiles; rough "
        f"below {FEWEST_IMAGES} images",
    }
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in lines.items())
    return f'<dl class="facts">{listed}</dl>' + input_table(inputs)


def input_table(inputs: Mapping[str, object] | None) -> str:
    """The files that were compared, with their hashes."""
    pairs = (inputs or {}).get("pairs")
    if not isinstance(pairs, list):
        return ""

    def described(file: Mapping[str, str] | None) -> list[str]:
        return ["missing", ""] if file is None else [escape(file["file"]), f"<code>{file['sha256'][:16]}</code>"]

    rows = [[escape(pair["name"]), *described(pair["truth"]), *described(pair["predicted"])] for pair in pairs]
    head = ["image", "truth", "SHA-256", "prediction", "SHA-256"]
    return details(f"{len(rows)} pairs of files and the first 16 digits of their SHA-256", table(head, rows, words=5))
