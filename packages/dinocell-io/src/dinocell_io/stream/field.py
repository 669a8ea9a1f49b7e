"""A field of view as the stream knows it: where its channels are, and what they hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Shaped

WHOLE_IMAGE = ""


@dataclass(frozen=True, slots=True)
class FieldFiles:
    """Where one field is: `objects` maps a channel's name to the key of its one-plane 16-bit TIFF.

    The name WHOLE_IMAGE stands for an image file of any kind that holds all channels. `key` names the field
    uniquely in its list; fields of one `plate` are expected to have one shape ("" where no plate is known).
    `may_be_missing` says that the deny list expects missing keys here: they do not count as failures of a run.
    """

    key: str
    objects: Mapping[str, str]
    plate: str = ""
    pixel_size_um: float | None = None
    may_be_missing: bool = False


@dataclass(frozen=True, eq=False)
class FieldPixels:
    """One field in memory: all channels of one shape, in the file's dtype; the arrays may be read-only.

    The channels of a Cell Painting field are uint16 and keep the order in which they were requested.
    """

    key: str
    channels: dict[str, Shaped[np.ndarray, "y x"]]
    pixel_size_um: float | None

    @property
    def shape(self) -> tuple[int, int]:
        height, width = next(iter(self.channels.values())).shape
        return height, width

    @property
    def num_bytes(self) -> int:
        return sum(plane.nbytes for plane in self.channels.values())


@runtime_checkable
class FieldList(Protocol):
    """Any number of fields by row number, without an object for each: a JUMP selection or a folder of images.

    A list is picklable, small, and the same in every process; `fingerprint` differs when the fields differ.
    """

    @property
    def store_uri(self) -> str:
        """The address of the store that holds the keys, as `open_store` takes it."""
        ...

    @property
    def fingerprint(self) -> str: ...

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> FieldFiles: ...
