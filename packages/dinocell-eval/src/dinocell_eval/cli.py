"""The command `dinocell eval`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from dinocell_eval.folders import Pairing


def eval_command(
    gt_dir: Annotated[Path, typer.Argument(help="Folder of true label images.", metavar="GT_DIR")],
    pred_dir: Annotated[Path, typer.Argument(help="Folder of predicted label images.", metavar="PRED_DIR")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for summary.json, images.csv, objects.csv, report.html.")
    ],
    compare: Annotated[
        Path | None, typer.Option(help="Second folder of predictions, compared with PRED_DIR.", metavar="PRED_DIR_2")
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="dinocell, ctc, samcell, stardist, cellpose or dinocell-2026.")
    ] = "dinocell",
    images: Annotated[Path | None, typer.Option(help="Folder of the images, shown in the report's gallery.")] = None,
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
    boundary: Annotated[
        float | None,
        typer.Option(help="Width in pixels of outlines to compare too: boundary IoU and F, Hausdorff, ASSD."),
    ] = None,
    html: Annotated[bool, typer.Option("--html/--no-html", help="Write report.html.")] = True,
    gallery: Annotated[int, typer.Option(help="Number of worst images drawn in the report.", min=0)] = 8,
) -> None:
    """Compare predicted with true labels: SEG, DET, OP_CSB, AP, PQ, AJI, MMA and every wrong cell."""
    from rich.console import Console

    from dinocell_eval.folder_evaluation import Settings, compare_folders, evaluate_folder
    from dinocell_eval.protocols import protocol_named

    console = Console()
    try:
        protocol_named(protocol)
        settings = Settings(protocol=protocol, iou=tuple(iou or ()), boundary_px=boundary, html=html,
                            gallery=gallery, images=images)  # fmt: skip
        pairings = []
        for folder in (pred_dir, *([] if compare is None else [compare])):
            pairing = _pairing(gt_dir, folder, split=split, splits_csv=splits_csv)
            _refuse_unpaired(console, pairing, folder, allow_missing=allow_missing)
            pairings.append((folder, pairing))
        if compare is None:
            evaluate_folder(console, pairings[0], output, settings=settings)
        else:
            compare_folders(console, pairings[0], pairings[1], output, settings=settings)
    except (ValueError, OSError) as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error


def _pairing(gt_dir: Path, pred_dir: Path, *, split: str | None, splits_csv: Path | None) -> "Pairing":
    from dinocell_eval.folders import find_splits, names_of_split, pair_folders

    if split is None:
        if splits_csv is not None:
            raise ValueError(f"--splits-csv {splits_csv} without --split; name the split to evaluate")
        return pair_folders(gt_dir, pred_dir)
    splits_csv = splits_csv or find_splits(gt_dir)
    if splits_csv is None:
        raise ValueError(f"no splits.csv in or above {gt_dir}; pass --splits-csv")
    return pair_folders(gt_dir, pred_dir, names=names_of_split(splits_csv, split))


def _refuse_unpaired(console: "Console", pairing: "Pairing", folder: Path, *, allow_missing: bool) -> None:
    from dinocell_eval.printed import print_unpaired

    print_unpaired(console, pairing, allow_missing=allow_missing)
    if pairing.predicted_only or (pairing.truth_only and not allow_missing):
        raise ValueError(
            f"{len(pairing.truth_only)} truths have no prediction and {len(pairing.predicted_only)} predictions "
            f"no truth in {folder}, expected pairs; rename or remove these files, choose a --split, "
            "or pass --allow-missing to count missing predictions as empty"
        )
