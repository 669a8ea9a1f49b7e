"""Which letter of a TIFF's stored axes is our channel, z, t, or position; nothing is guessed from sizes."""

import tifffile

from dinocell_io.system.image_file_error import ImageFileError

MAX_PAGES_AS_CHANNELS = 16


def sizes(series: tifffile.TiffPageSeries) -> tuple[str, tuple[int, ...]]:
    axes, shape = series.get_axes(squeeze=False), series.get_shape(squeeze=False)
    return (axes, tuple(shape)) if len(axes) == len(shape) else (series.axes, tuple(series.shape))


def size(series: tifffile.TiffPageSeries, letter: str) -> int:
    axes, shape = sizes(series)
    return shape[axes.index(letter)] if letter and letter in axes else 1


def axes_of(series: tifffile.TiffPageSeries, uri: str, *, pages_are_channels: bool) -> dict[str, str]:
    """Which letter of the stored axes is our c, z, t, i (unnamed) or r (position); "" where there is none."""
    axes, shape = sizes(series)
    longer = [(axis, size) for axis, size in zip(axes, shape, strict=True) if axis not in "YXSR" and size > 1]
    listed = ", ".join(f"{axis}={size}" for axis, size in zip(axes, shape, strict=True) if size > 1)
    unnamed = [axis for axis, _ in longer if axis in "IQ"]
    if any(axis not in "CZTIQ" for axis, _ in longer) or axes.count("Y") != 1 or axes.count("X") != 1:
        raise ImageFileError(
            f"{uri} has the axes {listed}; expected channels, Z and T of one plane (T, Z, C, Y, X). Save one plane "
            "per file, or name the axes in the file (Fiji: Image > Properties)"
        )
    if unnamed and len(longer) > 1:
        raise ImageFileError(
            f"{uri} has the axes {listed} and does not say what {' and '.join(unnamed)} are; save one plane per file, "
            "or name the axes (Fiji: Image > Properties)"
        )
    found = {axis.lower(): axis for axis, _ in longer if axis in "CZT"}
    if unnamed:
        are_channels = pages_are_channels and size(series, unnamed[0]) <= MAX_PAGES_AS_CHANNELS
        found["c" if are_channels else "i"] = unnamed[0]
    if size(series, "R") > 1:
        found["r"] = "R"
    return {axis: found.get(axis, "") for axis in "cizrt"}


def image_sizes(series: tifffile.TiffPageSeries, axis_of: dict[str, str], count: int) -> dict[str, int]:
    """How long the axes of the image of `count` channels are."""
    planes = {axis: size(series, axis_of[axis]) for axis in "tiz"}
    return {**planes, "c": count, "y": size(series, "Y"), "x": size(series, "X")}
