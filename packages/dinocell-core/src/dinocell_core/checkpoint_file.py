"""Weight files: their containers, and the tensors of the backbone among what they hold."""

import json
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from dinocell_core.checkpoint_layouts import Layout, detect_layout
from dinocell_core.integrity import damaged_record, weights_sha256

_HEADS = ("dino_head.", "ibot_head.")
_BACKBONE_HEADER = "dinocell_backbone"  # facts in the files that `dinocell pretrain` writes
UNREADABLE = (  # what torch's reader makes of bytes that are damaged
    pickle.UnpicklingError,
    SafetensorError,  # torch reads files with that suffix by its library
    RuntimeError,
    EOFError,
    OSError,
    AssertionError,
    struct.error,
    AttributeError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
)


def read_checkpoint(path: Path) -> Any:
    """The content of a PyTorch zip or safetensors file; no code in it is ever executed."""
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise FileNotFoundError(
            f"there is no weight file {path}; give a DINOv3 .pth or .safetensors, or the backbone.safetensors of "
            "'dinocell pretrain'"
        ) from error
    try:
        if head[8:] == b"{":  # safetensors: the length of a JSON header, then the header
            return _checked(load_file(path), path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if (record := damaged_record(path)) is not None:
        raise _damaged(path, f"{record} does not match its checksum")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors, or is damaged; nothing of it was executed. Save a plain state "
            "dict by torch.save(model.state_dict(), ...) or use safetensors"  # torch's own message advises executing it
        ) from error
    except UNREADABLE as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, why: object) -> ValueError:
    return ValueError(f"{path} is damaged or not a weight file; download it again and compare its size ({why})")


def _checked(weights: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The same weights; ValueError if the file tells their checksum and it is another one."""
    if _backbone_header(path).get("weights_sha256", "absent") not in ("absent", weights_sha256(weights)):
        raise ValueError("its weights do not match their checksum")
    return weights


def _backbone_header(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        header = (file.metadata() or {}).get(_BACKBONE_HEADER, "{}")
    facts = json.loads(header)
    if not isinstance(facts, dict):
        raise ValueError("its metadata are not a JSON object")
    return facts


def origin_of(content: Any, path: Path) -> dict[str, Any]:
    """What a backbone or a checkpoint of `dinocell pretrain` says of its run; {} for files of others."""
    if isinstance(content, Mapping) and {"teacher", "step", "recipe", "start"} <= content.keys():
        return {"step": content["step"], "start": dict(content["start"]), "recipe": content["recipe"]}
    with path.open("rb") as file:
        is_safetensors = file.read(9)[8:] == b"{"
    return _backbone_header(path) if is_safetensors else {}


def backbone_part(content: Any, path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The backbone's tensors, and the keys of the heads of a training checkpoint, which are left out."""
    dropped: list[str] = []
    if isinstance(content, Mapping) and isinstance(content.get("teacher"), Mapping):
        teacher = {str(key): value for key, value in content["teacher"].items()}
        dropped = [key for key in teacher if key.startswith(_HEADS)]
        content = {key.removeprefix("backbone."): teacher[key] for key in teacher if key not in dropped}
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a state dict")
    others = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise ValueError(
            f"{path} holds entries that are not tensors ({listed(others)}); expected a flat state dict or "
            "the trainer's {'teacher': ...}"
        )
    return {str(key): tensor for key, tensor in content.items()}, dropped


def layout_of(weights: Mapping[str, Tensor], path: Path) -> Layout:
    """The layout recognised by the keys; ValueError with the path if there is none."""
    try:
        return detect_layout(list(weights))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def listed(keys: list[str], *, most: int = 30) -> str:
    """The first of the keys, and how many more there are."""
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "")
