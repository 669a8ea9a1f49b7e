"""Model file: one safetensors file with the architecture and everything a user needs to know in its JSON metadata."""

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

from dinocell_core.atomic_file import atomic_path, not_written
from dinocell_core.integrity import not_finite, weights_sha256
from dinocell_core.model import Architecture, DINOCell

FORMAT = "dinocell-model"
FORMAT_VERSION = 1
_CHECKSUMS = ("metadata_sha256", "weights_sha256")


def save_model(
    path: str | Path,
    model: DINOCell,
    *,
    metadata: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a model file, completely or not at all.

    Args:
        path: file to write; its folder must exist.
        model: the network; its weights and buffers are written.
        metadata: facts to store as JSON (thresholds, normalisation, licences, scores, ...); default the model's own.
        dtype: storage type of the weights; statistics of batch normalisation stay float32.

    Raises:
        ValueError: a weight is not finite, in the storage type; or the metadata are.
        OSError: the disk is full; the file that was there stays.
    """
    facts = {
        **_without_checksums(model.metadata if metadata is None else metadata),
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "architecture": model.architecture.model_dump(mode="json"),
        "software_version": version("dinocell-core"),
    }
    tensors = {
        name: tensor.detach().to("cpu", dtype if _is_weight(name, tensor) else tensor.dtype).contiguous()
        for name, tensor in model.state_dict().items()
    }
    if unusable := not_finite(tensors):
        raise ValueError(
            f"{path} was not written: {len(unusable)} tensors, {unusable[0]} first, hold numbers that are not finite"
            + ("" if dtype == torch.float32 else f" in {str(dtype).removeprefix('torch.')}")
        )
    facts["weights_sha256"] = weights_sha256(tensors)
    facts["metadata_sha256"] = _metadata_sha256(facts)
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={"dinocell": json.dumps(facts, sort_keys=True, allow_nan=False)})
        except SafetensorError as error:  # what its writer makes of a full disk
            raise not_written(path, error) from error


def _without_checksums(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key not in _CHECKSUMS}


def _metadata_sha256(facts: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in facts.items() if key != "metadata_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _is_weight(name: str, tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and "running_" not in name and "periods" not in name


def read_model_metadata(path: str | Path) -> dict[str, Any]:
    """The JSON metadata of a model file, without loading its weights.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a DINOCell model file, is truncated, has a newer format, or its metadata do not
            match their checksum.
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
            f"{path} is a safetensors file but not a DINOCell model; if it holds backbone weights only, use "
            "create_dinocell_model(..., pretrained=path)"
        )
    try:
        facts = json.loads(header["dinocell"])
    except ValueError as error:
        raise _damaged(path, "its metadata are not JSON") from error
    if not isinstance(facts, dict):
        raise _damaged(path, "its metadata are not a JSON object")
    version_of_file = facts.get("format_version", 0)
    if facts.get("format") != FORMAT or not isinstance(version_of_file, int) or version_of_file > FORMAT_VERSION:
        raise ValueError(
            f"{path} has format {facts.get('format')!r} version {facts.get('format_version')!r}; this software reads "
            f"{FORMAT!r} up to version {FORMAT_VERSION}: update dinocell-core"
        )
    if facts.get("metadata_sha256", "absent") not in ("absent", _metadata_sha256(facts)):
        raise _damaged(path, "its metadata do not match their checksum")
    return facts


def _damaged(path: Path, what: str) -> ValueError:
    return ValueError(f"{path} is damaged: {what}; copy it again from where it was written")


def load_model(path: str | Path, *, device: str | torch.device = "cpu") -> DINOCell:
    """Build the network a model file describes and load all of its weights, in float32 and evaluation mode.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a DINOCell model file, or its weights do not fit its own architecture exactly, do
            not match their checksum (older files have none), or are not finite.
    """
    path = Path(path)
    facts = read_model_metadata(path)
    try:
        architecture = Architecture.model_validate(facts["architecture"])
    except (KeyError, ValidationError) as error:
        raise ValueError(f"{path} does not describe an architecture that this software knows: {error}") from error
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
        weights = {name: file.get_tensor(name) for name in expected}
    if facts.get("weights_sha256", "absent") not in ("absent", weights_sha256(weights)):
        raise _damaged(path, "its weights do not match their checksum")
    state = {}
    for name, tensor in expected.items():
        if weights[name].shape != tensor.shape:
            raise ValueError(f"{path}: {name} has shape {tuple(weights[name].shape)}, expected {tuple(tensor.shape)}")
        state[name] = weights[name].to(tensor.dtype)
    if unusable := not_finite(state):
        raise ValueError(
            f"{path} holds numbers that are not finite in {len(unusable)} tensors ({unusable[0]} first): its training "
            "diverged, or the file is damaged; use another model"
        )
    model.load_state_dict(state, assign=True)
    model.metadata = {key: value for key, value in _without_checksums(facts).items() if key != "architecture"}
    return model.to(device).eval()
