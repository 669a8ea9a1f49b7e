"""Probes of a backbone without labels: k-NN of fields and plates, channel consistency, rank of the features."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from dinocell_core import DinoVisionTransformer
from dinocell_ssl.data.fields import Fields, FolderFields
from dinocell_ssl.data.intensity import ScaledField, scaled_field
from dinocell_ssl.probes.channel_consistency import ChannelConsistency, channel_consistency
from dinocell_ssl.probes.feature_rank import feature_variance, rankme
from dinocell_ssl.probes.features import FieldFeatures, ShownAs, field_features, places_of
from dinocell_ssl.probes.knn import neighbor_agreement


class ProbeField(NamedTuple):
    """A field to probe, with the plate it is from."""

    name: str
    plate: str
    field: ScaledField


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """How fields are looked at: up to `max_places` squares of `size` pixels each, at native resolution.

    `shown`: see `dinocell_ssl.probes.features.channel_images`; None: as the run of a probed checkpoint showed its
    fields (`dinocell_ssl.probes.probe_report.probe_checkpoint`), else repeated.
    """

    size: int = 224
    max_places: int = 9
    num_neighbors: int = 20
    shown: ShownAs | None = None
    seed: int = 0


@dataclass(frozen=True)
class ProbeResult:
    """What was measured, under the names of the log, and why something was not.

    `knn_field`: share of the nearest neighbours (class tokens, mean of the channels) that are of the same field;
    `knn_plate`: of the same plate, among other fields; each with its `_chance`. `channel_same`, `channel_different`,
    `channel_margin` with `_low` and `_high` of its 95 % interval, `channel_retrieval` with its `_chance`: see
    `ChannelConsistency`; of class tokens, and with `patch_` in front of the mean of patch tokens. `probe_rank`
    (RankMe) and `probe_variance` are those of the class tokens of every channel.
    """

    values: dict[str, float]
    notes: tuple[str, ...]
    consistency: ChannelConsistency | None = field(default=None)


def read_probe_fields(
    fields: Fields,
    *,
    max_fields: int,
    plates: Sequence[str] | None = None,
    size: int = 224,
    channels: int | None = None,
) -> tuple[list[ProbeField], tuple[str, ...]]:
    """Up to `max_fields` fields, spread evenly over the list, and a note for each that could not be used.

    A field must be readable, not smaller than `size`, not blank in any channel, and of `channels` channels (None: of
    any number), as a backbone that sees each in its place needs it. Without `plates`, one name per
    field, the plate is the folder of the field's first file.
    """
    if max_fields < 1:
        raise ValueError(f"max_fields is {max_fields}; give 1 or more")
    count = min(max_fields, len(fields))
    chosen = [index * len(fields) // count for index in range(count)]
    found, notes = [], []
    for index in chosen:
        try:
            scaled = scaled_field(fields.read(index), drop_constant=False)
            _check_usable(scaled, size, channels)
        except (ValueError, OSError) as error:
            notes.append(f"{fields.name(index)} was left out: {error}")
            continue
        plate = plates[index] if plates is not None else _folder_of(fields, index)
        found.append(ProbeField(fields.name(index), plate, scaled))
    return found, tuple(notes)


def _check_usable(scaled: ScaledField, size: int, channels: int | None) -> None:
    if channels is not None and len(scaled.pixels) != channels:
        raise ValueError(f"it has {len(scaled.pixels)} channels, and the backbone takes {channels} in their places")
    height, width = scaled.pixels.shape[1:]
    if min(height, width) < size:
        raise ValueError(f"it has {height} x {width} pixels, less than one square of {size}")
    blank = [channel for channel in range(len(scaled.low)) if scaled.high[channel] <= scaled.low[channel]]
    if blank:
        raise ValueError(f"its channels {blank} (counted from 0) are blank")


def _folder_of(fields: Fields, index: int) -> str:
    if isinstance(fields, FolderFields):
        return str(fields.fields[index][0].parent)
    return str(Path(fields.name(index)).parent)


def run_probes(
    backbone: DinoVisionTransformer, fields: Sequence[ProbeField], *, settings: ProbeSettings | None = None
) -> ProbeResult:
    """Probe a backbone in evaluation mode on fields it should not have been trained on.

    Channel consistency takes the fields whose number of channels is the most frequent one. A probe for which the
    fields do not suffice is named in `notes`.
    Raises ValueError without any field.
    """
    if not fields:
        raise ValueError("there is no field to probe on; give fields of at least one square, blank in no channel")
    settings = settings or ProbeSettings()
    features = [_features_of(backbone, one, settings) for one in fields]
    values: dict[str, float] = {}
    notes: list[str] = []
    class_tokens = torch.cat([one.class_token.flatten(0, 1) for one in features])
    values["probe_rank"], values["probe_variance"] = rankme(class_tokens), feature_variance(class_tokens)
    _neighbors(fields, features, settings, values, notes)
    consistency = _consistency(features, settings, values, notes)
    values["probe_places"] = float(sum(len(one.class_token) for one in features))
    values["probe_fields"] = float(len(fields))
    return ProbeResult(values, tuple(notes), consistency)


def _features_of(backbone: DinoVisionTransformer, one: ProbeField, settings: ProbeSettings) -> FieldFeatures:
    places = places_of(one.field, size=settings.size, max_places=settings.max_places)
    return field_features(backbone, one.field, places, size=settings.size, shown=settings.shown or "repeated")


def _neighbors(
    fields: Sequence[ProbeField],
    features: Sequence[FieldFeatures],
    settings: ProbeSettings,
    values: dict[str, float],
    notes: list[str],
) -> None:
    """k-NN of places; a place is the mean of its channels' unit vectors, whatever their number."""
    tokens = torch.cat([F.normalize(one.class_token, dim=-1).mean(dim=1) for one in features])
    counts = torch.tensor([len(one.class_token) for one in features])
    field_of = torch.arange(len(fields)).repeat_interleave(counts)
    plates = sorted({one.plate for one in fields})
    plate_of = torch.tensor([plates.index(one.plate) for one in fields]).repeat_interleave(counts)
    if len(fields) < 2:
        notes.append("k-NN of fields and plates needs two fields or more")
        return
    _one_neighbors("knn_field", tokens, field_of, None, settings, values, notes)
    if len(plates) < 2:
        notes.append("k-NN of plates needs two plates or more; by default the folder of a file is its plate")
        return
    _one_neighbors("knn_plate", tokens, plate_of, field_of, settings, values, notes)


def _one_neighbors(
    name: str,
    tokens: Float[Tensor, "place feature"],
    labels: Tensor,
    apart: Tensor | None,
    settings: ProbeSettings,
    values: dict[str, float],
    notes: list[str],
) -> None:
    counts = torch.bincount(labels)
    # More neighbours than a label has members would be wrong of necessity.
    most = max(1, int(counts[counts > 0].min()) - 1) if apart is None else settings.num_neighbors
    try:
        found = neighbor_agreement(tokens, labels, num_neighbors=min(settings.num_neighbors, most), apart=apart)
    except ValueError as error:
        notes.append(f"{name}: {error}")
        return
    values |= {name: found.agreement, f"{name}_accuracy": found.accuracy, f"{name}_chance": found.chance}


def _consistency(
    features: Sequence[FieldFeatures], settings: ProbeSettings, values: dict[str, float], notes: list[str]
) -> ChannelConsistency | None:
    numbers = [one.class_token.shape[1] for one in features]
    usual = max(set(numbers), key=lambda number: (numbers.count(number), number))
    used = [one for one, number in zip(features, numbers, strict=True) if number == usual]
    if usual < 2:
        notes.append("channel consistency needs fields of two channels or more; see --channel-pattern")
        return None
    if len(used) < len(features):
        notes.append(f"channel consistency is that of the {len(used)} fields of {usual} channels")
    groups = torch.arange(len(used)).repeat_interleave(torch.tensor([len(one.class_token) for one in used]))
    if len(groups) < 2:
        notes.append("channel consistency needs two places or more")
        return None
    of_class = channel_consistency(torch.cat([one.class_token for one in used]), groups=groups, seed=settings.seed)
    of_patches = channel_consistency(torch.cat([one.mean_patch for one in used]), groups=groups, seed=settings.seed)
    if of_class.interval is None:
        notes.append("the interval of the channel margin needs three fields or more")
    values |= _named("", of_class) | _named("patch_", of_patches)
    return of_class


def _named(prefix: str, found: ChannelConsistency) -> dict[str, float]:
    values: dict[str, Any] = {
        "channel_same": found.same_field,
        "channel_different": found.different_fields,
        "channel_margin": found.margin,
        "channel_retrieval": found.retrieval,
        "channel_retrieval_chance": found.retrieval_chance,
    }
    if found.interval is not None:
        values |= {"channel_margin_low": found.interval[0], "channel_margin_high": found.interval[1]}
    return {f"{prefix}{name}": value for name, value in values.items()}
