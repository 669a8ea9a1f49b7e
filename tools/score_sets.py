"""Score a model on a fixed list of validation images of many sets, each at the cell diameters that the network is for.

    python tools/score_sets.py runs/generalist/data/* --model default

prints AP at IoU .5, mean AP (.5:.9) and OP_CSB of each set, and their means over sets. Every image is resized so that
its true median diameter lies in --diameter (12 to 60 pixels), and cut to at most --side pixels around its middle, so
the scores compare models and say nothing of images whose scale is unknown. Thresholds are the best of a small grid, the
same for all sets. In partially labelled images a predicted cell that lies mostly outside of labelled ones is not
counted. With --tokens-averaged the backbone's maps are replaced by their mean over the image: what is lost is what the
places of tokens are worth. Test splits are never read.
"""

import argparse
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from dinocell_core import load_model
from dinocell_eval.images.evaluate import per_image_values
from dinocell_io import grey_image, open_dataset, read_image, read_labels
from dinocell_seg.normalize import Normalization, normalize
from dinocell_seg.pipeline import default_model_path
from dinocell_seg.watershed import labels_from_distance_map

METRICS = ("ap_0.50", "ap_mean", "op_csb")
PEAKS = (0.12, 0.2, 0.3, 0.4, 0.5)  # maps of short trainings are low
FILLS = (0.06, 0.1, 0.15)
PROMINENCES = (0.1, 0.2)
FULL_PROMINENCE_PX = 30.0
WHOLE_CELLS = (
    "usiigaci_phase",
    "aitslab_cells",
    "cellaap_hela_dic",
    "bbbc009_rbc_dic",
    "mdck_zo1_jahn",
    "rbc_chula_derived",
    "codex_expert_murphy",
    "ecoli_trpL_phase",
    "baby_yeast_bf",
)


@dataclass(frozen=True)
class Case:
    """One validation image, ready for the network, and its labels."""

    name: str
    set_name: str
    image: np.ndarray
    labels: np.ndarray
    partial: bool


def validation_cases(
    folders: Sequence[Path],
    *,
    normalization: Normalization,
    diameter_px: tuple[float, float] = (12, 60),
    side: int = 512,
    most: int = 12,
) -> list[Case]:
    """Up to `most` validation images of each set (dsb2018: of each modality), evenly chosen by name."""
    groups = defaultdict(list)
    for folder in folders:
        for sample in open_dataset(folder):
            if sample.split == "val":
                kind = f"{folder.name}/{sample.modality}" if folder.name == "dsb2018" else folder.name
                groups[kind].append(sample)
    cases = []
    for kind, samples in groups.items():
        for index in np.unique(np.linspace(0, len(samples) - 1, min(most, len(samples))).round().astype(int)):
            sample = samples[index]
            labels = read_labels(sample.labels_path)
            if labels.any():
                image = normalize(grey_image(read_image(sample.image_path)), normalization)
                image, labels = resized_to(image, labels, diameter_px=diameter_px)
                image, labels = middle(image, side), middle(labels, side)
                cases.append(Case(sample.name, kind, image, labels, sample.annotation == "partial"))
    return cases


def resized_to(
    image: np.ndarray, labels: np.ndarray, *, diameter_px: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Image and labels at the scale nearest to their own whose median cell lies in a range of diameters."""
    _, areas = np.unique(labels[labels > 0], return_counts=True)
    median = math.sqrt(4 / math.pi * float(np.median(areas)))
    scale = min(max(median, diameter_px[0]), diameter_px[1]) / median
    if scale == 1:
        return image, labels
    shape = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    carrier = labels.astype(np.float64)  # OpenCV has no 32-bit integer resize
    smaller = cv2.resize(carrier, shape, interpolation=cv2.INTER_NEAREST_EXACT).astype(np.int32)
    return np.asarray(cv2.resize(image, shape, interpolation=method)), smaller


def middle(plane: np.ndarray, side: int) -> np.ndarray:
    """The middle of a plane, at most `side` pixels high and wide."""
    starts = [max(0, (length - side) // 2) for length in plane.shape]
    return np.ascontiguousarray(plane[starts[0] : starts[0] + side, starts[1] : starts[1] + side])


@torch.inference_mode()
def distance_maps(
    model: nn.Module, cases: Sequence[Case], *, tokens_averaged: bool = False, device: str = "cpu"
) -> list[np.ndarray]:
    """The model's map of each case, in one pass each."""
    model.eval()
    bf16 = device != "cpu" or torch.cpu._is_avx512_bf16_supported()
    handles = []
    if tokens_averaged:
        for part in [model.decoder]:
            handles.append(part.register_forward_pre_hook(_average_tokens))
    maps = []
    for case in cases:
        tensor = torch.from_numpy(case.image)[None, None].to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=bf16):
            logits = model.logits(tensor)
        maps.append(logits.float().sigmoid()[0, 0].cpu().numpy())
    for handle in handles:
        handle.remove()
    return maps


def _average_tokens(decoder: nn.Module, inputs: tuple) -> tuple:
    token_maps, stem_maps = inputs
    return [tokens.mean(dim=(-2, -1), keepdim=True).expand_as(tokens) for tokens in token_maps], stem_maps


def scores(cases: Sequence[Case], maps: Sequence[np.ndarray], **thresholds: float) -> dict[str, dict[str, float]]:
    """Mean of each metric over the images of each set."""
    of_set: dict[str, list[dict[str, float]]] = defaultdict(list)
    for case, distance_map in zip(cases, maps, strict=True):
        predicted = labels_from_distance_map(distance_map, full_prominence_px=FULL_PROMINENCE_PX, **thresholds)
        if case.partial:
            predicted = without_unlabelled(predicted, case.labels)
        values = per_image_values([case.labels], [predicted], metrics=METRICS)
        of_set[case.set_name].append({metric: float(values[metric][0]) for metric in METRICS})
    return {
        name: {metric: float(np.nanmean([image[metric] for image in images])) for metric in METRICS}
        for name, images in of_set.items()
    }


def without_unlabelled(predicted: np.ndarray, labels: np.ndarray, *, share: float = 0.25) -> np.ndarray:
    """The predicted cells at least a quarter of whose pixels are labelled, numbered anew."""
    areas = np.bincount(predicted.ravel())
    labelled = np.bincount(predicted[labels > 0], minlength=len(areas))
    kept = labelled >= share * areas
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0)
    return numbers[predicted].astype(np.int32)


def best_scores(
    cases: Sequence[Case], maps: Sequence[np.ndarray]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """The thresholds whose mean over sets of AP.5 and mean AP is highest, and the scores with them."""
    best = (-1.0, {}, {})
    for peak, fill, prominence in itertools.product(PEAKS, FILLS, PROMINENCES):
        if peak < fill:
            continue
        thresholds = {"peak": peak, "fill": fill, "prominence": prominence}
        result = scores(cases, maps, **thresholds)
        value = mean_over_sets(result, "ap_0.50") + mean_over_sets(result, "ap_mean")
        if value > best[0]:
            best = (value, thresholds, result)
    return best[1], best[2]


def mean_over_sets(result: dict[str, dict[str, float]], metric: str, sets: Sequence[str] | None = None) -> float:
    """The mean over sets, or over those of them that are named."""
    values = [value[metric] for name, value in result.items() if sets is None or name.split("/")[0] in sets]
    return float(np.mean(values))


def token_value(model: nn.Module, cases: Sequence[Case], thresholds: dict[str, float], result: dict) -> dict:
    """OP_CSB that is lost where tokens are replaced by their mean: over all sets, and over those of whole cells."""
    without = scores(cases, distance_maps(model, cases, tokens_averaged=True), **thresholds)
    return {
        name: mean_over_sets(result, "op_csb", sets) - mean_over_sets(without, "op_csb", sets)
        for name, sets in (("all", None), ("whole_cells", WHOLE_CELLS))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="dataset folders")
    parser.add_argument("--model", default="default", help="model file, or default")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--diameter", type=float, nargs=2, default=(12, 60))
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--most", type=int, default=12, help="images of a set")
    parser.add_argument("--tokens-averaged", action="store_true", help="also what the places of tokens are worth")
    parser.add_argument("--output", type=Path, help="JSON file for the numbers")
    arguments = parser.parse_args()
    path = default_model_path() if arguments.model == "default" else Path(arguments.model)
    model = load_model(path, device=arguments.device).to(memory_format=torch.channels_last)
    normalization = Normalization.model_validate(model.metadata["normalization"])
    cases = validation_cases(
        arguments.data,
        normalization=normalization,
        diameter_px=tuple(arguments.diameter),
        side=arguments.side,
        most=arguments.most,
    )
    thresholds, result = best_scores(cases, distance_maps(model, cases, device=arguments.device))
    numbers = {"thresholds": thresholds, "sets": result}
    print_table(cases, result)
    print(f"thresholds {thresholds}")
    if arguments.tokens_averaged:
        numbers["token_value"] = token_value(model, cases, thresholds, result)
        print(f"OP_CSB lost without the places of tokens: {numbers['token_value']}")
    if arguments.output:
        arguments.output.write_text(json.dumps(numbers, indent=2) + "\n")


def print_table(cases: Sequence[Case], result: dict[str, dict[str, float]]) -> None:
    print("| set | images | cells | AP.5 | mean AP (.5:.9) | OP_CSB |")
    print("|---|---|---|---|---|---|")
    for name, values in result.items():
        chosen = [case for case in cases if case.set_name == name]
        cells = sum(len(np.unique(case.labels)) - 1 for case in chosen)
        row = " | ".join(f"{values[metric]:.3f}" for metric in METRICS)
        print(f"| {name} | {len(chosen)} | {cells} | {row} |")
    row = " | ".join(f"{mean_over_sets(result, metric):.3f}" for metric in METRICS)
    print(f"| mean over {len(result)} sets | {len(cases)} | | {row} |")


if __name__ == "__main__":
    main()
