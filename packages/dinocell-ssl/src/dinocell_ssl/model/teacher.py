"""The teacher: an exponential moving average (EMA) of the student's parameters."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Teacher:
    """A frozen copy of the student in evaluation mode, whose parameters follow the student's slowly.

    Make it where the student is: on its final device.

    The average is kept in float32 (float64 stays) even when `module` computes in `dtype`: with a momentum of 0.999
    a bfloat16 average would round every step away and never change. In float32 the average is the module's own
    parameters and takes no further memory; in bfloat16 it takes 4 bytes per parameter more. Buffers are those of
    the student at the start, as in DINOv3.
    """

    def __init__(self, student: nn.Module, *, dtype: torch.dtype | None = None) -> None:
        """Copy of `student`, computing in `dtype` (None: as the student)."""
        self.module = copy.deepcopy(student).eval().requires_grad_(False)
        if dtype is not None:
            self.module.to(dtype)
        sources = dict(student.named_parameters())
        self._average: dict[str, Tensor] = {
            name: sources[name].detach().float().clone()
            for name, parameter in self.module.named_parameters()
            if parameter.dtype.itemsize < 4
        }

    @torch.no_grad()
    def update(self, student: nn.Module, momentum: float) -> None:
        """momentum · teacher + (1 - momentum) · student for every parameter; call after the optimiser's step."""
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum is {momentum}; give a number of [0, 1], DINOv3 uses 0.992 to 1")
        sources, parameters = dict(student.named_parameters()), dict(self.module.named_parameters())
        if sources.keys() != parameters.keys():
            differing = sorted(sources.keys() ^ parameters.keys())
            raise ValueError(
                f"student and teacher differ in {len(differing)} parameters, first {differing[0]}; "
                "give the student the teacher was made of, without a wrapper such as DDP"
            )
        averages = [self._average.get(name, parameter) for name, parameter in parameters.items()]
        values = [sources[name].to(average.dtype) for name, average in zip(parameters, averages, strict=True)]
        torch._foreach_lerp_(averages, values, 1 - momentum)
        for name, average in self._average.items():
            parameters[name].copy_(average)

    def state_dict(self) -> dict[str, Tensor]:
        """The module's entries, with the float32 average in place of narrower parameters."""
        return {**self.module.state_dict(), **self._average}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a `state_dict`; PyTorch's RuntimeError when it does not fit completely."""
        self.module.load_state_dict(state)
        for name, average in self._average.items():
            average.copy_(state[name])
