"""Label files that look like binary masks, in which all cells have one number: scores against them mean little."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from dinocell_io import binary_mask_sign, counted, listed

MOST_LOOKED_AT = 4096  # pixels a side; of a larger image the middle shows as much


def mask_sign(labels: Integer[np.ndarray, "y x"]) -> str | None:
    """Why labels look like a binary mask, or None; see `dinocell_io.binary_mask_sign`."""
    corners = [max(0, (size - MOST_LOOKED_AT) // 2) for size in labels.shape]
    middle = tuple(slice(corner, corner + MOST_LOOKED_AT) for corner in corners)
    return binary_mask_sign(labels[middle])


def mask_notes(signs: Mapping[Path, str], *, truths: Iterable[Path], predictions: Iterable[Path]) -> tuple[str, ...]:
    """What to know of true and of predicted files with a sign: how many, and which."""
    notes = []
    for role, paths in (("true", truths), ("predicted", predictions)):
        found = [f"{path.name} ({signs[path]})" for path in paths if path in signs]
        if found:
            looks = "looks like a binary mask" if len(found) == 1 else "look like binary masks"
            notes.append(
                f"{counted(len(found), f'{role} label file')} {looks}: {listed(found, 5)}; every number counts as one "
                "object, so give each cell a number of its own: export label images, or make each separate piece a "
                "cell with 'dinocell data split-pieces'"
            )
    return tuple(notes)
