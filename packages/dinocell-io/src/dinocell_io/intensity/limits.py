"""Which two intensities of an image become v = 0 and v = 1: percentiles, unless these lie in noise or in flecks.

The usual image keeps exactly its percentiles. All is computed from a histogram and from the differences of pixels in
some rows, so that an image needs to be looked at once only, and never as a whole.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Num, Shaped

NOISE_SPREADS = 6.0  # from the median to what stands out of the noise, in units of the noise's spread
HALO_SPREADS = 3.0
MOST_HALO = 0.01  # share of pixels between these two, where the background is noise alone
NOISE_LAG_PX = 4  # noise that a camera's binning or a scan has made smooth is independent at this distance
LEAST_WHITE = 0.7  # difference of pixels side by side, over that of pixels apart: less is texture
CELL_LAG_PX = 32  # pixels so far apart differ by more than noise where most of the image is cells
MOST_UNEVEN = 3.0  # of an image of noise, uneven light and few cells: its unevenness
FEW = 75.0  # percentile of what stands out, where that is too little for the image's own percentile
FAR_SPREADS = 12.0  # from the median to it; nearer, the image's own percentile does as well
LEAST_PIXELS = 16  # that stand out; fewer are hot pixels
MOST_CONTRAST = 8.0  # of the upper limit to the median of what stands out
SINGLE_CONTRAST = 2.0  # of a pixel to those beside it, from where it stands alone
OVEREXPOSED_SHARE = 0.1  # of pixels with the highest value; more are no cells, but where the camera's range ends
SATURATED_SHARE = 0.05  # where the highest value is the largest that the dtype holds
LEAST_SHARE = 0.01  # of pixels that stand out, for their median to count

COUNT_ALL = "--set normalization.robust=false counts all pixels alike"
NOISE_ALONE = (
    "nothing stands out of the noise, in which both percentiles lie, so that a cell here is doubtful; "
    "where a few pixels are cells, --set normalization.high_percentile=99.99"
)

_DIFFERENCE_OF_SPREAD = 1.048  # spread of normal noise over its median difference
_SPREAD_PERCENTILE = 15.866  # one standard deviation below the median
_MAX_HISTOGRAM_BINS = 1 << 20
_MAX_EXACT_FLOAT_PIXELS = 1 << 24
_MAX_NOISE_PIXELS = 1 << 18
_BLOCK_PIXELS = 1 << 22
_SINGLE_WINDOW_PX = 5  # in a row; a cell of 3 pixels still fills more than half of it


@dataclass(frozen=True)
class Intensities:
    """All intensities of an image in ascending order: distinct values with cumulated counts.

    `step` is the smallest difference that means something: 1 for integers, 0 for floats.
    """

    values: Num[np.ndarray, " value"]
    ends: Int64[np.ndarray, " value"]
    step: float

    @property
    def size(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    @property
    def median(self) -> float:
        return self.percentile(50.0)

    def percentile(self, percent: float) -> float:
        """With linear interpolation, as np.percentile."""
        rank = percent / 100.0 * (self.size - 1)
        below = math.floor(rank)
        first, second = np.searchsorted(self.ends, [below, min(below + 1, self.size - 1)], side="right")
        value, following = float(self.values[first]), float(self.values[second])
        return value + (following - value) * (rank - below)

    def above(self, value: float) -> "Intensities":
        first = int(np.searchsorted(self.values, value, side="right"))
        before = self.ends[first - 1] if first else 0
        return Intensities(self.values[first:], self.ends[first:] - before, self.step)

    def below_largest(self) -> "Intensities":
        return Intensities(self.values[:-1], self.ends[:-1], self.step)

    def mirrored(self) -> "Intensities":
        """Of the image in negative."""
        counts = np.diff(self.ends, prepend=0)
        return Intensities(-self.values[::-1], np.cumsum(counts[::-1]), self.step)


@dataclass(frozen=True)
class Limits:
    """Two intensities, whether they are the plain percentiles, and what a user should know about them."""

    low: float
    high: float
    are_percentiles: bool
    notes: tuple[str, ...] = ()


def intensities(pixels: Num[np.ndarray, "..."]) -> Intensities:
    """Exact for integers, and for floats up to 16 Mpx; of larger float images every n-th pixel counts.

    Integers are within 2**53 of 0, as `from_origin` makes them.
    """
    if np.issubdtype(pixels.dtype, np.integer):
        base = int(pixels.min())
        num_bins = int(pixels.max()) - base + 1
        if num_bins <= _MAX_HISTOGRAM_BINS:
            counts = np.zeros(num_bins, np.int64)
            for block in _blocks(pixels):
                # modulo the width of the dtype, in which the difference cannot overflow
                difference = (block - block.dtype.type(base)).view(f"u{block.dtype.itemsize}")
                counts += np.bincount(difference.astype(np.int64).ravel(), minlength=num_bins)
            held = np.flatnonzero(counts)
            return Intensities(held + base, np.cumsum(counts[held]), 1.0)
    elif pixels.size > _MAX_EXACT_FLOAT_PIXELS:
        share = pixels.size / _MAX_EXACT_FLOAT_PIXELS
        stride = math.ceil(share ** (1 / pixels.ndim))
        pixels = pixels[(slice(None, None, stride),) * pixels.ndim]
    is_integer = np.issubdtype(pixels.dtype, np.integer)
    ordered = np.sort(pixels.astype(np.float64 if pixels.dtype != np.float32 else np.float32), axis=None)
    return Intensities(ordered, np.arange(1, ordered.size + 1), 1.0 if is_integer else 0.0)


def sampled_rows(plane: Num[np.ndarray, "y x"]) -> Num[np.ndarray, "row x"]:
    """Rows at equal distances, about a quarter megapixel in all."""
    return plane[:: max(1, plane.size // _MAX_NOISE_PIXELS)]


def percentile_limits(values: Intensities, *, low_percentile: float, high_percentile: float) -> Limits:
    """The two percentiles, whatever else is in the picture."""
    return Limits(values.percentile(low_percentile), values.percentile(high_percentile), are_percentiles=True)


def robust_limits(
    values: Intensities, rows: Num[np.ndarray, "row x"], *, low_percentile: float, high_percentile: float
) -> Limits:
    """The two percentiles, moved where they lie in the noise of an almost empty field, or in flecks.

    What stands out lies more than 6 spreads above the median, the spread being that from the 16th percentile to the
    median. (1) If the rest is noise and little stands out, but far, the upper limit is at least the 75th percentile of
    that, as in an image with more cells. (2) If 1 % of the image or more stands out, the upper limit is at most 8 times
    as far from the median as the median of that, so that a few brighter things do not make all others dark; where
    the brighter things are single pixels, it is the percentile without them, if that is lower. The lower
    limit is that of the image in negative. A percentile of 0 or 100 is never moved. `rows` are some of the image's,
    from which its noise is measured.
    """
    plain = percentile_limits(values, low_percentile=low_percentile, high_percentile=high_percentile)
    negative = values.mirrored()
    high, high_note = _moved(values, negative, rows, 100 - high_percentile, adjective="bright")
    low, low_note = _moved(negative, values, rows, low_percentile, adjective="dark")
    notes = tuple(note for note in (high_note, low_note) if note)
    if not notes and _is_noise_alone(values, negative, rows):
        notes = (NOISE_ALONE,)
    return Limits(
        plain.low if low is None else -low, plain.high if high is None else high, low is None and high is None, notes
    )


def _moved(
    values: Intensities, negative: Intensities, rows: Num[np.ndarray, "row x"], tail: float, *, adjective: str
) -> tuple[float | None, str]:
    """The upper limit if it is not the percentile `100 - tail`, and why."""
    standing_out, sign = _standing_out(values), 1 if adjective == "bright" else -1
    if tail == 0 or standing_out.size < LEAST_PIXELS:
        return None, ""
    top, middle, spread = values.percentile(100 - tail), values.median, _spread(values)
    if standing_out.size >= LEAST_SHARE * values.size:
        most = middle + MOST_CONTRAST * (_unsaturated(standing_out, values.size).median - middle)
        if most >= top:
            return None, ""
        without_singles, share = _percentile_without_singles(sign * rows.astype(np.float64), middle, spread, tail)
        if middle + NOISE_SPREADS * spread < without_singles < most:
            return without_singles, (
                f"{share:.1%} of the pixels are much {adjective}er than those beside them, like defects of the camera; "
                f"the contrast is made without them, up to {sign * without_singles:.6g}; {COUNT_ALL}"
            )
        return most, (
            f"some of the picture is much {adjective}er than most cells ({sign * top:.6g}); the contrast is made for "
            f"the cells, up to {sign * most:.6g}; {COUNT_ALL}"
        )
    few = standing_out.percentile(FEW)
    if few <= max(top, middle + FAR_SPREADS * spread):
        return None, ""
    halo = values.above(middle + HALO_SPREADS * spread).size - standing_out.size
    opposite = negative.above(-middle + NOISE_SPREADS * spread).size
    if halo > MOST_HALO * values.size or opposite >= standing_out.size or _unevenness(values, rows) > MOST_UNEVEN:
        return None, ""
    return few, (
        f"only {standing_out.size} of {values.size} pixels stand out of the noise, in which the percentile lies; "
        f"the contrast is made for them ({sign * few:.6g}); {COUNT_ALL}"
    )


def _standing_out(values: Intensities) -> Intensities:
    return values.above(values.median + NOISE_SPREADS * _spread(values))


def _percentile_without_singles(
    rows: Float64[np.ndarray, "row x"], middle: float, spread: float, tail: float
) -> tuple[float, float]:
    """The percentile `100 - tail` of the pixels that do not stand alone in their row, and the share of those that do.

    A pixel stands alone that is twice as far from the image's median as the median of five pixels around it.
    """
    if rows.shape[1] < _SINGLE_WINDOW_PX:
        return math.inf, 0.0
    padded = np.pad(rows, ((0, 0), (_SINGLE_WINDOW_PX // 2,) * 2), mode="reflect")
    around = np.median(np.lib.stride_tricks.sliding_window_view(padded, _SINGLE_WINDOW_PX, axis=1), axis=-1)
    singles = rows - middle > SINGLE_CONTRAST * np.maximum(around - middle, NOISE_SPREADS * spread)
    if not singles.any() or singles.all():
        return math.inf, 0.0
    return float(np.percentile(rows[~singles], 100 - tail)), float(singles.mean())


def overexposed_note(values: Intensities, *, largest_possible: float) -> str:
    """What to say of an image of which much has the highest intensity; "" otherwise, and for one of two intensities."""
    lowest, highest = values.values[0], values.values[-1]
    below = int(np.searchsorted(values.values, highest, side="left"))
    share = 1 - (int(values.ends[below - 1]) if below else 0) / values.size
    is_binary = bool((values.values[:below] == lowest).all())
    if is_binary or share < (SATURATED_SHARE if highest == largest_possible else OVEREXPOSED_SHARE):
        return ""
    return (
        f"{100 * share:.3g}% of the pixels have the highest value ({highest:.6g}); the picture is overexposed, and "
        "cells in it may be missed"
    )


def _is_noise_alone(values: Intensities, negative: Intensities, rows: Num[np.ndarray, "row x"]) -> bool:
    """Nothing stands out at either end, and pixels side by side differ nearly as much as those apart."""
    if _standing_out(values).size or _standing_out(negative).size or _unevenness(values, rows) > MOST_UNEVEN:
        return False
    return _median_difference(rows, 1) >= LEAST_WHITE * _median_difference(rows, NOISE_LAG_PX)


def _unevenness(values: Intensities, rows: Num[np.ndarray, "row x"]) -> float:
    """How much more the intensities of most pixels vary than noise does: 1 for noise alone.

    The noise is the median difference of pixels 4 columns apart. It is compared with the spread of the image, and with
    the median difference of pixels 32 columns apart; the smaller counts, so that light which falls off slowly is even.
    """
    noise, at_cell_distance = (_median_difference(rows, lag) for lag in (NOISE_LAG_PX, CELL_LAG_PX))
    spread = min(_spread(values), _spread(values.mirrored())) / _DIFFERENCE_OF_SPREAD
    smallest = min(spread, at_cell_distance)
    if smallest <= values.step:
        return 1.0
    return smallest / noise if noise > 0 else math.inf


def _median_difference(rows: Num[np.ndarray, "row x"], lag: int) -> float:
    lag = min(lag, rows.shape[1] - 1)
    values = rows.astype(np.float64)
    return float(np.median(np.abs(values[:, lag:] - values[:, : rows.shape[1] - lag])))


def _spread(values: Intensities) -> float:
    """Standard deviation of a background of normal noise, from what lies below the median."""
    return max(values.median - values.percentile(_SPREAD_PERCENTILE), values.step)


def _unsaturated(standing_out: Intensities, num_pixels: int) -> Intensities:
    """Without the largest intensity, if enough is left: it may be where the camera's range ends."""
    without = standing_out.below_largest()
    return without if without.size >= LEAST_SHARE * num_pixels else standing_out


def _blocks(pixels: Shaped[np.ndarray, "..."]) -> list[np.ndarray]:
    """Views of a few rows each, so that what is computed of them stays small."""
    step = max(1, _BLOCK_PIXELS // max(1, pixels[:1].size))
    return [pixels[start : start + step] for start in range(0, len(pixels), step)]
