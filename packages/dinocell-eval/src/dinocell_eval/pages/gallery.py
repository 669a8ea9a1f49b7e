"""Pictures of the worst images: outlines of true and predicted objects over the image, coloured by error class."""

import base64
from dataclasses import dataclass

import imagecodecs
import numpy as np
from jaxtyping import Integer, Num, UInt8

from dinocell_eval.images.evaluate import Evaluation
from dinocell_eval.pages.colours import CLASS_COLOURS
from dinocell_kernels import distance_map

WINDOW_PX = 512  # larger images are shown by the part that holds the most errors


@dataclass(frozen=True)
class GalleryImage:
    """One image as PNG bytes: grey background, outlines of the true and of the predicted objects on nothing.

    `window` is y0, x0, y1, x1 of the part shown, ends outside; `lost` the SEG mass that the entire image lost.
    """

    name: str
    background: bytes
    truth: bytes
    predicted: bytes
    window: tuple[int, int, int, int]
    whole: tuple[int, int]
    lost: float
    n_truth: int
    n_predicted: int


def worst_images(evaluation: Evaluation, *, number: int = 12) -> list[int]:
    """Images by the SEG mass they lost (true objects minus the sum of their J) plus their spurious objects.

    Worst first, images without any loss left out.
    """
    lost = evaluation.statistics["n_truth"] - evaluation.statistics["sum_jaccard"] + evaluation.statistics["fp"]
    order = np.argsort(-lost, kind="stable")[:number]
    return [int(image) for image in order if lost[image] > 0]


def draw_gallery_image(
    evaluation: Evaluation,
    image: int,
    truth: Integer[np.ndarray, "y x"],
    predicted: Integer[np.ndarray, "y x"],
    *,
    plane: Num[np.ndarray, "plane_y plane_x"] | None = None,
) -> GalleryImage:
    """Draw one image of an evaluation; `plane` is the microscope image, without it the true cells are shown in grey.

    Raises ValueError if the plane has another size than the labels, or no finite pixel.
    """
    if plane is not None and plane.shape != truth.shape:
        raise ValueError(
            f"image {evaluation.names[image]!r} has {plane.shape} pixels and its labels {truth.shape}, expected the "
            "same; pass the folder of the images that were segmented"
        )
    if plane is not None and not np.isfinite(plane).any():
        raise ValueError(
            f"the image of {evaluation.names[image]!r} holds no finite pixel, so it cannot be shown; replace the file, "
            "or leave out the images"
        )
    y0, x0, y1, x1 = window = error_window(evaluation, image, truth.shape)
    part = np.s_[y0:y1, x0:x1]
    grey = _cells_in_grey(truth[part]) if plane is None else _stretched(plane)[part]
    width = 1.5 if max(y1 - y0, x1 - x0) <= 300 else 2.0
    statistics = evaluation.statistics
    return GalleryImage(
        evaluation.names[image],
        png(grey),
        png(_outlines(evaluation, image, truth[part], kind="truth", width=width)),
        png(_outlines(evaluation, image, predicted[part], kind="predicted", width=width)),
        window,
        (truth.shape[0], truth.shape[1]),
        float(statistics["n_truth"][image] - statistics["sum_jaccard"][image]),
        int(statistics["n_truth"][image]),
        int(statistics["n_predicted"][image]),
    )


def error_window(evaluation: Evaluation, image: int, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The part of an image of at most 512 pixels a side with the greatest loss around one of its errors.

    Without bounding boxes, the upper left part.
    """
    height, width = shape[0], shape[1]
    objects = evaluation.objects
    tall, wide = min(height, WINDOW_PX), min(width, WINDOW_PX)
    if (tall, wide) == (height, width) or objects.box is None:
        return 0, 0, tall, wide
    here = (objects.image == image) & (objects.error_class != "correct")
    boxes = objects.box[here]
    if not len(boxes):
        return 0, 0, tall, wide
    centres = (boxes[:, :2] + boxes[:, 2:]) // 2
    loss = np.where(objects.kind[here] == "truth", 1 - objects.jaccard[here], 0.5)
    corners = np.clip(centres[:: -(-len(centres) // 500)] - [tall // 2, wide // 2], 0, [height - tall, width - wide])
    sums = [
        loss[((centres >= corner) & (centres < corner + np.array([tall, wide]))).all(axis=1)].sum()
        for corner in corners
    ]
    y0, x0 = corners[int(np.argmax(sums))].tolist()
    return y0, x0, y0 + tall, x0 + wide


def data_uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def png(pixels: UInt8[np.ndarray, "y x *c"]) -> bytes:
    """An 8-bit grey [y x] or RGBA [y x 4] image as PNG."""
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), level=6))


def _outlines(
    evaluation: Evaluation, image: int, labels: Integer[np.ndarray, "y x"], *, kind: str, width: float
) -> UInt8[np.ndarray, "y x 4"]:
    """Outlines in the colours of their classes, opaque, on transparent ground."""
    objects = evaluation.objects
    here = (objects.image == image) & (objects.kind == kind)
    label, classes = objects.label[here], objects.error_class[here]
    colours = np.array([_rgba(CLASS_COLOURS[name]) for name in classes.tolist()], np.uint8).reshape(-1, 4)
    native = labels.astype(np.int64) if labels.dtype == np.uint64 else labels
    edge = (native != 0) & (distance_map(native, normalize=False) <= width)
    drawn = np.zeros((*labels.shape, 4), np.uint8)
    drawn[edge] = colours[np.searchsorted(label, native[edge])]
    return drawn


def _rgba(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)] + [255]


def _cells_in_grey(labels: Integer[np.ndarray, "y x"]) -> UInt8[np.ndarray, "y x"]:
    return np.where(labels != 0, 78, 30).astype(np.uint8)


def _stretched(plane: Num[np.ndarray, "y x"]) -> UInt8[np.ndarray, "y x"]:
    """Grey levels between the 0.5 and 99.8 percentiles of the image's finite pixels; NaN is black."""
    numbers = plane.astype(np.float64)
    sample = numbers[:: max(1, plane.shape[0] // 1024), :: max(1, plane.shape[1] // 1024)]
    finite = sample[np.isfinite(sample)]
    low, high = np.percentile(finite if finite.size else numbers[np.isfinite(numbers)], [0.5, 99.8])
    scaled = (numbers - low) / max(high - low, 1e-9)
    return (np.nan_to_num(np.clip(scaled, 0, 1)) * 235).astype(np.uint8)
