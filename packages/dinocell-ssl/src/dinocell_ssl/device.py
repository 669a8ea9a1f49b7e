"""The device of a run, by name."""

import torch


def resolve_device(name: str) -> torch.device:
    """The torch device of a name; "auto" takes CUDA, then MPS, then the CPU.

    Raises ValueError for a name that is no device, and for a device that this machine lacks.
    """
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if has_cuda else "mps" if has_mps else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"{name!r} is no device; give auto, cpu, cuda, cuda:1 or mps") from error
    if not {"cpu": True, "cuda": has_cuda, "mps": has_mps}.get(device.type, False):
        raise ValueError(
            f"this torch ({torch.__version__}) sees no {device.type} device; give cpu, or run 'dinocell doctor' to see "
            "what is missing"
        )
    return device
