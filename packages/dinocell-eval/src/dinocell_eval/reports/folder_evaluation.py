"""Evaluation of folders of files, from reading them to the reports in the output folder."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter, strftime
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Integer, Num

from dinocell_eval.folders.binary_masks import mask_notes, mask_sign
from dinocell_eval.folders.pairing import FilePair, Pairing, file_stem
from dinocell_eval.folders.read_ahead import ReadAhead
from dinocell_eval.folders.result_files import TRUTH_ENDINGS, read_result
from dinocell_eval.images.comparison import compare
from dinocell_eval.images.evaluate import Evaluation, check_settings, evaluate
from dinocell_eval.metrics.average_precision import COCO_THRESHOLDS
from dinocell_eval.reports.printed import print_comparison, print_metrics
from dinocell_eval.reports.report import comparison_json, describe_inputs, report_texts, write_texts
from dinocell_io import IMAGE_SUFFIXES, ChoiceMissingError, counted, grey_image, listed, read_image

if TYPE_CHECKING:
    from rich.console import Console

    from dinocell_eval.pages import GalleryImage

Predictions = tuple[Path, Pairing]


@dataclass(frozen=True)
class Settings:
    """What to compute and write; an empty `iou` means the usual ten thresholds."""

    protocol: str = "dinocell"
    iou: tuple[float, ...] = ()
    boundary_px: float | None = None
    html: bool = True
    gallery: int = 8
    images: Path | None = None

    def check(self) -> None:
        """Raise ValueError for numbers and names that `evaluate` refuses."""
        check_settings(iou_thresholds=self.iou or COCO_THRESHOLDS, protocol=self.protocol, boundary_px=self.boundary_px)


def evaluate_folder(console: "Console", predictions: Predictions, output: Path, *, settings: Settings) -> Evaluation:
    """Evaluate paired files, print the metrics and write the reports into `output`, once all of them are made."""
    evaluation, texts = _evaluated(console, predictions, settings=settings)
    _write(console, output, texts, page="report.html")
    return evaluation


def compare_folders(
    console: "Console", first: Predictions, second: Predictions, output: Path, *, settings: Settings
) -> None:
    """Evaluate two predictions of the same truth into `output`/first and `output`/second, and write their comparison.

    Nothing is written before all is made. Raises ValueError if they do not have the same images, as with `evaluate`
    of one folder.
    """
    names = _short_names(first[0], second[0])

    def evaluated(which: str, predictions: Predictions) -> tuple[Evaluation, dict[str, str]]:
        console.print(f"{which}: {predictions[0]}", markup=False, soft_wrap=True)
        return _evaluated(console, predictions, settings=settings)

    (one, texts_of_one), (other, texts_of_other) = evaluated("first", first), evaluated("second", second)
    comparison = compare(one, other)
    print_comparison(console, comparison, names)
    texts = {"comparison.json": comparison_json(comparison, names=names)}
    if settings.html:
        from dinocell_eval.pages import comparison_page

        facts = _facts(first[1], [first[0], second[0]])
        texts["comparison.html"] = comparison_page(one, other, comparison, names=names, facts=facts,
                                                   title=f"{names[1]} against {names[0]}")  # fmt: skip
    _write(console, output / "first", texts_of_one, page="report.html")
    _write(console, output / "second", texts_of_other, page="report.html")
    _write(console, output, texts, page="comparison.html")


def _evaluated(
    console: "Console", predictions: Predictions, *, settings: Settings
) -> tuple[Evaluation, dict[str, str]]:
    """The evaluation, its metrics printed, and its files by name."""
    folder, pairing = predictions
    planes = _image_files(settings.images, pairing.pairs)
    evaluation, inputs = _evaluate(console, pairing, settings=settings)
    print_metrics(console, evaluation)
    texts = report_texts(evaluation, inputs=inputs)
    if settings.html:
        from dinocell_eval.pages import evaluation_page

        texts["report.html"] = evaluation_page(
            evaluation, title=f"Segmentation of {folder.name or folder}", facts=_facts(pairing, [folder]),
            gallery=_gallery(evaluation, pairing.pairs, planes, number=settings.gallery), inputs=inputs,
        )  # fmt: skip
    return evaluation, texts


def _write(console: "Console", output: Path, texts: Mapping[str, str], *, page: str) -> None:
    """Writes and names the files; says that they replace those of an earlier evaluation, or which page is older."""
    replaces = any((output / name).exists() for name in texts if name.endswith(".json"))
    write_texts(output, texts)
    replaced = "; they replace an earlier evaluation" if replaces else ""
    if page not in texts and (output / page).exists():
        replaced += f"; {page} in that folder is from an earlier one"
    console.print(f"wrote {output}/{', '.join(texts)}{replaced}", markup=False, soft_wrap=True)


def _evaluate(console: "Console", pairing: Pairing, *, settings: Settings) -> tuple[Evaluation, dict[str, object]]:
    """The numbers, and what was compared; prints how long reading and computing took."""
    start = perf_counter()
    signs: dict[Path, str] = {}

    def read(path: Path) -> Integer[np.ndarray, "y x"]:
        labels = read_result(path)
        if sign := mask_sign(labels):
            signs[path] = sign
        return labels

    def predicted(pair: FilePair) -> Integer[np.ndarray, "y x"]:
        return _predicted(pair) if pair.predicted is None else read(pair.predicted)

    with ReadAhead() as files:
        evaluation = evaluate(
            files.read(read, [pair.truth for pair in pairing.pairs]),
            files.read(predicted, pairing.pairs),
            iou_thresholds=settings.iou or COCO_THRESHOLDS,
            names=[pair.name for pair in pairing.pairs],
            protocol=settings.protocol,
            boundary_px=settings.boundary_px,
            boxes=True,
        )
        elapsed = perf_counter() - start
    notes = mask_notes(
        signs,
        truths=[pair.truth for pair in pairing.pairs],
        predictions=[pair.predicted for pair in pairing.pairs if pair.predicted is not None],
    )
    evaluation = replace(evaluation, notes=evaluation.notes + notes)
    inputs = describe_inputs(pairing)
    hashed = perf_counter() - start - elapsed
    console.print(
        f"read {counted(files.num_read, 'file')} in {files.read_seconds:.2f} s on "
        f"{counted(files.num_threads, 'thread')}, waited {files.waited_seconds:.2f} s for them, "
        f"computed {elapsed - files.waited_seconds:.2f} s, "
        f"hashed the files in {hashed:.2f} s",
        soft_wrap=True,
    )
    return evaluation, inputs


def _predicted(pair: FilePair) -> Integer[np.ndarray, "y x"]:
    """The predicted labels; an empty image if the file is missing."""
    if pair.predicted is None:
        return np.zeros(read_result(pair.truth).shape, np.uint8)
    return read_result(pair.predicted)


def _gallery(
    evaluation: Evaluation, pairs: Sequence[FilePair], planes: Sequence[Path | None], *, number: int
) -> "list[GalleryImage]":
    from dinocell_eval.pages import draw_gallery_image, worst_images

    return [
        draw_gallery_image(
            evaluation, image, read_result(pairs[image].truth), _predicted(pairs[image]), plane=_plane(planes[image])
        )
        for image in worst_images(evaluation, number=number)
    ]


def _plane(path: Path | None) -> Num[np.ndarray, "y x"] | None:
    """The grey image in a file; the first channel where there are several."""
    if path is None:
        return None
    try:
        image = read_image(path)
    except ChoiceMissingError as error:
        raise ValueError(
            f"--images: {path} holds several planes or images, expected one plane; save the plane that was segmented "
            "as a file of its own"
        ) from error
    return grey_image(image, channel=None if image.is_rgb or len(image.channels) == 1 else 0)


def _image_files(folder: Path | None, pairs: Sequence[FilePair]) -> list[Path | None]:
    """The image of each pair, found by name before anything is computed; None without a folder."""
    if folder is None:
        return [None] * len(pairs)
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.lower().endswith(tuple(IMAGE_SUFFIXES)) and path.is_file():
            files.setdefault(file_stem(path), []).append(path)
    # Without its ending first: `a_masks.png` in a folder of images is the labels of `a.png`.
    short = {pair.name: [*map(pair.name.removesuffix, TRUTH_ENDINGS), pair.name] for pair in pairs}
    found = {
        name: next((files[one] for one in names if one != name and one in files), files.get(name, []))
        for name, names in short.items()
    }
    if missing := [name for name, paths in found.items() if not paths]:
        raise ValueError(
            f"--images {folder} has no image for {listed(missing, 5)}, expected one for every true label file"
        )
    for name, paths in found.items():
        if len(paths) > 1:
            raise ValueError(
                f"--images {folder} holds {' and '.join(path.name for path in paths)}, expected one image for {name}; "
                "remove the others"
            )
    return [path for (path,) in found.values()]


def _facts(pairing: Pairing, folders: Sequence[Path]) -> dict[str, str]:
    facts = {"true labels": str(pairing.pairs[0].truth.parent)}
    facts |= {f"predictions {k + 1}" if len(folders) > 1 else "predictions": str(f) for k, f in enumerate(folders)}
    command = " ".join(["dinocell", *sys.argv[1:]])
    return facts | {"command": command, "made on": strftime("%Y-%m-%d %H:%M %Z")}


def refuse_equal_folders(first: Path, second: Path) -> None:
    """Raise ValueError if a folder would be compared with itself."""
    _short_names(first, second)


def _short_names(first: Path, second: Path) -> tuple[str, str]:
    """The folders' own names, with as many of their parents as are needed to distinguish them."""
    one, other = first.absolute().parts, second.absolute().parts
    for length in range(1, max(len(one), len(other)) + 1):
        names = "/".join(one[-length:]), "/".join(other[-length:])
        if names[0] != names[1]:
            return names
    raise ValueError(f"{first} is compared with itself; pass two folders of predictions")
