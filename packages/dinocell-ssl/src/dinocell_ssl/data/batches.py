"""Batches of crops: the batch of a step is a function of the recipe's seed and the step only.

So a resumed run sees the crops it would have seen, without any state of the workers; two ranks with half of the batch
each see together what one process with the complete batch sees; and the number of workers changes nothing. For streamed
fields only the first holds: their order depends on the numbers of ranks and workers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from dinocell_io import (
    DiskCache,
    FieldList,
    FieldStream,
    Prepare,
    StreamError,
    StreamLimits,
    StreamReads,
    leave_stopping_to_parent,
    usable_cores,
)
from dinocell_ssl.data.augment import Augmentation
from dinocell_ssl.data.crops import Crops, SampleCrops, sample_crops
from dinocell_ssl.data.field_source import ReadFields, ScaleFields, Skipped, StreamedFields
from dinocell_ssl.data.fields import Fields
from dinocell_ssl.data.masking import own_image_masks
from dinocell_ssl.data.views import Views
from dinocell_ssl.distributed import ProcessLostError

_SAMPLE, _MASKS = 1, 2  # streams of random numbers, apart from each other and from the order of fields


class Loading(BaseModel):
    """How fields reach the device."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    num_workers: int = Field(
        default=2, ge=0, description="processes that cut crops, at most one per core; 0: the training process itself"
    )
    prefetch: int = Field(default=2, ge=1, description="batches each worker has ready")
    cache_mb: int = Field(default=1024, ge=0, description="decoded fields of folders that each worker keeps")


class Masking(BaseModel):
    """Masks of the iBOT task; see `dinocell_ssl.data.masking.image_masks`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    share: float = Field(default=0.5, ge=0, le=1, description="share of global crops with a mask")
    ratios: tuple[float, float] = Field(default=(0.1, 0.5), description="share of their patches that is masked")

    @model_validator(mode="after")
    def _ratios_are_shares(self) -> "Masking":
        low, high = self.ratios
        if not 0 <= low <= high <= 1:
            raise ValueError(
                f"ratios is [{low:g}, {high:g}]; give [lowest, highest] share of the patches within [0, 1]"
            )
        return self


class Batch(NamedTuple):
    """Crops of one step (of one rank), masks of the global ones crop by crop, and the fields that were replaced.

    `reads` are the objects that the worker which made it has read of a stream so far; None of folders.
    """

    step: int
    global_crops: Float32[Tensor, "2 sample channel y x"]
    local_crops: Float32[Tensor, "local_crop sample channel local_y local_x"]
    masks: Bool[Tensor, "2 sample row column"]
    skipped: tuple[Skipped, ...]
    worker: int = 0
    reads: StreamReads | None = None


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """The fields, samples and limits from which the batch of a step is made.

    Samples are numbered across steps and go through all fields in a new order every epoch. Rank r of n ranks gets the
    r-th of n equal parts of the `batch_size` samples of a step. Fields of a `FieldList` are streamed: each rank and
    worker has its own share of them, so their order also depends on these numbers; `quarantine` is the stream's file of
    bad fields, `cache` keeps its objects, and `steps` are applied to each field first. The ranks and workers of a
    machine also share the requests under way, the fields ahead of their use and `buffer_fields`: see `StreamLimits` for
    the totals (56 requests, 32 fields) and `buffer_share`. Fields with another number of channels than `channels`
    cannot be used (None: all can). The reason why a field of a folder was replaced is in `Batch.skipped`; for a stream
    it is in `quarantine`.
    """

    fields: Fields | FieldList
    batch_size: int
    patch: int
    seed: int
    crops: Crops = field(default_factory=Crops)
    views: Views = field(default_factory=Views)
    augmentation: Augmentation = field(default_factory=Augmentation)
    masking: Masking = field(default_factory=Masking)
    rank: int = 0
    world_size: int = 1
    ranks_per_node: int = 1
    cache_mb: int = 1024
    reuses: int = 1
    buffer_fields: int = 512
    quarantine: Path | None = None
    cache: DiskCache | None = None
    steps: tuple[Prepare, ...] = ()
    channels: int | None = None

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
                raise ValueError(
                    f"crops.{name} is {size}, which is not a multiple of the patch ({self.patch}); give a multiple"
                )

    @property
    def own_samples(self) -> range:
        """Places of this rank's samples in the batch."""
        own = self.batch_size // self.world_size
        return range(self.rank * own, (self.rank + 1) * own)

    def epoch(self, step: int) -> float:
        """Passes over all fields after `step` steps; a stream's give each field `reuses` samples."""
        samples = self.reuses if isinstance(self.fields, FieldList) else 1
        return step * self.batch_size / (len(self.fields) * samples)

    def buffer_share(self, num_workers: int) -> int:
        """Fields that one of `num_workers` workers of a rank holds to mix the reuses.

        Its part of `buffer_fields`, but at least two batches, so that no field comes twice in one batch.
        """
        needed = max(self.reuses, 2 * len(self.own_samples))
        return min(self.buffer_fields, max(needed, self.buffer_fields // (num_workers * self.ranks_per_node)))


class WorkerLostError(ProcessLostError):
    """A worker process was killed."""


class BatchStream(IterableDataset["Batch | Exception"]):
    """Batches of the steps [start, stop); workers of a DataLoader take them in turn.

    If a batch cannot be made, the error comes in its place, as the last item: raised in a worker, it would reach the
    training process as the text of a traceback.
    """

    def __init__(self, plan: BatchPlan, *, start: int, stop: int) -> None:
        super().__init__()
        self.plan, self.start, self.stop = plan, start, stop

    def __iter__(self) -> Iterator[Batch | Exception]:
        worker = get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        if worker is not None:
            leave_stopping_to_parent()
        maker = BatchMaker(self.plan, start=self.start + first, stride=stride)
        for step in range(self.start + first, self.stop, stride):
            try:
                yield maker.batch(step)
            except (ValueError, OSError, StreamError) as error:
                yield error
                return


class BatchMaker:
    """Makes the batch of any step; with streamed fields only those of `start`, `start` + `stride`, ... in turn."""

    def __init__(self, plan: BatchPlan, *, start: int = 0, stride: int = 1) -> None:
        self.plan = plan
        self._worker = start % stride
        views = plan.views.strategy
        self._source: ReadFields | StreamedFields
        if isinstance(plan.fields, FieldList):
            num_readers = stride * plan.ranks_per_node
            whole = StreamLimits()
            # Step s is made by worker s modulo the number of workers, wherever a run starts.
            stream = FieldStream(
                plan.fields,
                rank=plan.rank,
                world_size=plan.world_size,
                worker=start % stride,
                num_workers=stride,
                seed=plan.seed,
                num_epochs=None,
                reuses=plan.reuses,
                buffer_fields=plan.buffer_share(stride),
                limits=replace(
                    whole,
                    num_requests=max(1, whole.num_requests // num_readers),
                    fields_ahead=max(2, whole.fields_ahead // num_readers),
                ),
                prepare=(*plan.steps, ScaleFields(views, plan.channels)),
                cache=plan.cache,
                quarantine=plan.quarantine,
            )
            self._source = StreamedFields(stream, used=start // stride * len(plan.own_samples))
        else:
            self._source = ReadFields(
                plan.fields, seed=plan.seed, views=views, cache_mb=plan.cache_mb, channels=plan.channels
            )

    def batch(self, step: int) -> Batch:
        """The batch of one step. Raises ValueError if no field can be used."""
        plan = self.plan
        skipped: list[Skipped] = []
        samples = [self._sample(step * plan.batch_size + place, skipped) for place in plan.own_samples]
        return Batch(
            step,
            torch.from_numpy(np.stack([sample.global_crops for sample in samples], axis=1)),
            torch.from_numpy(np.stack([sample.local_crops for sample in samples], axis=1)),
            self._masks(step),
            tuple(dict.fromkeys(skipped)),
            self._worker,
            self._source.reads,
        )

    def _sample(self, number: int, skipped: list[Skipped]) -> SampleCrops:
        plan = self.plan
        source = self._source.field(number, skipped)
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


def load_batches(
    plan: BatchPlan, *, start: int, stop: int, loading: Loading, pin_memory: bool = False
) -> Iterator[Batch]:
    """Batches of the steps [start, stop) in order, made by worker processes ahead of time.

    Raises the errors of the workers (see `BatchMaker`), and WorkerLostError if a worker was killed.
    """
    plan = replace(plan, cache_mb=loading.cache_mb)
    streamed = isinstance(plan.fields, FieldList)
    num_workers = loading.num_workers if streamed else min(loading.num_workers, usable_cores())
    loader: DataLoader[Batch | Exception] = DataLoader(
        BatchStream(plan, start=start, stop=stop),
        batch_size=None,
        num_workers=num_workers,
        prefetch_factor=loading.prefetch if num_workers else None,
        pin_memory=pin_memory,
    )
    with _no_threads_of_opencv():
        return _raising(iter(loader))


def _raising(made: Iterator[Batch | Exception]) -> Iterator[Batch]:
    while True:
        try:
            batch = next(made)
        except StopIteration:
            return
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise WorkerLostError(
                f"a worker process was killed ({error}), most often because memory ran out; lower "
                "loading.num_workers, loading.cache_mb or loading.prefetch and give the same command again: the run "
                "continues from its last checkpoint"
            ) from error
        if isinstance(batch, Exception):
            raise batch
        yield batch


@contextmanager
def _no_threads_of_opencv() -> Iterator[None]:
    """Workers are forked with OpenCV set to one thread: a child that uses its parent's thread pool may never return."""
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
