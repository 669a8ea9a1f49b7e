"""Model file: one safetensors with the architecture and everything a user must know in its JSON metadata."""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dinocell_core.model import Architecture, DINOCell
from dinocell_io import atomic_path

FORMAT = "dinocell-model"
FORMAT_VERSION = 1


def save_model(
    path: str | Path,
    model: DINOCell,
    *,
    metadata: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a model file, all of it or nothing.

    Args:
        path: file to write; its folder must exist.
        model: the network; its weights and buffers are written.
        metadata: JSON-able facts to store (thresholds, normalisation, licences, scores, ...); default the model's own.
        dtype: storage type of the weights; statistics of batch normalisation stay float32.
    """
    facts = {
        **(model.metadata if metadata is None else metadata),
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "architecture": model.architecture.model_dump(mode="json"),
        "software_version": version("dinocell-core"),
    }
    tensors = {
        name: tensor.detach().to("cpu", dtype if _is_weight(name, tensor) else tensor.dtype).contiguous()
        for name, tensor in model.state_dict().items()
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"dinocell": json.dumps(facts, sort_keys=True, allow_nan=False)})


def _is_weight(name: str, tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and "running_" not in name and "periods" not in name


def read_model_metadata(path: str | Path) -> dict[str, Any]:
    """The JSON metadata of a model file, without loading its weights.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no DINOCell model file, is truncated, or is of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no model file {path}; give a .safetensors written by 'dinocell train'")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a complete safetensors file ({error}); DINOCell model files are .safetensors, "
            "and pickled .pt or .pth files are never executed"
        ) from error
    if "dinocell" not in header:
        raise ValueError(
            f"{path} is a safetensors file but not a DINOCell model; backbone weights alone go to "
            "create_dinocell_model(..., pretrained=path)"
        )
    facts = json.loads(header["dinocell"])
    if facts.get("format") != FORMAT or facts.get("format_version", 0) > FORMAT_VERSION:
        raise ValueError(
            f"{path} has format {facts.get('format')!r} version {facts.get('format_version')!r}; this software reads "
            f"{FORMAT!r} up to version {FORMAT_VERSION}: update dinocell-core"
        )
    return facts


def load_model(path: str | Path, *, device: str | torch.device = "cpu") -> DINOCell:
    """Build the network a model file describes and load all of its weights, in float32 and evaluation mode.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no DINOCell model file, or its weights do not fit its own architecture exactly.
    """
    path = Path(path)
    facts = read_model_metadata(path)
    try:
        architecture = Architecture.model_validate(facts["architecture"])
    except (KeyError, ValidationError) as error:
        raise ValueError(f"{path} describes no architecture this software knows: {error}") from error
    with torch.device("meta"):
        model = DINOCell(architecture)
    expected = model.state_dict()
    with safe_open(path, framework="pt") as file:
        stored = set(file.keys())
        missing, unexpected = sorted(expected.keys() - stored), sorted(stored - expected.keys())
        if missing or unexpected:
            raise ValueError(
                f"{path} does not fit its own architecture: missing {missing[:5]} ({len(missing)} in all), "
                f"unexpected {unexpected[:5]} ({len(unexpected)}); the file was changed after it was written"
            )
        state = {}
        for name, tensor in expected.items():
            value = file.get_tensor(name)
            if value.shape != tensor.shape:
                raise ValueError(f"{path}: {name} has shape {tuple(value.shape)}, expected {tuple(tensor.shape)}")
            state[name] = value.to(tensor.dtype)
    model.load_state_dict(state, assign=True)
    model.metadata = {key: value for key, value in facts.items() if key != "architecture"}
    return model.to(device).eval()


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
