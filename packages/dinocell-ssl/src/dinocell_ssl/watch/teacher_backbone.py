"""The teacher's backbone for monitors that run a forward pass of their own."""

from typing import cast

import torch.distributed as dist

from dinocell_core import DinoVisionTransformer
from dinocell_ssl.watch.monitor import TrainState


def teacher_backbone(state: TrainState) -> DinoVisionTransformer | None:
    """The backbone, in evaluation mode; None if its weights are sharded over the ranks.

    Monitors run only on the first rank, and all ranks together would have to gather such weights: a forward pass on one
    rank would never return.
    """
    backbone = cast(DinoVisionTransformer, state.teacher.module.get_submodule("backbone"))
    if dist.is_available() and dist.is_initialized():
        from torch.distributed.tensor import DTensor

        if any(isinstance(parameter, DTensor) for parameter in backbone.parameters()):
            return None
    return backbone
