"""Where the field of a sample comes from: read by number, or the next one of a stream."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dinocell_io import BadObject, FieldFiles, FieldPixels, FieldStream, Image, StreamReads, grey_image
from dinocell_ssl.data.fields import Fields
from dinocell_ssl.data.intensity import ScaledField, scaled_field
from dinocell_ssl.data.views import VIEW_STRATEGIES

_FIELD_ORDER = 0


class Skipped(NamedTuple):
    """A field that could not be used, and why."""

    field: str
    reason: str


class ReadFields:
    """Fields read by number, in a new order every epoch; the most recent ones are kept, up to `cache_mb`."""

    def __init__(self, fields: Fields, *, seed: int, views: str, cache_mb: int, channels: int | None = None) -> None:
        """`channels`: what a field must have; None for any number."""
        self._fields, self._seed, self._views, self._channels = fields, seed, views, channels
        self._kept = _Kept(cache_mb)
        self._order: tuple[int, np.ndarray] | None = None

    def field(self, number: int, skipped: list[Skipped]) -> ScaledField:
        """The field of a sample, or the first usable one after it in its epoch's order.

        Fields that are passed over are added to `skipped`. Raises ValueError if no field can be used.
        """
        order = self.epoch_order(number // len(self._fields))
        for place in range(number, number + len(order)):
            index = int(order[place % len(order)])
            source = self._kept.get(index)
            if source is None:
                source, lasts = self._read(index)
                if lasts:
                    self._kept.put(index, source)
            if isinstance(source, ScaledField):
                return source
            skipped.append(source)
        name, reason = skipped[0]
        first = reason if name in reason else f"{name}: {reason}"
        raise ValueError(f"none of the {len(order)} fields can be used; the first: {first}")

    @property
    def reads(self) -> None:
        """Files are not counted."""
        return None

    def epoch_order(self, epoch: int) -> np.ndarray:
        """All numbers of fields in the order of an epoch."""
        if self._order is None or self._order[0] != epoch:
            rng = np.random.default_rng((self._seed, _FIELD_ORDER, epoch))
            self._order = epoch, rng.permutation(len(self._fields))
        return self._order[1]

    def _read(self, index: int) -> tuple[ScaledField | Skipped, bool]:
        """The field or why it cannot be used, and whether that lasts: a server or disk may answer the next time."""
        try:
            return _scaled(self._fields.read(index), self._views, self._channels), True
        except (ValueError, OSError) as error:
            lasts = isinstance(error, ValueError | FileNotFoundError | PermissionError)
            return Skipped(self._fields.name(index), str(error)), lasts


@dataclass(frozen=True, eq=False, kw_only=True)
class ScaledPixels(FieldPixels):
    """A field of a stream with its percentiles; `channels` are its planes, by their numbers."""

    scaled: ScaledField


@dataclass(frozen=True)
class ScaleFields:
    """A step of `FieldStream.prepare`: percentiles of each field, found once and ahead of its use.

    A field that training cannot use (NaN, another number of channels, blank, ...) counts as bad: the stream replaces it
    and writes the reason to the quarantine file.
    """

    views: str
    channels: int | None = None

    def __call__(self, files: FieldFiles, pixels: FieldPixels) -> FieldPixels:
        try:
            scaled = _scaled(_stacked(pixels), self.views, self.channels)
        except BadObject:
            raise
        except ValueError as error:
            raise BadObject("damaged", str(error)) from error
        planes = {str(number): plane for number, plane in enumerate(scaled.pixels)}
        return ScaledPixels(pixels.key, planes, pixels.pixel_size_um, scaled=scaled)


class StreamedFields:
    """Fields of a stream with a step `ScaleFields`, one for each sample, after the first `used`.

    The stream replaces fields that cannot be read or used, and keeps those that it gives several times.
    """

    def __init__(self, stream: FieldStream, *, used: int) -> None:
        epoch, position = divmod(used, len(stream))
        stream.load_state_dict({**stream.state_dict(), "epoch": epoch, "position": position})
        self._stream = stream
        self._fields: Iterator[FieldPixels] | None = None

    @property
    def reads(self) -> StreamReads:
        """Objects read so far, by where they came from."""
        return self._stream.reads()

    def field(self, number: int, skipped: list[Skipped]) -> ScaledField:
        """The next field. Raises the stream's errors."""
        if self._fields is None:
            self._fields = iter(self._stream)
        pixels = next(self._fields)
        assert isinstance(pixels, ScaledPixels), "the stream has no step ScaleFields"
        return pixels.scaled


class _Kept:
    """The most recently used fields, up to a number of bytes."""

    def __init__(self, megabytes: int) -> None:
        self._most, self._bytes = megabytes * 10**6, 0
        self._fields: OrderedDict[int, ScaledField | Skipped] = OrderedDict()

    def get(self, key: int) -> ScaledField | Skipped | None:
        if key not in self._fields:
            return None
        self._fields.move_to_end(key)
        return self._fields[key]

    def put(self, key: int, field: ScaledField | Skipped) -> None:
        if key in self._fields:
            self._bytes -= _num_bytes(self._fields.pop(key))
        self._fields[key] = field
        self._bytes += _num_bytes(field)
        while self._bytes > self._most and len(self._fields) > 1:
            self._bytes -= _num_bytes(self._fields.popitem(last=False)[1])


def _num_bytes(field: ScaledField | Skipped) -> int:
    return field.nbytes if isinstance(field, ScaledField) else 0


def _stacked(pixels: FieldPixels) -> np.ndarray:
    stack = np.stack(list(pixels.channels.values()))
    if tuple(pixels.channels) == ("red", "green", "blue"):
        return grey_image(Image(stack, tuple(pixels.channels), pixels.pixel_size_um, True, pixels.key))[None]
    return stack


def _scaled(pixels: np.ndarray, views: str, channels: int | None) -> ScaledField:
    strategy = VIEW_STRATEGIES[views]
    if channels is not None and len(pixels) != channels:
        reason = f"it has {len(pixels)} channels, and the network takes {channels} (network.in_channels)"
        raise BadObject("shape", reason)
    scaled = scaled_field(pixels, drop_constant=not strategy.shows_all_channels)
    if len(scaled.pixels) < strategy.min_channels:
        number = len(scaled.pixels)
        kept = "1 channel that is" if number == 1 else f"{number} channels that are"
        raise BadObject(
            "constant", f"it has {kept} not blank, and the view strategy {views} needs {strategy.min_channels}"
        )
    return scaled
