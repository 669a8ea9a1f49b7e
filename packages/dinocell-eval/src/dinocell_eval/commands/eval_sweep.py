"""The command `dinocell eval-sweep`."""

from pathlib import Path
from typing import Annotated

import typer

from dinocell_io import FAILED, WRONG_COMMAND_LINE, counted, errors_told

_MAP_ENDING = "_distance_map"  # what `dinocell segment` writes beside labels


def sweep_command(
    gt_dir: Annotated[Path, typer.Argument(help="Folder of true label images.", metavar="GT_DIR")],
    map_dir: Annotated[
        Path, typer.Argument(help="Folder of distance maps, <name>_distance_map.tif or <name>.tif.", metavar="MAP_DIR")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for sweep.json and sweep.html.")],
    split: Annotated[str | None, typer.Option(help="Images to choose thresholds on; never the test split.")] = None,
    splits_csv: Annotated[
        Path | None,
        typer.Option(help="Table with the columns name and split; default splits.csv in or above GT_DIR."),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Metric to map, such as op_csb, ap_mean or mma; repeat for more.")
    ] = None,
    peak: Annotated[list[float] | None, typer.Option(help="Peak threshold of the grid; repeat for more.")] = None,
    fill: Annotated[list[float] | None, typer.Option(help="Fill threshold of the grid; repeat for more.")] = None,
    min_size: Annotated[int, typer.Option(help="Drop cells with fewer pixels than this.", min=0)] = 0,
) -> None:
    """Map SEG, AP or any metric over a grid of thresholds on saved distance maps.

    An earlier sweep in --output is replaced.
    """
    from dinocell_eval.images.sweep import FILLS, METRICS, NO_RESULT, PEAKS, check_grid, sweep_distance_maps
    from dinocell_eval.pages.sweep_page import sweep_page
    from dinocell_eval.reports.report import write_texts
    from dinocell_io import check_output_folder

    peaks, fills, metrics = sorted(peak or PEAKS), sorted(fill or FILLS), metric or METRICS
    with errors_told(WRONG_COMMAND_LINE):
        for folder in (gt_dir, map_dir):
            if not folder.is_dir():
                raise FileNotFoundError(f"{folder} is not a folder")
        wanted = _names(gt_dir, split=split, splits_csv=splits_csv)
        check_grid(peaks, fills, metrics=metrics)
        check_output_folder(output)
    with errors_told(FAILED):
        names, truths, maps, notes = _read(gt_dir, map_dir, wanted)
        sweep = sweep_distance_maps(
            truths, maps, split=split or "all images", peaks=peaks, fills=fills, min_size=min_size, metrics=metrics,
            names=names,
        )  # fmt: skip
        replaces = (output / "sweep.json").exists()
        page = sweep_page(sweep, facts={"true labels": str(gt_dir), "distance maps": str(map_dir)})
        write_texts(output, {"sweep.json": sweep.to_json(), "sweep.html": page})
    for note in notes:
        typer.echo(f"warning: {note}", err=True)
    for name in sweep.metrics:
        best = sweep.best(name)
        interval = "" if best.interval is None else f", 95 % {best.interval[0]:.4f} .. {best.interval[1]:.4f}"
        typer.echo(
            f"{name}: {best.score:.4f} at peak {best.peak:g}, fill {best.fill:g}{interval}; "
            f"{counted(int(best.plateau.sum()), 'point')} within one standard error"
        )
        if problem := sweep.nothing_matches(name):
            typer.echo(f"warning: {problem}", err=True)
    typer.echo(NO_RESULT)
    typer.echo(f"wrote {output}/sweep.json, sweep.html" + ("; they replace an earlier sweep" if replaces else ""))


def _read(gt_dir: Path, map_dir: Path, wanted: frozenset[str] | None) -> tuple[list, list, list, tuple[str, ...]]:
    """Names, true labels and distance maps of the wanted images, of all for None; what to know of the labels."""
    from dinocell_eval.folders.binary_masks import mask_notes, mask_sign
    from dinocell_eval.folders.result_files import read_result
    from dinocell_io import read_image

    maps = _map_files(map_dir)
    truths = _true_files(gt_dir, maps, wanted)
    missing = sorted(set(truths) - set(maps))
    if missing:
        raise ValueError(
            f"{map_dir} has no distance map for {', '.join(missing[:5])}; "
            "write them with dinocell segment --save-distance-map"
        )
    names = sorted(truths)
    planes = [read_image(maps[name]).pixels[0].astype("float32") for name in names]
    labels = [read_result(truths[name]) for name in names]
    signs = {truths[name]: sign for name, one in zip(names, labels, strict=True) if (sign := mask_sign(one))}
    return names, labels, planes, mask_notes(signs, truths=truths.values(), predictions=())


def _names(gt_dir: Path, *, split: str | None, splits_csv: Path | None) -> frozenset[str] | None:
    """Names of the split; None for all images of a folder that is not divided into splits."""
    from dinocell_eval.folders.pairing import find_splits, names_of_split
    from dinocell_eval.images.sweep import refuse_test_split

    if split is not None:
        refuse_test_split(split)
    table = splits_csv or find_splits(gt_dir)
    if split is None:
        if table is not None:
            raise ValueError(
                f"{table} divides the images into splits; pass --split with one that is not the test split"
            )
        return None
    if table is None:
        raise ValueError(f"no splits.csv in or above {gt_dir}; pass --splits-csv")
    return names_of_split(table, split)


def _map_files(folder: Path) -> dict[str, Path]:
    """Distance maps by the name of their image; every TIFF where none has the ending that `dinocell segment` gives."""
    from dinocell_eval.folders.pairing import file_stem
    from dinocell_io import TIFF_SUFFIXES

    files = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in TIFF_SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    maps: dict[str, Path] = {}
    for path in [path for path in files if file_stem(path).endswith(_MAP_ENDING)] or files:
        name = file_stem(path).removesuffix(_MAP_ENDING)
        if name in maps:
            raise ValueError(f"{folder} holds {maps[name].name} and {path.name}, expected one map per name; remove one")
        maps[name] = path
    return maps


def _true_files(gt_dir: Path, maps: dict[str, Path], wanted: frozenset[str] | None) -> dict[str, Path]:
    """True label files by the name of their map, or by their own name without an ending such as `_masks`.

    They are found as `dinocell eval` finds them. Raises ValueError if one of `wanted` has none or names are ambiguous.
    """
    from dinocell_eval.folders.pairing import by_short_name, chosen_files, label_files, no_labels
    from dinocell_eval.folders.result_files import TRUTH_ENDINGS

    truths, _ = label_files(gt_dir)
    if not truths:
        raise ValueError(no_labels(gt_dir))
    if wanted is not None:
        truths, _ = chosen_files(truths, {}, wanted, folder=gt_dir)
    found = {stem: path for stem, path in truths.items() if stem in maps}
    for short, stem in by_short_name([stem for stem in truths if stem not in maps], TRUTH_ENDINGS, gt_dir).items():
        if short in found:
            raise ValueError(f"{gt_dir} holds {short} and {stem}, expected one file for {short}; remove one")
        found[short] = truths[stem]
    return found
