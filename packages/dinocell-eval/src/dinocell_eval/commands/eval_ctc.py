"""The command `dinocell eval-ctc`, a replacement of SEGMeasure, DETMeasure and TRAMeasure."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dinocell_io import counted

if TYPE_CHECKING:
    from dinocell_eval.tracking.evaluate_tracking import TrackingEvaluation

OFFICIAL_FAILURE = 255  # what the official tools return for every error


def eval_ctc_command(
    dataset: Annotated[Path, typer.Argument(help="Folder with 01_GT and 01_RES.", metavar="DIR")],
    sequence: Annotated[str, typer.Argument(help="Name of the sequence, such as 01.", metavar="SEQUENCE")],
    digits: Annotated[
        str, typer.Argument(help="Digits of the frame numbers, 3 as in mask000.tif.", metavar="DIGITS")
    ] = "3",
    penalize_fp: Annotated[
        str,
        typer.Argument(
            help="0 computes DET without false positives, as the official DETMeasure does.", metavar="PENALIZE_FP"
        ),
    ] = "1",
    measure: Annotated[
        list[str] | None,
        typer.Option(help="Only seg, det or tra, printed and logged as the official tool does; repeat for more."),
    ] = None,
    log: Annotated[
        bool | None,
        typer.Option(
            "--log/--no-log",
            help="Write SEG_log.txt, DET_log.txt and TRA_log.txt to 01_RES; default only with --measure.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Write all measures to this JSON file; an existing file is replaced.", metavar="FILE"),
    ] = None,
    missing_as_empty: Annotated[
        bool, typer.Option("--missing-as-empty", help="Count a missing result file as an empty image.")
    ] = False,
    field_of_interest: Annotated[
        int,
        typer.Option("--foi", help="Leave out result objects that lie entirely in this margin, in pixels.", min=0),
    ] = 0,
    silver_truth: Annotated[bool, typer.Option("--silver-truth", help="Use the truth of SEG in 01_ST.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse files that the official tools refuse or misread.")
    ] = False,
    bc_tolerance: Annotated[int, typer.Option(help="Greatest tolerance of BC(i), in frames.", min=0)] = 3,
) -> None:
    """Evaluate a sequence in the folders of the Cell Tracking Challenge: SEG, DET, TRA, LNK, CT, TF, BC, CCA, CHOTA."""
    from dinocell_eval.ctc.dataset import open_ctc_sequence
    from dinocell_eval.ctc.evaluation import evaluate_ctc_sequence

    official = [name.lower() for name in measure or ()]
    try:
        files = open_ctc_sequence(dataset, sequence, digits=_digits(digits), silver_truth=silver_truth)
        evaluation = evaluate_ctc_sequence(
            files,
            measures=official or None,
            missing_as_empty=missing_as_empty,
            strict=strict,
            field_of_interest=field_of_interest,
            max_bc_tolerance=bc_tolerance,
        )
        values = _official_values(evaluation, official, count_spurious=_atoi(penalize_fp) != 0)
        if log or (log is None and official):
            _write_logs(files.result_folder, evaluation, values, count_spurious=_atoi(penalize_fp) != 0)
        replaces = output is not None and output.exists()
        if output is not None:
            _write_json(output, evaluation, inputs={"dataset": str(dataset), "sequence": sequence})
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}")
        raise typer.Exit(OFFICIAL_FAILURE) from error
    if official:
        _print_official(evaluation, values)
    else:
        _print_all(evaluation, values, title=f"{dataset}, sequence {sequence}")
    if output is not None:
        # not in the output that programs read
        typer.echo(f"wrote {output}{'; it replaces an earlier one' if replaces else ''}", err=bool(official))


def _digits(text: str) -> int:
    if not re.fullmatch(r"[0-9]+", text) or int(text) < 1:
        raise ValueError(f"the number of digits is {text!r}, expected 3 for mask000.tif or 4 for mask0000.tif")
    return int(text)


def _atoi(text: str) -> int:
    """The integer at the beginning of a text, 0 if there is none, as the official tools read it."""
    match = re.match(r"\s*([+-]?[0-9]+)", text)
    return int(match[1]) if match else 0


def _official_values(
    evaluation: "TrackingEvaluation", measures: list[str], *, count_spurious: bool
) -> dict[str, float]:
    """The requested values of SEG, DET and TRA, otherwise all defined ones; ValueError if one is undefined."""
    from dinocell_eval.metrics.det import MISSED_WEIGHT, SPLIT_WEIGHT
    from dinocell_eval.tracking.tra import normalized

    det = evaluation.det
    if not count_spurious:
        cost = SPLIT_WEIGHT * evaluation.ns + MISSED_WEIGHT * evaluation.fn
        det = normalized(float(cost), float(MISSED_WEIGHT * evaluation.n_truth))
    found = {"seg": evaluation.seg, "det": det, "tra": evaluation.tra}
    for name in measures:
        if found[name] is None:
            because = "; ".join(evaluation.notes) or "there is nothing to compare with"
            raise ValueError(f"{name.upper()} is undefined: {because}")
    return {name: value for name, value in found.items() if value is not None and name in (measures or found)}


def _write_logs(
    folder: Path, evaluation: "TrackingEvaluation", values: dict[str, float], *, count_spurious: bool
) -> None:
    from dinocell_eval.ctc.log import det_log, seg_log, tra_log
    from dinocell_eval.metrics.det import SPURIOUS_WEIGHT
    from dinocell_io import atomic_path

    weight = SPURIOUS_WEIGHT if count_spurious else 0
    texts = {
        "SEG_log.txt": lambda: seg_log(evaluation, values["seg"]),
        "DET_log.txt": lambda: det_log(evaluation, values["det"], spurious_weight=weight),
        "TRA_log.txt": lambda: tra_log(evaluation, values["tra"]),
    }
    for name, text in texts.items():
        if name[:3].lower() in values:
            with atomic_path(folder / name) as temporary:
                temporary.write_text(text(), encoding="ascii", newline="\n")


def _write_json(path: Path, evaluation: "TrackingEvaluation", *, inputs: dict[str, object]) -> None:
    from dinocell_eval.tracking.tracking_report import tracking_json
    from dinocell_io import atomic_path

    with atomic_path(path) as temporary:
        temporary.write_text(tracking_json(evaluation, inputs=inputs), encoding="utf-8")


def _print_official(evaluation: "TrackingEvaluation", values: dict[str, float]) -> None:
    from dinocell_eval.ctc.log import measure_line

    for name, value in values.items():
        typer.echo(measure_line(name, value))
    for note in evaluation.notes:
        typer.echo(f"note: {note}", err=True)  # programs read the other stream


def _print_all(evaluation: "TrackingEvaluation", values: dict[str, float], *, title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    objects = f"{evaluation.n_truth} true and {counted(evaluation.n_result, 'result object')}"
    console.print(f"{title}: {counted(evaluation.num_frames, 'frame')}, {objects}", soft_wrap=True, markup=False)
    table = Table("measure", "value")
    shown: dict[str, float | None] = {
        "SEG": evaluation.seg,
        "DET": values.get("det"),
        "TRA": evaluation.tra,
        "LNK": evaluation.lnk,
        "OP_CSB": evaluation.op_csb,
        "OP_CTB": evaluation.op_ctb,
        "CT": evaluation.ct,
        "TF": evaluation.tf,
        "TF_stable": evaluation.tf_stable,
        **{f"BC({i})": value for i, value in enumerate(evaluation.bc)},
        "CCA": evaluation.cca,
        **{f"OP_CLB({i})": value for i, value in enumerate(evaluation.op_clb)},
        "CHOTA": evaluation.chota,
    }
    for name, value in shown.items():
        table.add_row(name, "-" if value is None else f"{value:.6f}")
    console.print(table)
    operations = ("ns", "fn", "fp", "ed", "ea", "ec")
    counts = {name.upper(): getattr(evaluation, name) for name in operations}
    listed = ", ".join(f"{count} {name}" for name, count in counts.items() if count is not None)
    cost = "" if evaluation.aogm is None else f", AOGM {evaluation.aogm:g}"
    console.print(f"corrections: {listed}{cost}", soft_wrap=True, markup=False)
    for note in evaluation.notes:
        console.print(f"note: {note}", soft_wrap=True, markup=False)
