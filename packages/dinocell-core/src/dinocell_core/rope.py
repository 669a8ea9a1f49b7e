"""Axial rotary position embedding (RoPE) of DINOv3: positions are patch centres on a grid scaled to [-1, 1].

A head of `head_dim` channels has F = head_dim / 4 frequencies. The angle of a patch on one axis is
2π · coordinate / period. The F angles of the height and the F of the width fill the first half of the head
and are repeated in the second: channel c turns with channel c + head_dim / 2 (Su 2021, "half" layout).
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

Coordinates = Literal["separate", "max", "min"]


class RotaryTable(NamedTuple):
    """Cosine and sine of every token's angles, one row per token; prefix tokens have angle 0."""

    cos: Float[Tensor, "token head_dim"]
    sin: Float[Tensor, "token head_dim"]


@dataclass(frozen=True, kw_only=True)
class RopeAugmentation:
    """Random change of the coordinates, drawn anew for every block (or forward pass) of a training step.

    `shift` adds U(-shift, shift) to each axis; `jitter` multiplies each axis by a log-uniform factor of
    [1/jitter, jitter]; `rescale` multiplies both axes by one log-uniform factor of [1/rescale, rescale]. They
    are applied in this order, one draw for the whole batch. The released models were trained with rescale 2
    drawn per block.
    """

    shift: float | None = None
    jitter: float | None = None
    rescale: float | None = 2.0
    per_block: bool = True

    def __post_init__(self) -> None:
        for name, factor in (("jitter", self.jitter), ("rescale", self.rescale)):
            if factor is not None and factor < 1:
                raise ValueError(f"{name} is {factor}; it is the largest factor of a random rescaling, give 1 or more")


def rope_periods(
    head_dim: int,
    *,
    base: float | None = 100.0,
    min_period: float | None = None,
    max_period: float | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Float[Tensor, "frequency"]:
    """Periods of the head_dim / 4 frequencies: base^(j/F), or geometric from `min_period` to `max_period`.

    Coordinates span 2, so a period of 1 turns twice across the image. Give either `base` or both periods.
    """
    if head_dim % 4:
        raise ValueError(f"head_dim is {head_dim}; two axes of cosine and sine need a multiple of 4")
    num_frequencies = head_dim // 4
    if min_period is not None and max_period is not None and base is None:
        steps = torch.linspace(0, 1, num_frequencies, dtype=dtype, device=device)
        return min_period * (max_period / min_period) ** steps
    if base is None or min_period is not None or max_period is not None:
        raise ValueError("give either base or both min_period and max_period (then base=None)")
    steps = torch.arange(num_frequencies, dtype=dtype, device=device)
    return base ** (2 * steps / (head_dim // 2))


def patch_coordinates(
    height: int,
    width: int,
    *,
    coordinates: Coordinates = "separate",
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> Float[Tensor, "token 2"]:
    """(y, x) of the patch centres in row-major order; `separate` scales each axis to [-1, 1] on its own."""
    divisors = {
        "separate": (height, width),
        "max": (max(height, width),) * 2,
        "min": (min(height, width),) * 2,
    }
    axes = [
        2 * (torch.arange(size, dtype=dtype, device=device) + 0.5) / divisor - 1
        for size, divisor in zip((height, width), divisors[coordinates], strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1)


def rotate(
    x: Float[Tensor, "batch token *heads head_dim"], table: RotaryTable
) -> Float[Tensor, "batch token *heads head_dim"]:
    """`x` rotated by the angles of its tokens, computed in the table's precision and returned in the precision of `x`.

    With x = [a | b] in halves: [a·cos - b·sin | b·cos + a·sin].
    """
    half = x.shape[-1] // 2
    heads = (1,) * (x.ndim - 3)
    cos = table.cos.view(-1, *heads, table.cos.shape[-1])
    sin = table.sin.view(-1, *heads, table.sin.shape[-1])
    wide = x.to(cos.dtype)
    rotated = wide * cos
    # The cross terms are added in place: no rotate_half copy, no concatenation.
    rotated[..., :half].addcmul_(wide[..., half:], sin[..., :half], value=-1)
    rotated[..., half:].addcmul_(wide[..., :half], sin[..., half:])
    return rotated.to(x.dtype)


class RotaryPositionEmbedding(nn.Module):
    """Tables of cosines and sines for a grid of patches, kept for the most recent grids.

    `periods` is part of the state dict, because the released checkpoints carry them rounded to bfloat16.
    Casting the module to half precision leaves them in float32. The tables are never part of the state dict,
    a copy or a pickle.
    """

    periods: Tensor
    _MAX_TABLES = 4

    def __init__(
        self,
        head_dim: int,
        *,
        num_prefix_tokens: int = 0,
        base: float | None = 100.0,
        min_period: float | None = None,
        max_period: float | None = None,
        coordinates: Coordinates = "separate",
        augmentation: RopeAugmentation | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Tables of `dtype` (None: that of `periods`) with `num_prefix_tokens` unrotated rows in front."""
        super().__init__()
        self.head_dim = head_dim
        self.num_prefix_tokens = num_prefix_tokens
        self.base, self.min_period, self.max_period = base, min_period, max_period
        self.coordinates: Coordinates = coordinates
        self.augmentation = augmentation
        self.dtype = dtype
        self._tables: dict[tuple[int, int], tuple[Tensor, int, RotaryTable]] = {}
        self.register_buffer("periods", torch.empty(head_dim // 4))
        self.reset_periods()

    def reset_periods(self) -> None:
        """Write the exact periods, computed in the buffer's own precision."""
        self.periods.copy_(self.exact_periods())

    def exact_periods(self) -> Float[Tensor, " frequency"]:
        """Periods by the definition, in the precision of the buffer, on the CPU."""
        return rope_periods(
            self.head_dim,
            base=self.base,
            min_period=self.min_period,
            max_period=self.max_period,
            dtype=self.periods.dtype,
            device="cpu",
        )

    def forward(self, height: int, width: int) -> RotaryTable:
        """Table of a grid of `height` x `width` patches; augmented, and then not kept, while training."""
        if self.training and self.augmentation is not None:
            return self._table(height, width, augmentation=self.augmentation)
        if torch.compiler.is_compiling():  # a compiler folds or schedules the table itself
            return self._table(height, width)
        version = 0 if self.periods.is_inference() else self.periods._version
        kept = self._tables.get((height, width))
        if kept is not None and kept[0] is self.periods and kept[1] == version:
            return kept[2]
        # A table made in inference mode could not be used by a later training step.
        with torch.inference_mode(False), torch.no_grad():
            table = self._table(height, width)
        # Replaced, not changed: other threads may be reading the old dictionary.
        newest = {key: entry for key, entry in self._tables.items() if entry[0] is self.periods}
        newest[height, width] = (self.periods, version, table)
        self._tables = dict(list(newest.items())[-self._MAX_TABLES :])
        return table

    def _table(self, height: int, width: int, *, augmentation: RopeAugmentation | None = None) -> RotaryTable:
        periods = self.periods
        coordinates = patch_coordinates(
            height, width, coordinates=self.coordinates, dtype=periods.dtype, device=periods.device
        )
        if augmentation is not None:
            coordinates = _augmented(coordinates, augmentation)
        angles = (2 * math.pi * coordinates[:, :, None] / periods).flatten(1).repeat(1, 2)
        # Rows of angle 0 leave the prefix tokens exactly as they are, without cutting and joining sequences.
        angles = nn.functional.pad(angles, (0, 0, self.num_prefix_tokens, 0))
        return RotaryTable(angles.cos().to(self.dtype or periods.dtype), angles.sin().to(self.dtype or periods.dtype))

    def _apply(self, fn: Any, recurse: bool = True) -> "RotaryPositionEmbedding":
        exact = self.periods
        super()._apply(fn, recurse)
        if self.periods.dtype.itemsize < 4:
            self.periods = exact.to(self.periods.device)
        self._tables = {}
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tables": {}}


def _augmented(coordinates: Float[Tensor, "token 2"], augmentation: RopeAugmentation) -> Float[Tensor, "token 2"]:
    def log_uniform(factor: float, count: int) -> Tensor:
        exponents = torch.empty(count, dtype=coordinates.dtype, device=coordinates.device).uniform_(-1, 1)
        return (exponents * math.log(factor)).exp()

    if augmentation.shift is not None:
        coordinates = coordinates + torch.empty_like(coordinates[0]).uniform_(-1, 1) * augmentation.shift
    if augmentation.jitter is not None:
        coordinates = coordinates * log_uniform(augmentation.jitter, 2)
    if augmentation.rescale is not None:
        coordinates = coordinates * log_uniform(augmentation.rescale, 1)
    return coordinates
