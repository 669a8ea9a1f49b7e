"""An evaluation as files: `summary.json`, `images.csv` and `objects.csv`. None is null or an empty cell, never NaN."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np

from dinocell_eval.folders.pairing import Pairing
from dinocell_eval.images.bootstrap import LEVEL, SEED
from dinocell_eval.images.comparison import Comparison, Difference
from dinocell_eval.images.evaluate import Evaluation
from dinocell_eval.images.protocols import ProtocolResult
from dinocell_eval.images.strata import stratify
from dinocell_eval.metrics.metric_table import COUNTS
from dinocell_io import atomic_path, file_sha256

SCHEMA_VERSION = 2


def summary(evaluation: Evaluation, *, inputs: Mapping[str, object] | None = None) -> dict[str, object]:
    """The set's numbers with everything needed to read them; `inputs` says what was compared (`describe_inputs`)."""
    definitions = {
        name: {"id": metric.definition, "meaning": metric.meaning} for name, metric in evaluation.definitions.items()
    }
    definitions |= {name: {"id": definition, "meaning": "count"} for name, definition in COUNTS.items()}
    return {
        "schema_version": SCHEMA_VERSION,
        "version": version("dinocell-eval"),
        "protocol": _protocol(evaluation.protocol),
        "metrics": {
            name: {
                "pooled": value,
                "per_image_mean": evaluation.per_image_mean[name],
                "interval": evaluation.intervals[name],
                "images": sum(one is not None for one in evaluation.per_image[name]),
            }
            for name, value in evaluation.pooled.items()
        },
        "strata": [asdict(stratum) for stratum in stratify(evaluation, num_replicates=evaluation.num_replicates)],
        "counts": dict(evaluation.counts),
        "iou_thresholds": [float(threshold) for threshold in evaluation.iou_thresholds],
        "bootstrap": {"unit": "image", "replicates": evaluation.num_replicates, "seed": SEED, "level": LEVEL},
        "notes": list(evaluation.notes),
        "definitions": definitions,
        "inputs": inputs,
    }


def _protocol(result: ProtocolResult) -> dict[str, object]:
    protocol = result.protocol
    return {
        "name": protocol.name,
        "description": protocol.description,
        "caveats": list(protocol.caveats),
        "values": {
            name: {
                "value": result.values[name],
                "interval": result.intervals[name],
                "aggregation": quantity.aggregation,
                "definition": quantity.definition,
                "meaning": quantity.meaning,
            }
            for name, quantity in protocol.quantities.items()
        },
    }


def summary_json(evaluation: Evaluation, *, inputs: Mapping[str, object] | None = None) -> str:
    """Everything but the single images and objects as JSON text, with schema version and definitions."""
    return json.dumps(summary(evaluation, inputs=inputs), indent=2, allow_nan=False) + "\n"


def comparison_summary(comparison: Comparison, *, names: tuple[str, str]) -> dict[str, object]:
    """The differences of two predictions, second minus first, with their intervals and p-values."""

    def described(differences: Mapping[str, Difference]) -> dict[str, object]:
        return {name: asdict(one) for name, one in differences.items()}

    return {
        "schema_version": SCHEMA_VERSION,
        "version": version("dinocell-eval"),
        "first": names[0],
        "second": names[1],
        "images": comparison.num_images,
        "metrics": described(comparison.differences),
        "protocol": described(comparison.protocol),
        "bootstrap": {"unit": "image", "replicates": comparison.num_replicates, "seed": SEED, "level": LEVEL},
        "notes": list(comparison.notes),
    }


def comparison_json(comparison: Comparison, *, names: tuple[str, str]) -> str:
    return json.dumps(comparison_summary(comparison, names=names), indent=2, allow_nan=False) + "\n"


def describe_inputs(pairing: Pairing) -> dict[str, object]:
    """Name, file name and SHA-256 of every file of the pairs, null for a missing prediction; names of ignored files."""

    def described(path: Path | None) -> dict[str, str] | None:
        return None if path is None else {"file": path.name, "sha256": file_sha256(path)}

    return {
        "pairs": [
            {"name": pair.name, "truth": described(pair.truth), "predicted": described(pair.predicted)}
            for pair in pairing.pairs
        ],
        "ignored": [path.name for path in pairing.ignored],
    }


def report_texts(evaluation: Evaluation, *, inputs: Mapping[str, object] | None = None) -> dict[str, str]:
    """The content of `images.csv` (a row an image), `objects.csv` (a row an object) and `summary.json`, by name."""
    return {
        "images.csv": _csv(["image", *evaluation.per_image], _image_rows(evaluation)),
        "objects.csv": _csv(*_object_table(evaluation)),
        "summary.json": summary_json(evaluation, inputs=inputs),
    }


def write_report(folder: str | Path, evaluation: Evaluation, *, inputs: Mapping[str, object] | None = None) -> None:
    """Write the files of `report_texts`, each atomically and none before all are made."""
    write_texts(folder, report_texts(evaluation, inputs=inputs))


def write_texts(folder: str | Path, texts: Mapping[str, str]) -> None:
    """Write texts by file name into a folder, which is created if needed; each file appears complete or not at all.

    Bytes of file names that are not UTF-8 are written with Python's escapes.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with atomic_path(target / name) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def _image_rows(evaluation: Evaluation) -> Iterable[tuple[object, ...]]:
    columns = [
        [None if value is None else int(value) for value in values] if name in COUNTS else values
        for name, values in evaluation.per_image.items()
    ]
    return zip(evaluation.names, *columns, strict=True)


def _object_table(evaluation: Evaluation) -> tuple[list[str], Iterable[tuple[object, ...]]]:
    """Column names and rows; boxes and measures of the outlines are among them where they were computed."""
    objects = evaluation.objects
    columns: dict[str, list[object]] = {
        "image": [evaluation.names[image] for image in objects.image.tolist()],
        "kind": objects.kind.tolist(),
        "label": objects.label.tolist(),
        "area": objects.area.tolist(),
        "matched_label": [label or None for label in objects.matched_label.tolist()],
        "iou": objects.iou.tolist(),
        "jaccard": objects.jaccard.tolist(),
        "class": objects.error_class.tolist(),
        "on_border": [int(value) for value in objects.on_border.tolist()],
    }
    if objects.box is not None:
        columns |= zip(("y0", "x0", "y1", "x1"), objects.box.T.tolist(), strict=True)
    for name, values in objects.boundary.items():
        columns[name] = [None if np.isnan(value) else value for value in values.tolist()]
    return list(columns), zip(*columns.values(), strict=True)


def _csv(columns: list[str], rows: Iterable[tuple[object, ...]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
