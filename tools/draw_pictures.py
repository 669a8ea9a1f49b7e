"""Draw the picture of the top README: a simulated field, the model's distance map of it, and the labels.

    python tools/draw_pictures.py docs/images

Everything in it is the project's own: the simulator, the embedded model.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from dinocell_io import simulate_field
from dinocell_seg import DINOCellPipeline

GAP_PX = 12
ENLARGED = 2


def overview() -> np.ndarray:
    """Three panels side by side, uint8 [y x 3] in blue, green and red as OpenCV writes them."""
    field = simulate_field(
        (300, 300),
        num_cells=70,
        diameter_px=32,
        nucleus_fraction=0.92,
        touching=0.7,
        channels=("DNA",),
        seed=11,
    )
    labels, distance_map = DINOCellPipeline().run(field.image, return_dist_map=True)
    plane = field.image.pixels[0].astype(np.float32)
    low, high = np.percentile(plane, (1, 99.8))
    grey = (np.clip((plane - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    panels = [
        cv2.cvtColor(enlarged(grey), cv2.COLOR_GRAY2BGR),
        cv2.applyColorMap(enlarged((distance_map * 255).astype(np.uint8)), cv2.COLORMAP_VIRIDIS),
        outlined(enlarged(grey), labels),
    ]
    gap = np.full((panels[0].shape[0], GAP_PX, 3), 255, np.uint8)
    return np.hstack([panels[0], gap, panels[1], gap, panels[2]])


def enlarged(grey: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.resize(grey, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC), np.uint8)


def outlined(grey: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The image with each cell tinted, and outlined in its own colour."""
    numbers = cv2.resize(labels.astype(np.float32), grey.shape[::-1], interpolation=cv2.INTER_NEAREST)
    hues = (np.arange(labels.max() + 1) * 0.618 % 1 * 180).astype(np.uint8)  # neighbours differ
    hsv = np.stack([hues, np.full_like(hues, 190), np.full_like(hues, 255)], axis=-1)
    tint = cv2.cvtColor(hsv[None], cv2.COLOR_HSV2BGR)[0][numbers.astype(np.int64)].astype(np.float32)
    picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR).astype(np.float32)
    inside = numbers > 0
    edge = inside & (cv2.erode(numbers, np.ones((3, 3))) != cv2.dilate(numbers, np.ones((3, 3))))
    picture[inside] = 0.65 * picture[inside] + 0.35 * tint[inside]
    picture[edge] = tint[edge]
    return picture.astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "overview.jpg"), overview(), [cv2.IMWRITE_JPEG_QUALITY, 88])
    print(folder / "overview.jpg")


if __name__ == "__main__":
    main()
