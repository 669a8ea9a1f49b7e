"""Weights, gradients and moments sharded over the ranks (FSDP2), and gathered again in checkpoints."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from dinocell_ssl.distributed import Ranks
from dinocell_ssl.model.gram_anchor import GramAnchor
from dinocell_ssl.model.network import SslNetwork


def shard(root: nn.Module, network: SslNetwork | GramAnchor, *, ranks: Ranks, device: torch.device) -> None:
    """Shard the parameters of `root` over all ranks: those of its `network` block by block, the others together.

    Every rank must hold the same weights before. Afterwards parameters are DTensors: make the optimiser then, and use
    them only by calling `root`.
    """
    mesh = init_device_mesh(device.type, (ranks.world_size,))
    for block in network.backbone.blocks:
        fully_shard(block, mesh=mesh)
    # The root is sharded again after its forward pass too: the teacher has no backward pass that would do it.
    fully_shard(root, mesh=mesh, reshard_after_forward=True)


def gathered(state: Any, *, is_kept: bool) -> Any:
    """A (nested) state with every sharded tensor gathered, one after the other; all ranks must call.

    Only a rank that keeps it gets it, in the memory of its CPU; the others get None in place of sharded tensors.
    """
    if isinstance(state, DTensor):
        full = state.full_tensor()
        return full.cpu() if is_kept else None
    if isinstance(state, Mapping):
        return {key: gathered(value, is_kept=is_kept) for key, value in state.items()}
    return [gathered(value, is_kept=is_kept) for value in state] if isinstance(state, list) else state


def copy_into(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Copy gathered tensors into a module's own, sharded or not; KeyError and RuntimeError if they do not fit."""
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(_as(tensor, given[name]))


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load a gathered state into an optimiser of parameters that may be sharded."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = {
        index: {
            name: _as(parameters[index], value) if value.shape == parameters[index].shape else value
            for name, value in values.items()
        }
        for index, values in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": moments})


def _as(own: Tensor, given: Tensor) -> Tensor:
    """`given` on the device of `own`, sharded like it."""
    given = given.to(own.device)
    if not isinstance(own, DTensor):
        return given
    return distribute_tensor(given, own.device_mesh, own.placements)
