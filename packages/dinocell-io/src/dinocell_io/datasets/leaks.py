"""Leaks between the splits of a dataset: groups and equal images that lie in several of them."""

import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable
from hashlib import blake2b

import numpy as np
from jaxtyping import Shaped

from dinocell_io.datasets.dataset import Sample
from dinocell_io.formats.read_image import read_image
from dinocell_io.plural import listed


class LeakWarning(UserWarning):
    """Images of one group, or equal images, lie in several splits: scores on one of them are too good."""


def warn_of_leaks(samples: Collection[Sample]) -> None:
    """Warn (LeakWarning), with the names, of groups and of equal images that lie in several splits.

    The samples may be those of several folders; groups are those of one folder. Every image is read. Images are equal
    if all their pixels are, whatever the file; an image without content (all pixels equal) counts as equal to none.
    Samples without a split are ignored.
    """
    with_split = [sample for sample in samples if sample.split]
    groups = _in_several_splits(
        (f"{sample.image_path.parent}: {sample.group}", sample) for sample in with_split if sample.group
    )
    if groups:
        described = [
            f"{found[0].group} ({', '.join(sorted({one.split or '' for one in found}))})" for found in groups.values()
        ]
        _warn(f"some groups lie in several splits: {listed(described, 10)}; put the images of a group into one split")
    images = _in_several_splits(
        (content, sample) for sample in with_split if (content := _content(read_image(sample.image_path).pixels))
    )
    if images:
        described = [" = ".join(f"{one.name} ({one.split})" for one in found) for found in images.values()]
        _warn(f"some images of several splits are equal: {listed(described, 10)}; keep one of each")


def _warn(what: str) -> None:
    warnings.warn(f"{what}, or scores are too good", LeakWarning, stacklevel=3)


def _in_several_splits(pairs: Iterable[tuple[str, Sample]]) -> dict[str, list[Sample]]:
    found = defaultdict(list)
    for key, sample in pairs:
        found[key].append(sample)
    return {key: some for key, some in found.items() if len({sample.split for sample in some}) > 1}


def _content(pixels: Shaped[np.ndarray, "channel y x"]) -> str:
    """A fingerprint that is equal for equal pixels, also in another number type, or in grey and in colour."""
    if (pixels == pixels[:1]).all():
        pixels = pixels[:1]
    if pixels.min() == pixels.max():
        return ""
    fingerprint = blake2b(f"{pixels.shape}".encode())
    fingerprint.update(np.ascontiguousarray(pixels, np.float64).data)
    return fingerprint.hexdigest()
