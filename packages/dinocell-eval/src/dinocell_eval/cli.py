"""The command `dinocell eval`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from dinocell_eval.evaluate import Evaluation
    from dinocell_eval.folders import Pairing

_SHOWN = ("seg", "det", "op_csb", "ap_0.50", "ap_0.75", "ap_mean", "pq", "aji", "mma", "dice", "count_error")


def eval_command(
    gt_dir: Annotated[Path, typer.Argument(help="Folder of true label images.", metavar="GT_DIR")],
    pred_dir: Annotated[Path, typer.Argument(help="Folder of predicted label images.", metavar="PRED_DIR")],
    output: Annotated[Path, typer.Option(help="Folder for summary.json, images.csv and objects.csv.")],
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Count a missing prediction as an empty image.")
    ] = False,
    split: Annotated[str | None, typer.Option(help="Evaluate only the names of this split.")] = None,
    splits_csv: Annotated[
        Path | None,
        typer.Option(help="Table with the columns name and split; splits.csv in or above GT_DIR by default."),
    ] = None,
    iou: Annotated[
        list[float] | None, typer.Option(help="IoU threshold of AP, precision, recall and F1; repeatable.")
    ] = None,
) -> None:
    """Compare predicted with true labels: SEG, DET, OP_CSB, AP, PQ, AJI, MMA and every wrong cell."""
    from rich.console import Console

    console = Console()
    try:
        pairing = _pairing(gt_dir, pred_dir, split=split, splits_csv=splits_csv)
        _print_unpaired(console, pairing, allow_missing=allow_missing)
        if pairing.predicted_only or (pairing.truth_only and not allow_missing):
            raise ValueError(
                f"{len(pairing.truth_only)} truths have no prediction and {len(pairing.predicted_only)} predictions "
                "no truth, expected pairs; rename or remove these files, choose a --split, "
                "or pass --allow-missing to count missing predictions as empty"
            )
        _evaluate_files(console, pairing, output, iou=iou)
    except (ValueError, OSError) as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error


def _pairing(gt_dir: Path, pred_dir: Path, *, split: str | None, splits_csv: Path | None) -> "Pairing":
    from dinocell_eval.folders import names_of_split, pair_folders

    if split is None:
        if splits_csv is not None:
            raise ValueError(f"--splits-csv {splits_csv} without --split; name the split to evaluate")
        return pair_folders(gt_dir, pred_dir)
    if splits_csv is None:
        tables = (gt_dir / "splits.csv", gt_dir.absolute().parent / "splits.csv")
        splits_csv = next((table for table in tables if table.is_file()), None)
    if splits_csv is None:
        raise ValueError(f"no splits.csv in or above {gt_dir}; pass --splits-csv")
    return pair_folders(gt_dir, pred_dir, names=names_of_split(splits_csv, split))


def _evaluate_files(console: "Console", pairing: "Pairing", output: Path, *, iou: list[float] | None) -> None:
    import numpy as np

    from dinocell_eval.average_precision import COCO_THRESHOLDS
    from dinocell_eval.evaluate import evaluate
    from dinocell_eval.report import describe_inputs, write_report
    from dinocell_io import read_labels

    pairs = pairing.pairs
    evaluation = evaluate(
        (read_labels(pair.truth) for pair in pairs),
        (
            np.zeros_like(read_labels(pair.truth)) if pair.predicted is None else read_labels(pair.predicted)
            for pair in pairs
        ),
        iou_thresholds=iou or COCO_THRESHOLDS,
        names=[pair.name for pair in pairs],
    )
    write_report(output, evaluation, inputs=describe_inputs(pairing))
    _print_metrics(console, evaluation)
    console.print(f"wrote {output}/summary.json, images.csv, objects.csv", markup=False, soft_wrap=True)


def _print_unpaired(console: "Console", pairing: "Pairing", *, allow_missing: bool) -> None:
    from rich.table import Table

    rows = [(path.name, "counted as empty" if allow_missing else "no prediction") for path in pairing.truth_only]
    rows += [(path.name, "no truth") for path in pairing.predicted_only]
    rows += [(path.name, "ignored: no labels") for path in pairing.ignored]
    if not rows:
        return
    table = Table("file", "", title="Unpaired files")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _print_metrics(console: "Console", evaluation: "Evaluation") -> None:
    from rich.table import Table

    counts = evaluation.counts
    table = Table(
        "metric",
        "pooled",
        "95 % interval",
        "mean of images",
        title=f"{counts['images']} images, {counts['n_truth']} true and {counts['n_predicted']} predicted objects",
    )
    shown = [name for name in _SHOWN if name in evaluation.pooled]
    shown += [f"ap_{threshold}" for threshold in _other_thresholds(evaluation)]
    for name in shown:
        interval = evaluation.intervals[name]
        table.add_row(
            name,
            _number(evaluation.pooled[name]),
            "-" if interval is None else f"{interval[0]:.4f} .. {interval[1]:.4f}",
            _number(evaluation.per_image_mean[name]),
        )
    console.print(table)
    for kind in ("truth", "predicted"):
        classes = {key: n for key, n in counts.items() if key.startswith(f"{kind}_") and n}
        if classes:
            console.print(f"{kind}: " + ", ".join(f"{n} {key.removeprefix(f'{kind}_')}" for key, n in classes.items()))
    for note in evaluation.notes:
        console.print(f"note: {note}", soft_wrap=True)


def _other_thresholds(evaluation: "Evaluation") -> list[str]:
    """Thresholds asked for that are not among the usual ten, which the table would only repeat."""
    from dinocell_eval.average_precision import COCO_THRESHOLDS
    from dinocell_eval.matching import threshold_key

    return [threshold_key(t) for t in evaluation.iou_thresholds if t not in COCO_THRESHOLDS]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
