"""The report of one evaluation as a single HTML file."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version

import numpy as np

from dinocell_eval.images.bootstrap import FEWEST_IMAGES, SEED
from dinocell_eval.images.evaluate import Evaluation
from dinocell_eval.images.protocols import ProtocolResult
from dinocell_eval.images.strata import STRATUM_METRICS, stratify
from dinocell_eval.images.taxonomy import PREDICTED_CLASSES, TRUTH_CLASSES
from dinocell_eval.metrics.metric_table import COUNTS, shown_metrics
from dinocell_eval.overlap.matching import threshold_key
from dinocell_eval.pages import charts
from dinocell_eval.pages.cells import area_figure, iou_figure, taxonomy, worst_objects
from dinocell_eval.pages.colours import CLASS_COLOURS, FIRST, SECOND
from dinocell_eval.pages.gallery import GalleryImage, data_uri
from dinocell_eval.pages.page import card, details, figure, legend, notes, number, page, section, span, table
from dinocell_io import counted

_GE = "\N{GREATER-THAN OR EQUAL TO}"


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
        f"{counted(counts['images'], 'image')} \N{MIDDLE DOT} {counts['n_truth']} true and "
        f"{counted(counts['n_predicted'], 'predicted cell')}"
    )
    return page(
        title,
        subtitle,
        headline(evaluation.protocol),
        notes(
            [*evaluation.notes, *evaluation.protocol.protocol.caveats], title="What to know about these numbers"
        ),
        section("Agreement and errors", '<div class="grid2">', _ap_figure(evaluation), iou_figure(evaluation),
                "</div>"),
        section("Fate of every cell", taxonomy(evaluation)),
        section("Image by image", _strip_figure(evaluation), '<div class="grid2">', _count_figure(evaluation),
                area_figure(evaluation), "</div>"),
        section("Size and position", _strata(evaluation)),
        _gallery(gallery),
        section("Worst cells", worst_objects(evaluation)),
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
        "pooled value over resampled images.",
    )


def _strip_figure(evaluation: Evaluation) -> str:
    shown = shown_metrics(evaluation.definitions, "page")
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
            f"{counted(image.n_predicted, 'predicted cell')} \N{MIDDLE DOT} lost SEG mass {image.lost:.2f} cells"
            f"{part}</p>"
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


def metric_table_of(evaluation: Evaluation) -> str:
    """Every metric with its definition."""
    rows = []
    for name, value in evaluation.pooled.items():
        metric = evaluation.definitions.get(name)
        count = name in COUNTS
        meaning, definition = ("", COUNTS[name]) if metric is None else (metric.meaning, metric.definition)
        rows.append(
            [
                f"<b>{escape(name)}</b>",
                f"{escape(meaning).replace('&gt;=', _GE)} <code>{definition}</code>",
                number(value, digits=0 if count else 4),
                span(evaluation.intervals[name], digits=4),
                number(evaluation.per_image_mean[name], digits=1 if count else 4),
                str(sum(one is not None for one in evaluation.per_image[name])),
            ]
        )
    head = ["metric", "meaning and definition", "pooled", "95 % interval", "mean of images", "images"]
    return details(f"{len(rows)} metrics with their definitions", table(head, rows, words=2))


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
    """The files that were compared, with their hashes, and the names of those that were ignored."""
    pairs = (inputs or {}).get("pairs")
    if not isinstance(pairs, list):
        return ""

    def described(file: Mapping[str, str] | None) -> list[str]:
        return ["missing", ""] if file is None else [escape(file["file"]), f"<code>{file['sha256'][:16]}</code>"]

    rows = [[escape(pair["name"]), *described(pair["truth"]), *described(pair["predicted"])] for pair in pairs]
    head = ["image", "truth", "SHA-256", "prediction", "SHA-256"]
    listed = details(
        f"{counted(len(rows), 'pair')} of files and the first 16 digits of their SHA-256", table(head, rows, words=5)
    )
    ignored = (inputs or {}).get("ignored")
    if not isinstance(ignored, list) or not ignored:
        return listed
    names = [[escape(name)] for name in ignored]
    return listed + details(f"{len(names)} ignored files beside labels", table(["file"], names, words=1))
