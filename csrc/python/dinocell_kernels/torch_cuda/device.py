"""What the operators on a GPU share: the compiled kernels, checks of tensors, new tensors, and the queue."""

import functools
import math
from types import ModuleType

import torch
from jaxtyping import Shaped
from torch import Tensor

try:
    from dinocell_kernels import _cuda as _built
except ImportError:
    _cuda: ModuleType | None = None
else:
    _cuda = _built

PIXELS = (torch.uint8, torch.uint16, torch.float32)
LABELS = (torch.uint16, torch.int32, torch.int64)
TILES = (torch.float32, torch.bfloat16)
HEIGHTS = (torch.float32, torch.float16, torch.bfloat16)


OLDEST_CAPABILITY = (8, 0)  # of the GPUs that CMakeLists.txt builds for


def has_kernels(device: torch.device | None = None) -> bool:
    """Whether dinocell-kernels was built with CUDA and, if `device` is given, runs on it."""
    return _cuda is not None and (device is None or why_not(device) is None)


def why_not(device: torch.device) -> str | None:
    """Why the kernels of this build do not run on a GPU; None if they do."""
    return _why_not(torch.cuda.current_device() if device.index is None else device.index)


@functools.cache
def _why_not(index: int) -> str | None:
    assert _cuda is not None
    driver, runtime = _cuda.driver_version(), _cuda.runtime_version()
    if driver // 1000 < runtime // 1000:
        return f"needs a driver for CUDA {runtime // 1000}, and this one is for CUDA {driver // 1000}: update it,"
    if (capability := torch.cuda.get_device_capability(index)) < OLDEST_CAPABILITY:
        return f"runs on GPUs of capability 8.0 or newer, and this one has {capability[0]}.{capability[1]}: use another"
    return None


def require_kernels(tensor: Shaped[Tensor, "..."]) -> None:
    """Raises ValueError for a tensor on a device that this build has no kernels for."""
    kind = tensor.device.type
    if kind == "cpu":
        return
    if kind != "cuda":
        reason: str | None = "supports only cpu and cuda; move it"
    elif has_kernels():
        reason = why_not(tensor.device)
    else:
        reason = "was built without CUDA; rebuild it where nvcc is installed,"
    if reason is None:
        return
    raise ValueError(f"got a tensor on {tensor.device}, but dinocell-kernels {reason} or pass tensor.cpu()")


def of_type(tensor: Tensor, allowed: tuple[torch.dtype, ...], name: str) -> Tensor:
    if tensor.dtype not in allowed:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in allowed)
        raise ValueError(f"{name} is {tensor.dtype}; on a GPU it must be {names}: convert with {name}.to(...)")
    return tensor.detach().contiguous()


def image_sizes(tensor: Tensor, name: str, *, axes: int = 2) -> tuple[int, int, int]:
    """How many images of the last `axes` axes there are, and the lengths of the last two."""
    if tensor.ndim < axes:
        raise ValueError(f"{name} must have {axes} axes or, for a batch, more; got shape {tuple(tensor.shape)}")
    return math.prod(tensor.shape[:-axes]), tensor.shape[-2], tensor.shape[-1]


def table_size(labels: Tensor, num_labels: int | None) -> int:
    """Entries of a table of the labels of one image; waits for the device to find the largest label if not given."""
    if num_labels is None:
        num_labels = max(0, int(labels.to(torch.int64).max())) if labels.numel() else 0
    images = math.prod(labels.shape[:-2])
    if num_labels < 0 or images * (num_labels + 1) >= 2**31:
        raise ValueError(
            f"labels of {images} images reach {num_labels}; on a GPU the table of all labels from 0 to the largest "
            "must have fewer than 2^31 entries in all: renumber them from 1 on, or pass tensor.cpu()"
        )
    return num_labels + 1


def new(like: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=like.device)


def kernel_of(name: str, *dtypes: torch.dtype):  # type: ignore[no-untyped-def]  # a function of the compiled module
    return getattr(_cuda, "_".join([name, *(str(dtype).removeprefix("torch.") for dtype in dtypes)]))


def queue(on: Tensor, kernel, *arguments) -> None:  # type: ignore[no-untyped-def]  # a function of the compiled module
    """Queues a kernel on the current stream of a tensor's device; tensors are passed as their addresses."""
    with torch.cuda.device(on.device):
        kernel(*(a.data_ptr() if isinstance(a, Tensor) else a for a in arguments), stream_of(on))


def stream_of(tensor: Tensor) -> int:
    return torch.cuda.current_stream(tensor.device).cuda_stream
