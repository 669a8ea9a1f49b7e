"""How much tiling changes: labels from tiles against labels from one pass over the whole image.

    python tools/measure_tiling.py --data dsb2018 --data usiigaci_phase --split val

takes the images of about 1024 x 1024, segments each in one pass and in tiles, and prints for every tile and overlap
the share of cells (of both results) without a partner of IoU >= 0.5 in the other, the score against the truth, and
the network's work relative to the image's pixels. "fitted" is the default: a side chosen for each image.
"""

import argparse
from pathlib import Path

from dinocell_eval import evaluate
from dinocell_io import grey_image, open_dataset, read_image, read_labels
from dinocell_seg import DINOCellPipeline
from dinocell_seg.tiling import fitted_tile, num_tiles

WHOLE = 1024
CHOICES = ((None, 64), (None, 128), (256, 0), (256, 32), (256, 64), (256, 128), (512, 64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, help="dataset folder; repeat for more")
    parser.add_argument("--split", default="val")
    parser.add_argument("--model", default="default")
    parser.add_argument("--precision", default="bf16", choices=["fp32", "bf16"])
    arguments = parser.parse_args()
    planes, truths = [], []
    for folder in arguments.data:
        for sample in open_dataset(folder):
            if sample.split == arguments.split:
                plane = grey_image(read_image(sample.image_path))
                if all(WHOLE - 16 <= side <= WHOLE for side in plane.shape):
                    planes.append(plane)
                    truths.append(read_labels(sample.labels_path))

    def segment(tile: int | None, overlap: int) -> list:
        pipeline = DINOCellPipeline(
            arguments.model, device="cpu", tile=tile, overlap=overlap, precision=arguments.precision
        )
        return [pipeline.run(plane) for plane in planes]

    whole = segment(WHOLE, 0)
    print(f"{len(planes)} images of the split {arguments.split!r}, one pass: {score(truths, whole)}")
    print("| tile | overlap | cells that change | against the truth | pixels through the network per image pixel |")
    print("|---|---|---|---|---|")
    for tile, overlap in CHOICES:
        tiled = segment(tile, overlap)
        both = evaluate(whole, tiled, iou_thresholds=(0.5,), num_replicates=0)
        unmatched = 1 - both.pooled["f1_0.50"]
        side = tile or fitted_tile((WHOLE, WHOLE), overlap=overlap)
        work = num_tiles((WHOLE, WHOLE), tile=side, overlap=overlap) * side**2 / WHOLE**2
        name = tile or f"fitted, {side} here"
        print(f"| {name} | {overlap} | {unmatched:.1%} | {score(truths, tiled)} | {work:.2f} |")


def score(truths: list, labels: list) -> str:
    means = evaluate(truths, labels, num_replicates=0).per_image_mean
    return f"AP.5 {means['ap_0.50']:.3f}, SEG {means['seg']:.3f}"


if __name__ == "__main__":
    main()
