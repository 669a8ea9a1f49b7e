"""Uneven light of a plate, divided out of its fields."""

import io
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from jaxtyping import Float32, Num, Shaped

from dinocell_io.stores.store import Store
from dinocell_io.stream.decode import BadObject
from dinocell_io.stream.field import FieldFiles, FieldPixels
from dinocell_io.stream.resample import resample_plane

GALLERY_TEMPLATE = "cpg0016-jump/{source}/images/{batch}/illum/{plate}/{plate}_Illum{channel}.npy"
_SHRINK = 8


class IlluminationCorrection:
    """Divides every channel by its plate's illumination function; a step of `FieldStream(prepare=...)`.

    The functions are one .npy file per plate and channel as CellProfiler writes them: as large as the image, about 1
    at their darkest. `template` gives their key in `store` from {source}, {batch} and {plate} of the field and
    {channel}. They are smooth, so an eighth of their size is kept, for the `num_plates` plates used last: 73 kB for a
    channel of 1080 x 1080 instead of 9 MB. A function that is missing, of another shape or not above 0 is a failure
    of the field.
    """

    def __init__(self, store: Store, *, template: str = GALLERY_TEMPLATE, num_plates: int = 64) -> None:
        self.store = store
        self.template = template
        self.num_plates = num_plates
        self._lock = threading.Lock()
        self._known: OrderedDict[str, dict[str, np.ndarray]] = OrderedDict()

    def __call__(self, files: FieldFiles, pixels: FieldPixels) -> FieldPixels:
        channels = {
            channel: corrected_plane(plane, self._function(files.plate, channel, pixels.shape))
            for channel, plane in pixels.channels.items()
        }
        return FieldPixels(pixels.key, channels, pixels.pixel_size_um)

    def _function(self, plate: str, channel: str, shape: tuple[int, int]) -> Float32[np.ndarray, "v u"]:
        with self._lock:
            known = self._known.setdefault(plate, {})
            self._known.move_to_end(plate)
            while len(self._known) > self.num_plates:
                self._known.popitem(last=False)
        if channel not in known:  # two threads may both fetch it: the same values twice
            source, batch, name = plate.split("/")
            key = self.template.format(source=source, batch=batch, plate=name, channel=channel)
            known[channel] = coarse_function(self.store.get(key), name=key, shape=shape)
        return known[channel]

    def __getstate__(self) -> dict[str, Any]:
        return {"store": self.store, "template": self.template, "num_plates": self.num_plates}

    def __setstate__(self, state: dict[str, Any]) -> None:
        IlluminationCorrection.__init__(
            self, state["store"], template=state["template"], num_plates=state["num_plates"]
        )


def coarse_function(data: bytes, *, name: str, shape: tuple[int, int]) -> Float32[np.ndarray, "v u"]:
    """The means of blocks of about 8 x 8 pixels of an illumination function for images of `shape`.

    Raises BadObject for bytes that are not a .npy array of that shape, and for values that are not above 0.
    """
    try:
        function = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise BadObject("illumination", f"{name} is not a .npy array ({error})") from error
    if function.shape != shape or function.dtype.kind not in "fiu":
        raise BadObject("illumination", f"{name} is {function.dtype} {function.shape}, expected numbers of {shape}")
    if not (np.isfinite(function).all() and function.min() > 0):
        raise BadObject("illumination", f"{name} holds values that are not above 0")
    sums = function.astype(np.float64)
    counts = []
    for axis, size in enumerate(shape):
        blocks = -(-size // _SHRINK)
        bounds = np.arange(blocks) * size // blocks
        sums = np.add.reduceat(sums, bounds, axis=axis)
        counts.append(np.diff(bounds, append=size))
    return (sums / np.outer(*counts)).astype(np.float32)


def corrected_plane(plane: Num[np.ndarray, "y x"], coarse: Float32[np.ndarray, "v u"]) -> Shaped[np.ndarray, "y x"]:
    """The plane divided by the function, in the plane's own type: whole numbers are rounded and clipped."""
    divided = plane / resample_plane(coarse, (plane.shape[0], plane.shape[1]))
    if plane.dtype.kind not in "ui":
        return divided.astype(plane.dtype)
    limits = np.iinfo(plane.dtype)
    return np.clip(np.rint(divided), limits.min, limits.max).astype(plane.dtype)
