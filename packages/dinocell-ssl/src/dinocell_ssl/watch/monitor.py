"""What the training loop shows to monitors: the state of the run and the outputs of the last step.

A monitor needs no second forward pass for the values in `StepOutputs`; other values (attention, probes) it computes
from `TrainState.teacher`. Monitors read these objects and never change them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dinocell_ssl.model.gram_anchor import GramAnchor
from dinocell_ssl.model.teacher import Teacher


class CollapseError(RuntimeError):
    """Training has collapsed; the message names the cause. Raised by monitors that are set to stop a run."""


@dataclass(frozen=True, eq=False)
class StepOutputs:
    """What one step computed, without gradients, on the run's device.

    With several ranks, each sees its own samples; with several accumulated micro-batches, the last one. Images are
    ordered by crop: first the first global crop of every sample, then the second. The logits are those of the class
    tokens, not yet divided by a temperature. Patch tokens are normed. `ibot_targets` belong to the masked patches in
    the order of `masks.nonzero()`.
    """

    global_crops: Float[Tensor, "2 sample channel y x"]
    local_crops: Float[Tensor, "local_crop sample channel local_y local_x"]
    masks: Bool[Tensor, "image patch"]
    grid: tuple[int, int]
    teacher_class_tokens: Float[Tensor, "2 sample feature"]
    teacher_class_logits: Float[Tensor, "2 sample prototype"]
    teacher_patch_tokens: Float[Tensor, "image patch feature"]
    student_class_tokens: Float[Tensor, "2 sample feature"]
    student_class_logits: Float[Tensor, "2 sample prototype"]
    dino_targets: Float[Tensor, "2 sample prototype"]
    ibot_targets: Float[Tensor, "masked_patch patch_prototype"]
    teacher_temperature: float
    student_temperature: float


@dataclass
class TrainState:
    """A run in progress.

    `step` counts the steps taken, `skipped_steps` those whose loss or gradient was not finite. `student` has the
    children `backbone`, `dino_head` and `ibot_head`; `teacher.module` is its average. `outputs` are those of the last
    step, None before the first. `anchor` is the earlier teacher of Gram training, None without it.
    """

    step: int
    student: torch.nn.Module
    teacher: Teacher
    optimizer: torch.optim.Optimizer
    recipe: dict[str, Any]
    output: Path
    outputs: StepOutputs | None = None
    skipped_steps: int = 0
    consecutive_skips: int = 0
    anchor: GramAnchor | None = None


@runtime_checkable
class Monitor(Protocol):
    """Looks at a run every `every` steps, on the first rank only."""

    every: int

    def on_step(self, step: int, values: dict[str, float], state: TrainState) -> dict[str, float]:
        """More values for the log line of this step.

        `values` are the losses, rates and times of the step. Raises CollapseError to stop the run; its last
        checkpoint stays the last.
        """
        ...
