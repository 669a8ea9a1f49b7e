"""Which plane of an input is segmented."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PlaneChoice:
    """The choice as it was given: None where the file should leave no choice.

    `scene` is one image of a file that holds several, by name or index; `z` and `t` count from 0.
    """

    channel: str | int | None = None
    scene: str | int | None = None
    z: int | None = None
    t: int | None = None

    def as_record(self) -> dict[str, Any]:
        """The choice as _run.json holds it; records from before stacks were read lack all but the channel."""
        return {"channel_asked": self.channel, "scene": self.scene, "z": self.z, "t": self.t}
