"""Score a model on one split of dataset folders, by modality, beside Otsu's threshold and a watershed.

    python tools/evaluate_model.py --data dsb2018 --data usiigaci_phase --split val

prints one table per averaging (mean of images, pooled over objects) and writes the numbers to --output as JSON.
Choose everything on 'val'; run 'test' once for the numbers that are reported.
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from otsu_baseline import DARK_MODALITIES, otsu_watershed
from skimage.color import rgb2hed

from dinocell_eval import evaluate
from dinocell_io import grey_image, open_dataset, read_image, read_labels
from dinocell_seg import DINOCellPipeline

COLUMNS = ("seg", "det", "op_csb", "ap_0.50", "ap_0.60", "ap_0.70", "ap_0.80", "ap_0.90", "ap_mean")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, help="dataset folder; repeat for more")
    parser.add_argument("--split", default="val")
    parser.add_argument("--model", default="default")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tta", default="none", choices=["none", "flips", "dihedral"])
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--tile", type=int, help="side of the tiles; default fitted to each image")
    parser.add_argument("--overlap", type=int, help="pixels shared by neighbouring tiles; default the model's")
    parser.add_argument("--hematoxylin", action="store_true", help="RGB by colour deconvolution instead of luma")
    parser.add_argument("--without-baseline", action="store_true")
    parser.add_argument("--output", type=Path, help="JSON file for the numbers")
    arguments = parser.parse_args()
    changes = {"tta": arguments.tta, "tile": arguments.tile, "precision": arguments.precision}
    if arguments.overlap is not None:
        changes["overlap"] = arguments.overlap
    pipeline = DINOCellPipeline(arguments.model, device=arguments.device, **changes)

    truths, predictions, baselines = defaultdict(list), defaultdict(list), defaultdict(list)
    seconds = 0.0
    for folder in arguments.data:
        for sample in open_dataset(folder):
            if sample.split == arguments.split:
                modality = sample.modality or folder.name
                image = read_image(sample.image_path)
                if arguments.hematoxylin and image.is_rgb:
                    plane = rgb2hed(np.moveaxis(image.pixels, 0, -1))[..., 0].astype(np.float32)
                else:
                    plane = grey_image(image)
                truths[modality].append(read_labels(sample.labels_path))
                started = time.perf_counter()
                predictions[modality].append(pipeline.run(plane))
                seconds += time.perf_counter() - started
                if not arguments.without_baseline:
                    dark = modality in DARK_MODALITIES
                    baselines[modality].append(otsu_watershed(plane, dark=dark))
    megapixels = sum(labels.size for group in truths.values() for labels in group) / 1e6
    numbers: dict = {
        "split": arguments.split,
        "model": pipeline.identity.sha256,
        "settings": pipeline.settings.model_dump(),
    }
    numbers["seconds_per_megapixel"] = seconds / megapixels
    for modality in truths:
        for method, results in (("dinocell", predictions[modality]), ("otsu", baselines[modality])):
            if results:
                evaluation = evaluate(truths[modality], results)
                numbers.setdefault(
                    modality,
                    {"images": len(results), "objects": int(sum(len(np.unique(t)) - 1 for t in truths[modality]))},
                )[method] = {
                    name: {
                        "per_image_mean": evaluation.per_image_mean[name],
                        "pooled": evaluation.pooled[name],
                        "interval": evaluation.intervals[name],
                    }
                    for name in COLUMNS
                }
    for averaging in ("per_image_mean", "pooled"):
        print(f"\n{arguments.split}, {averaging}")
        print("| modality (images) | method | " + " | ".join(COLUMNS) + " |")
        print("|---" * (len(COLUMNS) + 2) + "|")
        for modality in truths:
            for method in ("dinocell", "otsu"):
                scores = numbers[modality].get(method)
                if scores:
                    row = " | ".join(f"{scores[name][averaging] or 0.0:.3f}" for name in COLUMNS)
                    print(f"| {modality} ({numbers[modality]['images']}) | {method} | {row} |")
    print(f"\n{seconds / megapixels:.2f} s per megapixel ({megapixels:.1f} megapixels)")
    if arguments.output:
        arguments.output.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
