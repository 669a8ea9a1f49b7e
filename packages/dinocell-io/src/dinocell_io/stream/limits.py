"""How much a stream keeps under way, and how much trouble it takes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StreamLimits:
    """How much a stream keeps under way and how much trouble it takes; see FieldStream.

    num_requests: objects that this process asks for at once; several readers of a machine share 48 to 64 best.
        Fields per second cannot exceed num_requests / (channels * seconds per object): 56 at 70 ms and 5 channels
        give 160.
    num_decoders: threads that decode and check.
    fields_ahead: fields requested and not used yet; each holds its bytes or its pixels in memory.
    max_failed_share of the last failure_window fields may fail.
    stall_seconds: how long to wait for one field.
    """

    num_requests: int = 56
    num_decoders: int = 2
    fields_ahead: int = 32
    max_failed_share: float = 0.01
    failure_window: int = 2000
    stall_seconds: float | int = 120.0

    def __post_init__(self) -> None:
        counts = (self.num_requests, self.num_decoders, self.fields_ahead, self.failure_window)
        if min(counts) < 1 or not 0 <= self.max_failed_share <= 1 or not self.stall_seconds > 0:
            raise ValueError(f"got {self}; expected counts of 1 or more, a share from 0 to 1 and seconds above 0")
