"""Batches of crops: the batch of a step is a function of the recipe's seed and the step, and of nothing else.

So a resumed run sees the crops it would have seen, without any state of workers; two ranks with half of the batch
each see together what one process with the whole batch sees; and the number of workers changes nothing.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from dinocell_ssl.augment import Augmentation
from dinocell_ssl.crops import Crops, SampleCrops, Views, sample_crops
from dinocell_ssl.fields import Fields
from dinocell_ssl.intensity import ScaledField, scaled_field
from dinocell_ssl.masking import own_image_masks

_FIELD_ORDER, _SAMPLE, _MASKS = range(3)  # streams of random numbers, apart from each other


class Loading(BaseModel):
    """How fields reach the device."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_workers: int = Field(
        default=2, ge=0, description="processes that cut crops, at most one per core; 0: the training process itself"
    )
    prefetch: int = Field(default=2, ge=1, description="batches each worker has ready")
    cache_mb: int = Field(default=1024, ge=0, description="decoded fields each worker keeps")


class Masking(BaseModel):
    """Masks of the iBOT task; see `dinocell_ssl.masking.image_masks`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(default=0.5, ge=0, le=1, description="share of global crops with a mask")
    ratios: tuple[float, float] = Field(default=(0.1, 0.5), description="share of their patches that is masked")


class Skipped(NamedTuple):
    """A field that could not be used, and why."""

    field: str
    reason: str


class Batch(NamedTuple):
    """Crops of one step (of one rank), masks of the global ones crop by crop, and the fields that were replaced."""

    step: int
    global_crops: Float32[Tensor, "2 sample channel y x"]
    local_crops: Float32[Tensor, "local_crop sample channel local_y local_x"]
    masks: Bool[Tensor, "2 sample row column"]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """What the batch of a step is made of.

    Samples count on over the steps and go through all fields in a new order every epoch. Of the `batch_size` samples
    of a step, rank r of n has the r-th n-th part.
    """

    fields: Fields
    batch_size: int
    patch: int
    seed: int
    crops: Crops = field(default_factory=Crops)
    views: Views = field(default_factory=Views)
    augmentation: Augmentation = field(default_factory=Augmentation)
    masking: Masking = field(default_factory=Masking)
    rank: int = 0
    world_size: int = 1
    cache_mb: int = 1024

    def __post_init__(self) -> None:
        if len(self.fields) == 0:
            raise ValueError("there is no field to train on; give folders of images")
        if self.batch_size % self.world_size:
            raise ValueError(
                f"a batch of {self.batch_size} samples does not divide among {self.world_size} ranks; set "
                "schedule.batch_size to a multiple"
            )
        for name in ("global_px", "local_px"):
            size = getattr(self.crops, name)
            if size % self.patch or size < self.patch:
                raise ValueError(f"crops.{name} is {size}, which patches of {self.patch} do not fill; give a multiple")

    @property
    def own_samples(self) -> range:
        """Places of this rank's samples in the batch."""
        own = self.batch_size // self.world_size
        return range(self.rank * own, (self.rank + 1) * own)

    def epoch(self, step: int) -> float:
        """Passes over all fields after `step` steps."""
        return step * self.batch_size / len(self.fields)


class BatchStream(IterableDataset[Batch]):
    """Batches of the steps [start, stop); workers of a DataLoader take them in turn."""

    def __init__(self, plan: BatchPlan, *, start: int, stop: int) -> None:
        super().__init__()
        self.plan, self.start, self.stop = plan, start, stop

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        maker = BatchMaker(self.plan)
        for step in range(self.start + first, self.stop, stride):
            yield maker.batch(step)


class BatchMaker:
    """Makes the batch of any step; keeps the fields it has read, as far as the plan's cache reaches."""

    def __init__(self, plan: BatchPlan) -> None:
        self.plan = plan
        self._kept: OrderedDict[int, ScaledField | Skipped] = OrderedDict()
        self._order: tuple[int, np.ndarray] | None = None

    def batch(self, step: int) -> Batch:
        """The batch of one step. Raises ValueError when no field at all can be used."""
        plan = self.plan
        skipped: list[Skipped] = []
        samples = [self._sample(step * plan.batch_size + place, skipped) for place in plan.own_samples]
        return Batch(
            step,
            torch.from_numpy(np.stack([sample.global_crops for sample in samples], axis=1)),
            torch.from_numpy(np.stack([sample.local_crops for sample in samples], axis=1)),
            self._masks(step),
            tuple(dict.fromkeys(skipped)),
        )

    def _sample(self, number: int, skipped: list[Skipped]) -> SampleCrops:
        plan = self.plan
        source = self._usable_field(number, skipped)
        rng = np.random.default_rng((plan.seed, _SAMPLE, number))
        return sample_crops(source, rng, crops=plan.crops, views=plan.views, augmentation=plan.augmentation)

    def _masks(self, step: int) -> Bool[Tensor, "2 sample row column"]:
        plan = self.plan
        side = plan.crops.global_px // plan.patch
        images = [crop * plan.batch_size + place for crop in range(2) for place in plan.own_samples]
        masks = own_image_masks(
            images,
            2 * plan.batch_size,
            (side, side),
            masked_share=plan.masking.share,
            ratios=plan.masking.ratios,
            seed=(plan.seed, _MASKS, step),
        )
        return masks.unflatten(0, (2, -1))

    def _usable_field(self, number: int, skipped: list[Skipped]) -> ScaledField:
        """The field of a sample, or the first usable one after it in this epoch's order."""
        order = self._field_order(number // len(self.plan.fields))
        place = number % len(order)
        for index in np.roll(order, -place).tolist():
            source = self._field(index)
            if isinstance(source, ScaledField):
                return source
            skipped.append(source)
        raise ValueError(
            f"none of the {len(order)} fields can be used; the first: {skipped[0].field}: {skipped[0].reason}"
        )

    def _field_order(self, epoch: int) -> np.ndarray:
        if self._order is None or self._order[0] != epoch:
            rng = np.random.default_rng((self.plan.seed, _FIELD_ORDER, epoch))
            self._order = epoch, rng.permutation(len(self.plan.fields))
        return self._order[1]

    def _field(self, index: int) -> ScaledField | Skipped:
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        source = self._read(index)
        self._kept[index] = source
        while self._kept_bytes() > self.plan.cache_mb * 10**6 and len(self._kept) > 1:
            self._kept.popitem(last=False)
        return source

    def _kept_bytes(self) -> int:
        return sum(source.nbytes for source in self._kept.values() if isinstance(source, ScaledField))

    def _read(self, index: int) -> ScaledField | Skipped:
        fields, views = self.plan.fields, self.plan.views
        try:
            pixels = fields.read(index)
            if views.strategy == "pairwise" and len(pixels) < 2:
                raise ValueError("it has one channel, and the view strategy pairwise needs two or more")
            return scaled_field(pixels, drop_constant=views.strategy != "channel_drop")
        except (ValueError, OSError) as error:
            return Skipped(fields.name(index), str(error))


def load_batches(
    plan: BatchPlan, *, start: int, stop: int, loading: Loading, pin_memory: bool = False
) -> Iterator[Batch]:
    """Batches of the steps [start, stop) in order, made by worker processes ahead of time."""
    plan = replace(plan, cache_mb=loading.cache_mb)
    num_workers = min(loading.num_workers, cpu_count())
    loader: DataLoader[Batch] = DataLoader(
        BatchStream(plan, start=start, stop=stop),
        batch_size=None,
        num_workers=num_workers,
        prefetch_factor=loading.prefetch if num_workers else None,
        pin_memory=pin_memory,
        worker_init_fn=_one_thread,
    )
    return iter(loader)


def cpu_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _one_thread(worker: int) -> None:
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
