"""What `dinocell eval` prints: unpaired files, the table of metrics, differences of two predictions."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Column, Table

from dinocell_eval.metrics.average_precision import COCO_THRESHOLDS
from dinocell_eval.metrics.metric_table import shown_metrics
from dinocell_eval.overlap.matching import threshold_key
from dinocell_io import counted

if TYPE_CHECKING:
    from rich.console import Console

    from dinocell_eval.folders.pairing import Pairing
    from dinocell_eval.images.comparison import Comparison
    from dinocell_eval.images.evaluate import Evaluation

MOST_LISTED = 20  # files of one kind


def print_unpaired(console: "Console", predictions: Sequence[tuple[Path, "Pairing"]], *, allow_missing: bool) -> None:
    """One table of the files that have no partner or are not labels; prints nothing if there are none.

    The first MOST_LISTED of each kind are named and the others counted. `predictions` are folders with their pairing;
    if there are several, each row names its folder.
    """
    table = Table("file", "", title="Unpaired files")
    for folder, pairing in predictions:
        of_folder = f" ({folder})" if len(predictions) > 1 else ""
        kinds = {
            "counted as empty" if allow_missing else "no prediction": pairing.truth_only,
            "no truth": pairing.predicted_only,
            "ignored: not labels, or labels of a file beside it": pairing.ignored,
        }
        for kind, paths in kinds.items():
            names = [path.name for path in paths[:MOST_LISTED]]
            if len(paths) > MOST_LISTED:
                names.append(f"and {len(paths) - MOST_LISTED} more")
            for name in names:
                table.add_row(escape(name), escape(kind + of_folder))
    if table.row_count:
        console.print(table)


def print_metrics(console: "Console", evaluation: "Evaluation") -> None:
    """The usual metrics, the protocol's numbers, the classes and the notes."""
    counts = evaluation.counts
    table = Table(
        "metric",
        "pooled",
        "95 % interval",
        "mean of images",
        title=f"{counted(counts['images'], 'image')}, {counts['n_truth']} true and "
        f"{counted(counts['n_predicted'], 'predicted object')}",
    )
    shown = shown_metrics(evaluation.definitions, "printed")
    shown += [f"ap_{threshold}" for threshold in _other_thresholds(evaluation)]
    for name in shown:
        table.add_row(
            name,
            number(evaluation.pooled[name]),
            interval(evaluation.intervals[name]),
            number(evaluation.per_image_mean[name]),
        )
    console.print(table)
    result = evaluation.protocol
    if result.protocol.name != "dinocell":
        table = Table(
            f"protocol {result.protocol.name}", "value", "95 % interval", "definition", title=result.protocol.title
        )
        for name, quantity in result.protocol.quantities.items():
            table.add_row(name, number(result.values[name]), interval(result.intervals[name]), quantity.definition)
        console.print(table)
    for kind in ("truth", "predicted"):
        classes = {key: n for key, n in counts.items() if key.startswith(f"{kind}_") and n}
        if classes:
            listed = [f"{n} {key.removeprefix(f'{kind}_').replace('_', ' ')}" for key, n in classes.items()]
            console.print(f"{kind}: {', '.join(listed)}")
    for note in (*evaluation.notes, *result.protocol.caveats):
        console.print(f"note: {note}", soft_wrap=True)


def print_comparison(console: "Console", comparison: "Comparison", names: tuple[str, str]) -> None:
    """The differences of the usual metrics."""
    table = Table(
        Column("metric", no_wrap=True), names[0], names[1], Column("difference", no_wrap=True), "95 % interval", "p",
        "images higher / lower", title=f"{names[1]} against {names[0]}, {counted(comparison.num_images, 'image')}",
    )  # fmt: skip
    for name in shown_metrics(comparison.definitions, "printed"):
        if (one := comparison.differences.get(name)) is not None:
            table.add_row(
                name,
                number(one.first),
                number(one.second),
                "-" if one.difference is None else f"{one.difference:+.4f}",
                interval(one.interval, sign="+"),
                "-" if one.p_value is None else f"{one.p_value:.4f}",
                f"{one.higher} / {one.lower}",
            )
    console.print(table)
    for note in comparison.notes:
        console.print(f"note: {note}", soft_wrap=True)


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def interval(ends: tuple[float, float] | None, *, sign: str = "") -> str:
    return "-" if ends is None else f"{ends[0]:{sign}.4f} .. {ends[1]:{sign}.4f}"


def _other_thresholds(evaluation: "Evaluation") -> list[str]:
    """Requested thresholds that are not among the usual ten, which the table would only repeat."""
    return [threshold_key(t) for t in evaluation.iou_thresholds if t not in COCO_THRESHOLDS]
