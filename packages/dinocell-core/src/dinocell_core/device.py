"""The device of a run, by name."""

import torch


def resolve_device(device: str | torch.device) -> torch.device:
    """The torch device with a name; "auto" is CUDA if available, then MPS, then the CPU.

    Raises ValueError for a name that torch does not know, and for a device that this machine lacks or torch cannot use.
    For CUDA only the number of devices is queried: ranks call this before they have a device of their own, and must not
    allocate memory on the first one.
    """
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        return torch.device("cuda" if has_cuda else "mps" if has_mps else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"{device!r} is not a device; use auto, cpu, cuda, cuda:1 or mps") from error
    if not {"cuda": has_cuda, "mps": has_mps}.get(resolved.type, True):
        raise ValueError(
            f"this torch ({torch.__version__}) sees no {resolved.type} device; use --device cpu, "
            "or run 'dinocell doctor' to see what is missing"
        )
    if resolved.type == "cuda":
        number = torch.cuda.device_count()
        if (resolved.index or 0) >= number:
            raise ValueError(
                f"there is no device {str(resolved)!r}; torch {torch.__version__} sees {number} of type cuda, "
                f"use cuda:0 to cuda:{number - 1}"
            )
        return resolved
    try:
        if resolved.type == "meta":  # shapes without numbers
            raise RuntimeError("it holds no numbers")
        torch.empty(0, device=resolved)
    except (RuntimeError, ImportError) as error:
        reason = str(error).split("\n", 1)[0]
        raise ValueError(
            f"torch {torch.__version__} cannot work on the device {str(device)!r} ({reason}); "
            "use auto, cpu, cuda, cuda:1 or mps"
        ) from error
    return resolved
