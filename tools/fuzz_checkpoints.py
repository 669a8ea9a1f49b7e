"""Damaged model files, checkpoints of a training, and weights of a backbone (.pth, .safetensors).

Every file is written once by the software and then damaged: bytes changed, cut out, doubled or put in, the file cut
short, emptied or replaced by something else, or a pickle that would run code put in its place. A verdict is

    same      what is read is what was written: the damage touched nothing that is read
    refused   a ValueError that names the file
    unchecked other numbers were read from a file of others without checksums (.safetensors): nobody can tell
    silent    other numbers were read from a file with checksums
    executed  code in the file was run
    unnamed   an error without the file's name;  foreign   an error of another kind
"""

import os
import pickle
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import torch
from safetensors.torch import save_file

from dinocell_core import DINOCell, DinoVisionTransformer, ViTConfig, load_backbone_weights, load_model, save_model
from dinocell_core.integrity import weights_sha256
from dinocell_core.model import Architecture
from dinocell_seg.training_state import TrainingState, load_state, save_state

KINDS = ("model", "state", "pth", "safetensors", "legacy")
_CHECKED = ("model", "state", "pth")
_CONFIG = ViTConfig(embed_dim=16, num_blocks=1, num_heads=2, in_channels=1)


class _Payload:
    """A pickle that leaves a file where it is executed."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@cache
def _model() -> DINOCell:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return DINOCell(Architecture(stem_channels=(2,), decoder_channels=(4, 4, 4, 4)))


def _state() -> TrainingState:
    torch.manual_seed(0)
    model = torch.nn.Conv2d(1, 2, 3)
    return TrainingState(model, torch.optim.AdamW(model.parameters()))  # type: ignore[arg-type]  # small and quick


def _backbone() -> DinoVisionTransformer:
    torch.manual_seed(0)
    return DinoVisionTransformer(_CONFIG)


@cache
def _written(kind: str) -> bytes:
    """The whole file of a kind."""
    path = Path(mkdtemp(prefix="fuzz-")) / kind
    if kind == "model":
        save_model(path, _model(), metadata={"thresholds": {"peak": 0.5, "fill": 0.1}})
    elif kind == "state":
        save_state(path, _state(), recipe={"precision": "fp32"}, data="images")
    elif kind == "safetensors":
        save_file({name: tensor.contiguous() for name, tensor in _backbone().state_dict().items()}, path)
    else:
        torch.save(_backbone().state_dict(), path, _use_new_zipfile_serialization=kind == "pth")
    content = path.read_bytes()
    path.unlink()
    path.parent.rmdir()
    return content


def _read(kind: str, path: Path) -> str:
    """A hash of all that is read."""
    if kind == "model":
        model = load_model(path)
        return weights_sha256(model.state_dict()) + repr(sorted(model.metadata.items(), key=str))
    if kind == "state":
        state = _state()
        load_state(path, state, recipe={"precision": "fp32"}, data="images")
        return weights_sha256(state.model.state_dict()) + repr((state.step, state.best_loss, state.changes))
    backbone = _backbone()
    report = load_backbone_weights(backbone, path)
    return weights_sha256(backbone.state_dict()) + repr((report.layout, report.dropped_keys, report.key_bias))


@cache
def _expected(kind: str) -> str:
    path = Path(mkdtemp(prefix="fuzz-")) / f"whole.{kind}"
    path.write_bytes(_written(kind))
    expected = _read(kind, path)
    path.unlink()
    path.parent.rmdir()
    return expected


def _damaged(content: bytes, rng: np.random.Generator, trace: Path) -> bytes:
    data = bytearray(content)
    if rng.random() < 0.5:  # in a header or a table of contents, where it does the most
        start = int(rng.choice([0, max(0, len(data) - 4000)]))
        place = start + int(rng.integers(min(4000, len(data) - start)))
    else:
        place = int(rng.integers(len(data)))
    length = int(rng.choice([1, 2, 8, 64, 1000]))
    other = rng.bytes(length)
    match int(rng.integers(9)):
        case 0 | 1:
            data[place] ^= 1 << int(rng.integers(8))
        case 2:
            data[place : place + length] = other[: len(data) - place]
        case 3:
            data[place : place + length] = b"\0" * min(length, len(data) - place)
        case 4:
            del data[place : place + length]
        case 5:
            data[place:place] = other
        case 6:
            data[place:place] = data[place : place + length]
        case 7:
            del data[place:]
        case _:
            return _something_else(rng, trace)
    return bytes(data)


def _something_else(rng: np.random.Generator, trace: Path) -> bytes:
    match int(rng.integers(4)):
        case 0:
            return pickle.dumps(_Payload(trace))
        case 1:
            return pickle.dumps({"teacher": _Payload(trace)}, protocol=2)
        case 2:
            return b"<html>404</html>"
        case _:
            return rng.bytes(int(rng.integers(2000)))


def verdict(folder: Path, number: int, seed: int) -> tuple[str, str]:
    """The verdict of case `number`, and what was read or said."""
    rng = np.random.default_rng((seed, number))
    kind = KINDS[int(rng.integers(len(KINDS)))]
    suffix = {"model": ".safetensors", "state": ".ckpt", "safetensors": ".safetensors"}.get(kind, ".pth")
    path, trace = folder / f"case{number}{suffix}", folder / f"trace{number}"
    path.write_bytes(_damaged(_written(kind), rng, trace))
    try:
        read = _read(kind, path)
    except ValueError as error:
        found = ("refused" if str(path) in str(error) else "unnamed", f"{kind}: {error}")
    except Exception as error:  # noqa: BLE001  # whatever comes is the finding
        found = ("foreign", f"{kind}: {type(error).__name__}: {error}")
    else:
        same = read == _expected(kind)
        found = ("same" if same else "silent" if kind in _CHECKED else "unchecked", kind)
    return ("executed", kind) if trace.exists() else found
