"""Views of multi-channel fields: which channels the two global and the local crops show.

A strategy is a function of the fields; cropping and intensity changes come after it. The same generator state
gives the same views. Draws are independent for each field and view. All that a run has to know of a strategy stands
in its row of `VIEW_STRATEGIES`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor


class ChannelViews(NamedTuple):
    """Images the crops are cut from: two for the global crops, one for each local crop."""

    global_crops: Float[Tensor, "2 image view_channel y x"]
    local_crops: Float[Tensor, "local_crop image view_channel y x"]


@dataclass(frozen=True)
class ViewStrategy:
    """A strategy and what it needs.

    function: views of each field, from (fields, num_local=, generator=) and its settings; `generator` draws on its own
        device. It must be linear in the channels: crops mix only the pixels that they show.
    min_channels: a field with fewer channels that are not blank cannot be used.
    shows_all_channels: each view has all channels of the field, so that the network takes that number and blank ones
        are kept; else a view has one channel.
    settings: its arguments by the names that they have in `Views`.
    """

    function: Callable[..., ChannelViews]
    min_channels: int = 1
    shows_all_channels: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)

    def __call__(
        self,
        fields: Float[Tensor, "field channel y x"],
        *,
        num_local: int,
        generator: torch.Generator,
        **settings: Any,
    ) -> ChannelViews:
        return self.function(fields, num_local=num_local, generator=generator, **settings)


def mean_vs_single(
    fields: Float[Tensor, "field channel y x"],
    *,
    num_local: int,
    generator: torch.Generator,
    local_mean_probability: float = 0.3,
) -> ChannelViews:
    """The mean of all channels against one random channel; locals show the mean with the given probability.

    Features learn not to depend on the stain. One channel in, one channel out.
    """
    _check_probability("local_mean_probability", local_mean_probability)
    mean = fields.mean(dim=1, keepdim=True)
    single = _single_channel(fields, _random_channels(fields, 1, generator))
    local = _single_channel(fields, _random_channels(fields, num_local, generator))
    shows_mean = _draw((num_local, len(fields)), generator, fields.device) < local_mean_probability
    return ChannelViews(
        torch.cat([mean[None], single]), torch.where(shows_mean[:, :, None, None, None], mean[None], local)
    )


def pairwise(fields: Float[Tensor, "field channel y x"], *, num_local: int, generator: torch.Generator) -> ChannelViews:
    """Two different random channels against each other; each local shows any channel. One channel out."""
    num_channels = fields.shape[1]
    if num_channels < 2:
        raise ValueError(f"fields have {num_channels} channel; pairwise needs 2 or more, use bag_of_channels")
    first = _random_channels(fields, 1, generator)
    step = torch.randint(1, num_channels, first.shape, generator=generator, device=generator.device)
    pair = torch.cat([first, (first + step.to(first.device)) % num_channels])
    local = _random_channels(fields, num_local, generator)
    return ChannelViews(_single_channel(fields, pair), _single_channel(fields, local))


def bag_of_channels(
    fields: Float[Tensor, "field channel y x"], *, num_local: int, generator: torch.Generator
) -> ChannelViews:
    """Every channel an image of its own: field · channel images, and all views of an image show its channel.

    Nothing is drawn. The views share the memory of the fields: do not change them in place. The choice for
    collections whose channels differ (DINO-BoC, TMLR 2025); the batch grows with the channels.
    """
    images = fields.flatten(0, 1)[None, :, None]
    return ChannelViews(*(images.expand(num_views, -1, -1, -1, -1) for num_views in (2, num_local)))


def channel_drop(
    fields: Float[Tensor, "field channel y x"],
    *,
    num_local: int,
    generator: torch.Generator,
    probability: float = 0.2,
    fill: float = 0.0,
) -> ChannelViews:
    """All channels in every view, each replaced by `fill` with the given probability; one at least remains.

    `fill` is the value of an empty channel: 0 for channels scaled to mean 0.
    """
    _check_probability("probability", probability)
    kept = [_kept_channels(fields, num_views, probability, generator) for num_views in (2, num_local)]
    return ChannelViews(*(torch.where(keep[..., None, None], fields[None], fill) for keep in kept))


VIEW_STRATEGIES: dict[str, ViewStrategy] = {
    "mean_vs_single": ViewStrategy(mean_vs_single, settings={"local_mean_probability": "local_mean_probability"}),
    "pairwise": ViewStrategy(pairwise, min_channels=2),
    "bag_of_channels": ViewStrategy(bag_of_channels),
    "channel_drop": ViewStrategy(channel_drop, shows_all_channels=True, settings={"drop_probability": "probability"}),
}


class Views(BaseModel):
    """Which channels the crops show: a strategy of `VIEW_STRATEGIES` and its settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    strategy: str = Field(
        default="mean_vs_single", description="mean_vs_single, pairwise, bag_of_channels, channel_drop"
    )
    local_mean_probability: float = Field(default=0.3, ge=0, le=1, description="mean_vs_single: locals that show it")
    drop_probability: float = Field(default=0.2, ge=0, le=1, description="channel_drop: share of channels dropped")

    @field_validator("strategy")
    @classmethod
    def _strategy_is_known(cls, strategy: str) -> str:
        if strategy not in VIEW_STRATEGIES:
            raise ValueError(f"there is no view strategy {strategy!r}; choose one of {', '.join(VIEW_STRATEGIES)}")
        return strategy

    @property
    def chosen(self) -> ViewStrategy:
        return VIEW_STRATEGIES[self.strategy]

    def views(
        self, fields: Float[Tensor, "field channel y x"], *, num_local: int, generator: torch.Generator
    ) -> ChannelViews:
        """The chosen strategy with its settings."""
        settings = {argument: getattr(self, name) for name, argument in self.chosen.settings.items()}
        return self.chosen(fields, num_local=num_local, generator=generator, **settings)


def _random_channels(
    fields: Float[Tensor, "field channel y x"], num_views: int, generator: torch.Generator
) -> Int64[Tensor, "view field"]:
    shape = (num_views, len(fields))
    return torch.randint(fields.shape[1], shape, generator=generator, device=generator.device).to(fields.device)


def _single_channel(
    fields: Float[Tensor, "field channel y x"], channels: Int64[Tensor, "view field"]
) -> Float[Tensor, "view field 1 y x"]:
    return fields[torch.arange(len(fields), device=fields.device), channels][:, :, None]


def _kept_channels(
    fields: Float[Tensor, "field channel y x"], num_views: int, probability: float, generator: torch.Generator
) -> Bool[Tensor, "view field channel"]:
    draws = _draw((num_views, *fields.shape[:2]), generator, fields.device)
    return (draws >= probability) | (draws == draws.amax(dim=-1, keepdim=True))


def _draw(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Float[Tensor, "*shape"]:
    return torch.rand(shape, generator=generator, device=generator.device).to(device)


def _check_probability(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; give a number of [0, 1]")
