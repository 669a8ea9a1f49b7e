"""Large images a few rows at a time, so that what is computed of them takes little memory beside them."""

from collections.abc import Iterator

BLOCK_PIXELS = 1 << 17
LEAST_ROWS = 32  # where the image is much higher than that: rows above and below are often read as well


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of the rows of an image, in order: each at most 128 kpx or a thirty-second of the image."""
    height, width = shape
    step = max(1, BLOCK_PIXELS // max(1, width), min(LEAST_ROWS, height // LEAST_ROWS))
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))
