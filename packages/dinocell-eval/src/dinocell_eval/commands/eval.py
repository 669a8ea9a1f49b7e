"""The command `dinocell eval`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dinocell_io import FAILED, WRONG_COMMAND_LINE, errors_told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from dinocell_eval.folders.pairing import Pairing


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
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images, to show them in the report's gallery.")
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Count a missing prediction as an empty image.")
    ] = False,
    split: Annotated[str | None, typer.Option(help="Evaluate only the names of this split.")] = None,
    splits_csv: Annotated[
        Path | None,
        typer.Option(help="Table with the columns name and split; default splits.csv in or above GT_DIR."),
    ] = None,
    iou: Annotated[
        list[float] | None, typer.Option(help="IoU threshold of AP, precision, recall and F1; repeat for more.")
    ] = None,
    boundary: Annotated[
        float | None,
        typer.Option(help="Also compare outlines of this width in pixels: boundary IoU and F, Hausdorff, ASSD."),
    ] = None,
    html: Annotated[bool, typer.Option("--html/--no-html", help="Write report.html.")] = True,
    gallery: Annotated[int, typer.Option(help="Number of worst images drawn in the report.", min=0)] = 8,
) -> None:
    """Compare predicted labels with the true ones: SEG, DET, OP_CSB, AP, PQ, AJI, MMA and every wrong cell.

    An earlier report in --output is replaced. The exit code is 1 if files do not pair or cannot be compared.
    """
    from rich.console import Console

    from dinocell_eval.folders.pairing import pair_folders
    from dinocell_eval.reports.folder_evaluation import Settings, compare_folders, evaluate_folder, refuse_equal_folders
    from dinocell_io import check_output_folder

    console = Console()
    settings = Settings(protocol=protocol, iou=tuple(iou or ()), boundary_px=boundary, html=html,
                        gallery=gallery, images=images)  # fmt: skip
    folders = [pred_dir, *([] if compare is None else [compare])]
    with errors_told(WRONG_COMMAND_LINE):
        settings.check()
        check_output_folder(output)
        _refuse_missing_folders(gt_dir, *folders, *([] if images is None else [images]))
        if compare is not None:
            refuse_equal_folders(pred_dir, compare)
        names = _names(gt_dir, split=split, splits_csv=splits_csv)
    with errors_told(FAILED):
        pairings = [(folder, pair_folders(gt_dir, folder, names=names)) for folder in folders]
        _refuse_unpaired(console, pairings, allow_missing=allow_missing)
        if compare is None:
            evaluate_folder(console, pairings[0], output, settings=settings)
        else:
            compare_folders(console, pairings[0], pairings[1], output, settings=settings)


def _refuse_missing_folders(*folders: Path) -> None:
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is not a folder; pass a folder of images")


def _names(gt_dir: Path, *, split: str | None, splits_csv: Path | None) -> frozenset[str] | None:
    """Names of the split, None without one."""
    from dinocell_eval.folders.pairing import find_splits, names_of_split

    if split is None:
        if splits_csv is not None:
            raise ValueError(f"--splits-csv {splits_csv} was given without --split; name the split to evaluate")
        return None
    table = splits_csv or find_splits(gt_dir)
    if table is None:
        raise ValueError(f"no splits.csv in or above {gt_dir}; pass --splits-csv")
    return names_of_split(table, split)


def _refuse_unpaired(console: "Console", predictions: "Sequence[tuple[Path, Pairing]]", *, allow_missing: bool) -> None:
    from dinocell_eval.reports.printed import print_unpaired

    print_unpaired(console, predictions, allow_missing=allow_missing)
    unpaired = [
        f"{len(pairing.truth_only)} without a prediction and {len(pairing.predicted_only)} without a truth in {folder}"
        for folder, pairing in predictions
        if pairing.predicted_only or (pairing.truth_only and not allow_missing)
    ]
    if unpaired:
        raise ValueError(
            f"unpaired files: {', '.join(unpaired)}; rename or remove them, choose a --split, "
            "or pass --allow-missing to count missing predictions as empty"
        )
