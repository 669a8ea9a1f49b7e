"""A run from its recipe: data, network, teacher, optimiser, and the checkpoint it continues from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from dinocell_core import resolve_device
from dinocell_io import FieldList
from dinocell_ssl.data.batches import BatchPlan
from dinocell_ssl.data.fields import Fields, FolderFields
from dinocell_ssl.distributed import Ranks
from dinocell_ssl.model.gram_anchor import GramAnchor
from dinocell_ssl.model.network import SslNetwork, Start, create_network
from dinocell_ssl.model.parameter_groups import create_optimizer
from dinocell_ssl.model.sharded import shard
from dinocell_ssl.model.teacher import Teacher
from dinocell_ssl.run.objective import Objective, TargetMaker
from dinocell_ssl.run.recipe import PretrainRecipe
from dinocell_ssl.run.resume import latest_checkpoint, load_checkpoint
from dinocell_ssl.watch.monitor import TrainState

_HEAD_ONLY_SHARE = 0.1
_SMALL_ENOUGH = ("tiny", "small", "small_plus")  # to be kept complete on every rank


@dataclass(frozen=True)
class Run:
    """What stays the same during a run, and its state; the backbone is fixed in the first `head_only_steps`."""

    state: TrainState
    recipe: PretrainRecipe
    plan: BatchPlan
    start: Start
    targets: TargetMaker
    ranks: Ranks
    device: torch.device
    network: SslNetwork
    objective: Objective
    is_sharded: bool
    head_only_steps: int


def assemble(recipe: PretrainRecipe, output: Path, fields: Fields | FieldList, *, device: str, ranks: Ranks) -> Run:
    """A run at its first step, or at the last checkpoint that `output` holds.

    Raises ValueError if the batch does not divide, and for a checkpoint of another recipe or other fields.
    """
    place = _device_of(device, ranks)
    stream, cache = recipe.data.stream, recipe.data.open_cache()
    plan = BatchPlan(
        fields=fields,
        batch_size=recipe.schedule.batch_size,
        patch=recipe.network.patch,
        seed=recipe.seed,
        crops=recipe.crops,
        views=recipe.views,
        augmentation=recipe.augmentation,
        masking=recipe.masking,
        rank=ranks.rank,
        world_size=ranks.world_size,
        ranks_per_node=ranks.local_world_size,
        reuses=stream.reuses if stream else 1,
        buffer_fields=stream.buffer_fields if stream else 512,
        quarantine=output / "quarantine.jsonl",
        cache=cache,
        steps=recipe.data.steps(fields, cache=cache),
        channels=recipe.network.in_channels if recipe.views.chosen.shows_all_channels else None,
    )
    if len(plan.own_samples) % recipe.schedule.accumulate:
        raise ValueError(
            f"the {len(plan.own_samples)} samples of a rank do not divide into {recipe.schedule.accumulate} "
            "micro-batches; set schedule.accumulate to a divisor"
        )
    torch.manual_seed(recipe.seed)
    network, start = create_network(recipe.network, dino_head=recipe.dino_head, ibot_head=recipe.ibot_head)
    network.to(place)
    teacher = Teacher(network)
    anchor = GramAnchor(network.backbone, enlarge=recipe.gram.enlarge) if recipe.gram.weight > 0 else None
    objective = Objective(network, recipe.loss, group=ranks.group)
    is_sharded = _is_sharded(recipe, ranks, place)
    if is_sharded:
        shard(objective, network, ranks=ranks, device=place)
        shard(teacher.module, cast(SslNetwork, teacher.module), ranks=ranks, device=place)
        if anchor is not None:
            shard(anchor, anchor, ranks=ranks, device=place)
    if recipe.network.compile:
        backbones = [network.backbone, teacher.module.get_submodule("backbone"), *(anchor.children() if anchor else ())]
        for module in (block for backbone in backbones for block in backbone.get_submodule("blocks").children()):
            module.compile()
    state = TrainState(
        step=0,
        student=network.train(),
        teacher=teacher,
        optimizer=create_optimizer(network, recipe.optimization),
        recipe=recipe.model_dump(mode="json"),
        output=output,
        anchor=anchor,
    )
    targets = TargetMaker(recipe.loss, group=ranks.group)
    checkpoint = latest_checkpoint(output)
    if checkpoint is not None:
        targets.centers = load_checkpoint(checkpoint, state, data=data_identity(plan, recipe))
    share = recipe.schedule.head_only
    if share is None:
        share = 0.0 if start.has_heads else _HEAD_ONLY_SHARE
    head_only_steps = round(share * recipe.schedule.steps)
    return Run(state, recipe, plan, start, targets, ranks, place, network, objective, is_sharded, head_only_steps)


def data_identity(plan: BatchPlan, recipe: PretrainRecipe) -> dict[str, Any]:
    """What decides which fields come when, besides the recipe."""
    identity: dict[str, Any] = {"fields": len(plan.fields)}
    if isinstance(plan.fields, FolderFields):
        identity["fingerprint"] = plan.fields.fingerprint
    if isinstance(plan.fields, FieldList):
        workers = max(1, recipe.loading.num_workers)
        identity |= {"fingerprint": plan.fields.fingerprint, "ranks": plan.world_size, "workers": workers}
        if plan.reuses > 1:
            identity["buffer_fields"] = plan.buffer_share(workers)
    return identity


def _is_sharded(recipe: PretrainRecipe, ranks: Ranks, device: torch.device) -> bool:
    chosen = recipe.network.sharding
    if ranks.group is None or chosen == "none":
        return False
    return chosen == "fsdp" or (device.type == "cuda" and recipe.network.size not in _SMALL_ENOUGH)


def _device_of(device: str, ranks: Ranks) -> torch.device:
    chosen = resolve_device(device)
    if chosen.type == "cuda" and chosen.index is None:
        return torch.device("cuda", ranks.local_rank)
    return chosen
