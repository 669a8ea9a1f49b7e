"""One step of pretraining: teacher, targets, student, optimiser, average; nothing changes if a number is not finite."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from dinocell_ssl.data.batches import Batch
from dinocell_ssl.distributed import Ranks, reduce_in_place
from dinocell_ssl.model.network import TeacherOutputs
from dinocell_ssl.model.parameter_groups import PARTS, clip_gradients, set_rates
from dinocell_ssl.run.objective import Losses, LossRequest, MicroBatch, Objective, TargetMaker, Targets
from dinocell_ssl.run.recipe import PretrainRecipe, StepRates
from dinocell_ssl.watch.monitor import StepOutputs, TrainState

_STUDENT_RANDOMNESS = 3  # apart from the streams of `dinocell_ssl.data.batches`


class Stepper:
    """Takes steps of one run on one rank.

    `objective` is the student with its losses, within DDP or sharded by FSDP when there are several ranks.
    """

    def __init__(
        self,
        state: TrainState,
        recipe: PretrainRecipe,
        objective: Objective | DistributedDataParallel,
        *,
        targets: TargetMaker,
        ranks: Ranks,
        device: torch.device,
    ) -> None:
        self._state, self._recipe, self._ranks, self._device = state, recipe, ranks, device
        self._objective, self._targets = objective, targets
        self._plain = objective.module if isinstance(objective, DistributedDataParallel) else objective

    def take(self, batch: Batch, rates: StepRates) -> dict[str, float]:
        """The losses and gradient norms of the step, averaged over ranks.

        A loss or gradient that is not finite reaches neither optimiser nor teacher nor centres: the step counts as
        skipped, on all ranks together.
        """
        state, recipe = self._state, self._recipe
        state.outputs = None  # the targets of the last step are the largest arrays there are
        if state.anchor is not None and recipe.gram.is_taken_before(state.step):
            state.anchor.take(state.teacher.module.get_submodule("backbone"))
        parts = self._parts(batch)
        set_rates(
            state.optimizer,
            learning_rate=rates.learning_rate,
            weight_decay=rates.weight_decay,
            last_layer_frozen=rates.last_layer_frozen,
            backbone_factor=rates.backbone_factor,
        )
        with torch.no_grad(), self._autocast():
            taught = [state.teacher.module(part.global_crops, part.masks) for part in parts]
            targets = self._make_targets(taught, rates.teacher_temperature)
            taught = [part._replace(patch_logits=part.patch_logits[:0].clone()) for part in taught]
            spread, gradients = self._spread_of_all(parts)
        state.optimizer.zero_grad(set_to_none=True)
        losses = [
            self._backward(index, part, targets[index], gradients[index] if gradients else None, rates)
            for index, part in enumerate(parts)
        ]
        norms = clip_gradients(
            {name: state.student.get_submodule(name) for name in PARTS}, recipe.optimization.clip_norm
        )
        values = self._values(losses, spread, norms, rates)
        if all(math.isfinite(value) for value in values.values()):
            state.optimizer.step()
            state.teacher.update(state.student, rates.momentum)
            self._targets.commit()
            state.consecutive_skips = 0
        else:
            state.skipped_steps += 1
            state.consecutive_skips += 1
        state.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        state.outputs = self._outputs(parts[-1], taught[-1], losses[-1], targets[-1], rates)
        return values

    def _parts(self, batch: Batch) -> list[MicroBatch]:
        def split(tensor: Tensor) -> tuple[Tensor, ...]:
            moved = tensor.to(self._device, non_blocking=True)
            return moved.chunk(self._recipe.schedule.accumulate, dim=1)

        masks = [part.flatten(2).flatten(0, 1) for part in split(batch.masks)]
        return [
            MicroBatch(*part) for part in zip(split(batch.global_crops), split(batch.local_crops), masks, strict=True)
        ]

    def _make_targets(self, taught: list[TeacherOutputs], temperature: float) -> list[Targets]:
        """Targets of all micro-batches, balanced together."""
        dino_logits = torch.cat([part.class_logits for part in taught], dim=1)
        dino = self._targets.targets("dino", dino_logits.flatten(0, 1), temperature).view_as(dino_logits)
        counts = [len(part.patch_logits) for part in taught]
        patch_logits = taught[0].patch_logits if len(taught) == 1 else torch.cat([one.patch_logits for one in taught])
        ibot = self._targets.targets("ibot", patch_logits, temperature)
        return [Targets(*pair) for pair in zip(dino.chunk(len(taught), dim=1), ibot.split(counts), strict=True)]

    def _spread_of_all(self, parts: list[MicroBatch]) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        """KoLeo or SIGReg over all micro-batches and its gradient on their features; nothing for a single one.

        Costs one more forward pass of the student, without a graph.
        """
        if len(parts) == 1 or self._recipe.loss.spread[1] == 0:
            return None, ()
        features = []
        for index, part in enumerate(parts):
            self._seed(index)
            features.append(self._objective(part))
        value, gradient = self._plain.spread_gradient(torch.cat(features, dim=1), step=self._state.step)
        return value, gradient.chunk(len(parts), dim=1)

    def _backward(
        self,
        index: int,
        part: MicroBatch,
        targets: Targets,
        gradient: Tensor | None,
        rates: StepRates,
    ) -> Losses:
        num_parts = self._recipe.schedule.accumulate
        anchor_tokens = None
        if self._state.anchor is not None and rates.gram_weight > 0:
            with torch.no_grad(), self._autocast():
                anchor_tokens = self._state.anchor(part.global_crops)
        request = LossRequest(
            targets=targets,
            share=1 / num_parts,
            step=self._state.step,
            local_weight=rates.local_weight,
            spread_gradient=gradient,
            anchor_tokens=anchor_tokens,
            gram_weight=rates.gram_weight,
            clamp_negatives=self._recipe.gram.clamp_negatives,
        )
        self._seed(index)
        with self._unsynchronised() if index < num_parts - 1 else nullcontext():
            with self._autocast():
                losses: Losses = self._objective(part, request)
            losses.total.backward()
        return losses._replace(total=losses.total.detach())

    def _seed(self, part: int) -> None:
        """The randomness of the student (drop path, RoPE) is a function of seed, step, rank and micro-batch."""
        seeds = np.random.SeedSequence(
            (self._recipe.seed, _STUDENT_RANDOMNESS, self._state.step, self._ranks.rank, part)
        )
        torch.manual_seed(int(seeds.generate_state(1, np.uint64)[0] >> 1))

    def _values(
        self, losses: list[Losses], spread: Tensor | None, norms: dict[str, Tensor], rates: StepRates
    ) -> dict[str, float]:
        settings = self._recipe.loss
        names = ("dino_global", "dino_local", "ibot", "spread", "gram")
        means = {name: torch.stack([getattr(part, name) for part in losses]).mean() for name in names}
        total = torch.stack([part.total for part in losses]).sum()
        spread_name, spread_weight = settings.spread
        of_one = means.pop("spread")
        if self._state.anchor is None:
            del means["gram"]
        means[spread_name] = of_one if spread is None else spread
        if spread is not None:
            total = total + spread_weight * spread
        stacked = torch.stack([total.float(), *(value.float() for value in means.values())])
        if self._ranks.group is not None:
            reduce_in_place(stacked, dist.ReduceOp.SUM, group=self._ranks.group)
            stacked /= self._ranks.world_size
        # One transfer for everything: each transfer makes the host wait for the device.
        gathered = torch.cat([stacked, *(norm.float()[None] for norm in norms.values())]).tolist()
        values = dict(zip(("loss", *means, *(f"grad_norm_{name}" for name in norms)), gathered, strict=True))
        num_local = self._recipe.crops.num_local
        pairs = 2 + 2 * num_local
        values["dino"] = (2 * values["dino_global"] + rates.local_weight * 2 * num_local * values["dino_local"]) / pairs
        return values

    def _outputs(
        self,
        part: MicroBatch,
        taught: TeacherOutputs,
        losses: Losses,
        targets: Targets,
        rates: StepRates,
    ) -> StepOutputs:
        side = self._recipe.crops.global_px // self._recipe.network.patch
        return StepOutputs(
            global_crops=part.global_crops,
            local_crops=part.local_crops,
            masks=part.masks,
            grid=(side, side),
            teacher_class_tokens=taught.class_tokens,
            teacher_class_logits=taught.class_logits,
            teacher_patch_tokens=taught.patch_tokens,
            student_class_tokens=losses.class_tokens,
            student_class_logits=losses.class_logits,
            dino_targets=targets.dino,
            ibot_targets=targets.ibot,
            teacher_temperature=rates.teacher_temperature,
            student_temperature=self._recipe.loss.student_temperature,
        )

    def _autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._recipe.precision == "bf16")

    @contextmanager
    def _unsynchronised(self) -> Iterator[None]:
        """Gradients are summed here and averaged over ranks with those of the last micro-batch."""
        wrapped = self._objective
        if isinstance(wrapped, DistributedDataParallel):
            with wrapped.no_sync():
                yield
        elif isinstance(wrapped, FSDPModule):
            wrapped.set_requires_gradient_sync(False)
            yield
            wrapped.set_requires_gradient_sync(True)
        else:
            yield
