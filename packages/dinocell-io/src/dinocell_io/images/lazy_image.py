"""An image that is opened now and read later, region by region and plane by plane."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Shaped

from dinocell_io.plural import counted, listed
from dinocell_io.system.image_file_error import ChoiceMissingError, ImageFileError

Region = tuple[slice, slice]
_UNNAMED = "i"
_FEW_COLUMNS = 4


@dataclass(frozen=True)
class Level:
    """One resolution of an image: its size in pixels and how many full-size pixels one of its pixels spans."""

    height: int
    width: int
    downsample: float


# what a format brings: (channels, z, t, level, rows, columns), all in range, to pixels
ReadPlanes = Callable[[tuple[int, ...], int, int, int, slice, slice], Shaped[np.ndarray, "channel y x"]]


@dataclass(frozen=True, eq=False)
class LazyImage:
    """What a file says about its image; pixels are read on request.

    `axes` are one letter per entry of `shape`, in this order: "t" and "z" where longer than 1, or "i" for pages
    that the file does not name, then "c", "y" and "x". Colour is three channels. `levels[0]` is the full size.
    `scene` is the chosen image of a file that holds several (`scenes`; empty where it holds one). `files` are those
    that hold the pixels, empty where it is the opened one alone. `notes` are what a user should know of how it is read.
    Channel names and pixel size are those of `Image`. Nothing stays open between reads, so a
    LazyImage may be shared by threads; the file must stay where it is.
    """

    uri: str
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype
    channels: tuple[str, ...]
    pixel_size_um: float | None
    is_rgb: bool
    levels: tuple[Level, ...]
    read_planes: ReadPlanes = field(repr=False)
    scene: str | None = None
    scenes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.axes) != len(self.shape) or not self.axes.endswith("cyx") or 0 in self.shape:
            raise ImageFileError(
                f"{self.uri} has the axes {self.axes} and the shape {self.shape}, which is not an image"
            )
        if len(self.channels) != self.size_of("c"):
            raise ImageFileError(
                f"{self.uri}: {counted(self.size_of('c'), 'channel')} but {counted(len(self.channels), 'name')} "
                f"({', '.join(self.channels)}); expected one name per channel"
            )

    def size_of(self, axis: str) -> int:
        """How long an axis is; 1 if the image does not have it."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    def read(
        self,
        region: Region | None = None,
        *,
        channels: Sequence[int] | None = None,
        z: int | None = None,
        t: int | None = None,
        level: int = 0,
    ) -> Shaped[np.ndarray, "channel y x"]:
        """Pixels of one plane as [channel y x], in the image's dtype; only the tiles they need are read.

        `region` is (rows, columns) in pixels of the chosen level, as in `np.s_[0:512, 256:768]`; None is all of it.
        `channels` are indices from 0, in the order wanted; None is all. Where the image has a z or t axis, or
        unnamed pages (which either chooses), the choice must be given.
        Raises ValueError for a choice that is missing or outside the image, for damaged data, and for an array
        larger than this machine's memory.
        """
        if not 0 <= level < len(self.levels):
            raise ImageFileError(f"{self.uri} has the levels 0 to {len(self.levels) - 1}, got {level}")
        plane_z, plane_t = self._plane(z, t)
        chosen = tuple(range(self.size_of("c"))) if channels is None else tuple(int(index) for index in channels)
        if not chosen or not all(0 <= index < self.size_of("c") for index in chosen):
            raise ImageFileError(f"{self.uri} has the channels 0 to {self.size_of('c') - 1}, got {list(chosen)}")
        rows, columns = self._inside(region, self.levels[level])
        return self.read_planes(chosen, plane_z, plane_t, level, rows, columns)

    def _plane(self, z: int | None, t: int | None) -> tuple[int, int]:
        given = {"z": z, "t": t}
        if _UNNAMED in self.axes:
            if (z is None) == (t is None):
                raise self._choose(z, t)
            given = {"z": t if z is None else z, "t": None}
        chosen = []
        for axis, index in given.items():
            size = self.size_of(_UNNAMED if _UNNAMED in self.axes and axis == "z" else axis)
            if index is None and size > 1:
                raise self._choose(z, t)
            if not 0 <= (index or 0) < size:
                raise self._outside(axis, size, index or 0)
            chosen.append(index or 0)
        return chosen[0], chosen[1]

    def _outside(self, axis: str, size: int, index: int) -> ValueError:
        if size > 1:
            return ImageFileError(f"{self.uri} has {axis} from 0 to {size - 1}, got {index}; {self._sizes()}")
        count = self.size_of("c")
        hint = "leave the choice out"
        if not self.is_rgb and index < count:
            hint = (
                f"its {count} planes are channels ({listed(self.channels, 4)}): choose one by name or index, on the "
                f"command line --channel {index}"
            )
        return ImageFileError(f"{self.uri} has no {axis} axis, got {axis}={index}; {self._sizes()}; {hint}")

    def _choose(self, z: int | None, t: int | None) -> ChoiceMissingError:
        if _UNNAMED in self.axes:
            what = f"one of its {self.size_of(_UNNAMED)} pages, which the file does not name, with z= or t="
            options = "--z or --t"
            if self.shape[-1] <= _FEW_COLUMNS < self.size_of(_UNNAMED):
                options += (
                    f" (pages of {self.shape[-1]} columns may be an array [y x channel] that was written without its "
                    "axes: write it with the channels in front, [channel y x])"
                )
        else:
            missing = [axis for axis, index in (("z", z), ("t", t)) if index is None and axis in self.axes]
            what = " and ".join(f"{axis}= (0 to {self.size_of(axis) - 1})" for axis in missing)
            options = " and ".join(f"--{axis}" for axis in missing)
        return ChoiceMissingError(
            f"{self.uri} has the axes {self._sizes()}, expected one plane; choose {what}, on the command line "
            f"{options}, or save a projection (Fiji: Image > Stacks > Z Project)"
        )

    def _sizes(self) -> str:
        named = zip(self.axes.upper(), self.shape, strict=True)
        return ", ".join(f"{axis}={size}" for axis, size in named if size > 1 or axis in "YX")

    def _inside(self, region: Region | None, level: Level) -> Region:
        if region is None:
            return slice(0, level.height), slice(0, level.width)
        ends = []
        for part, size in zip(region, (level.height, level.width), strict=True):
            start = 0 if part.start is None else int(part.start)
            stop = size if part.stop is None else int(part.stop)
            if part.step not in (None, 1) or not 0 <= start < stop <= size:
                raise ImageFileError(
                    f"{self.uri}: the region {_shown(region)} is not inside {level.height} x {level.width} pixels; "
                    "expected rows and columns with 0 <= start < stop <= size and no step"
                )
            ends.append(slice(start, stop))
        return ends[0], ends[1]


def _shown(region: Region) -> str:
    return ", ".join(f"{part.start}:{part.stop}" + (f":{part.step}" if part.step else "") for part in region)


def changed(
    image: LazyImage, dtype: np.dtype, change: Callable[[Shaped[np.ndarray, "..."]], Shaped[np.ndarray, "..."]]
) -> LazyImage:
    """The image with every pixel changed alike, to numbers of `dtype`."""
    read = image.read_planes
    return replace(image, dtype=dtype, read_planes=lambda *chosen: change(read(*chosen)))


def bilevel_as_grey(image: LazyImage) -> LazyImage:
    """The image of black and white as 0 and 255."""
    return changed(image, np.dtype(np.uint8), lambda pixels: pixels.astype(np.uint8) * np.uint8(255))
