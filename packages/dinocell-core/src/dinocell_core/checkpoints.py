"""Backbone weights from a local file: Meta `.pth`, Hugging Face or timm, complete or not at all."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from dinocell_core.attention import KMaskedLinear, SelfAttention
from dinocell_core.backbones import BACKBONES
from dinocell_core.checkpoint_file import backbone_part, layout_of, listed, origin_of, read_checkpoint
from dinocell_core.checkpoint_layouts import Layout, to_meta_layout
from dinocell_core.integrity import file_sha256
from dinocell_core.patch_embed import expand_channels, fold_to_grey, resize_kernel, sum_pool_kernel
from dinocell_core.vit import DinoVisionTransformer, ViTConfig

_PATCH_KERNEL = "patch_embed.proj.weight"
_PERIODS = "rope_embed.periods"
_RGB = 3  # grey images are colour images of three equal channels, which such weights have seen


@dataclass(frozen=True, kw_only=True)
class CheckpointReport:
    """What was loaded and what was converted.

    `patch_conversion` and `channel_conversion` are None if file and backbone agree. `dropped_keys` were
    in the file and have no place in the backbone; `filled_keys` are in the backbone, were not in a file of
    this layout and hold their neutral value. `qkv_bias` says what became of the biases of q and v: `none`
    (the backbone has none), `trainable`, or `frozen_at_zero` (the file's mask switches them off, so they
    never get a gradient). `key_bias` is True where the file's keys have biases that act: they are kept, and the mask
    that the published backbones put on them is opened. `origin` is what a file of `dinocell pretrain` says of its run.
    """

    path: str
    sha256: str
    layout: Layout
    patch_conversion: str | None
    channel_conversion: str | None
    dropped_keys: tuple[str, ...]
    filled_keys: tuple[str, ...]
    qkv_bias: Literal["none", "trainable", "frozen_at_zero"]
    rope_periods: Literal["file", "exact"]
    key_bias: bool = False
    origin: Mapping[str, Any] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """JSON-able, for the file of a model: the name of the weights' file instead of its path, keys by number."""
        facts = asdict(self)
        facts["file"] = Path(facts.pop("path")).name
        for kind in ("dropped_keys", "filled_keys"):
            facts[f"num_{kind}"] = len(facts.pop(kind))
        return facts


def load_backbone_weights(
    backbone: DinoVisionTransformer,
    path: str | Path,
    *,
    qkv_bias: Literal["as_file", "trainable"] = "as_file",
    rope_periods: Literal["file", "exact"] = "file",
    patch_resize: Literal["sum_pool", "flexivit"] = "sum_pool",
    channels: Literal["exact", "fold", "expand"] = "exact",
) -> CheckpointReport:
    """Load a DINOv3 file into `backbone`; layout, patch size and channels are converted where that is exact.

    Layouts: Meta (flat, or the trainer's `{"teacher": {"backbone....": ...}}`), Hugging Face and timm,
    recognised by their keys; containers: PyTorch's zip (tensors only, no code is ever executed) and safetensors.

    `qkv_bias`: the released Meta files hold a zero `bias_mask`, which keeps the biases of q and v at zero
    permanently; "trainable" switches them on, with the same output at first. Files without a mask always give
    trainable biases. `rope_periods`: "file" uses the periods of a Meta file (rounded to bfloat16 in the
    released ones), "exact" keeps the exact ones, as Hugging Face and timm do. `patch_resize`: "sum_pool" to
    a patch that divides the file's, exact for images enlarged by nearest neighbour; "flexivit" to any
    patch. `channels`: "exact" takes the file's channels, or sums those of RGB for a one-channel backbone; "fold" sums
    any number of channels, as if the one plane stood in the place of every stain; "expand" repeats the mean of the
    file's channels for any number.

    Raises FileNotFoundError if there is no file, and ValueError for a damaged or unknown file, for a published backbone
    of another size (the message names it), and for a file that does not fit completely (the message lists missing,
    unexpected and misshapen keys). The backbone is then unchanged.
    """
    path = Path(path)
    content = read_checkpoint(path)
    weights, dropped = backbone_part(content, path)
    layout = layout_of(weights, path)
    weights = to_meta_layout(weights, layout)
    patch_conversion = channel_conversion = None
    if (kernel := weights.get(_PATCH_KERNEL)) is not None and kernel.ndim == 4:
        kernel, channel_conversion = _with_channels(kernel, backbone.in_channels, how=channels, path=path)
        kernel, patch_conversion = _with_patch(kernel, backbone.patch_size, how=patch_resize)
        weights[_PATCH_KERNEL] = kernel
    if backbone.local_cls_norm is None:  # used only to train on local crops
        dropped += [key for key in weights if key.startswith("local_cls_norm.")]
    weights = {key: tensor for key, tensor in weights.items() if key not in dropped}
    has_periods = _PERIODS in weights
    if rope_periods == "exact":
        weights.pop(_PERIODS, None)
    filled = _fill(
        weights,
        backbone,
        layout=layout,
        masks=layout != "meta" or qkv_bias == "trainable",
        periods=layout != "meta" or rope_periods == "exact",
    )
    _check(weights, backbone, path)
    trainable = qkv_bias == "trainable"
    with_key_bias = _open_masks_of_key_biases(weights, backbone, filled=filled, trainable=trainable)
    bias_decision = _decide_qkv_bias(weights, backbone, path, trainable=trainable, opened=with_key_bias)
    _assign(weights, backbone)
    return CheckpointReport(
        path=str(path),
        sha256=file_sha256(path),
        layout=layout,
        patch_conversion=patch_conversion,
        channel_conversion=channel_conversion,
        dropped_keys=tuple(sorted(dropped)),
        filled_keys=tuple(sorted(filled)),
        qkv_bias=bias_decision,
        rope_periods="file" if has_periods and rope_periods == "file" else "exact",
        key_bias=bool(with_key_bias),
        origin=origin_of(content, path),
    )


def _with_channels(kernel: Tensor, channels: int, *, how: str, path: Path) -> tuple[Tensor, str | None]:
    old = kernel.shape[1]
    if old == channels:
        return kernel, None
    if how == "expand":
        return expand_channels(kernel, channels), f"expand {old} -> {channels}"
    if channels != 1:
        raise ValueError(
            f"{path} has {old} channels and the backbone {channels}; only folding RGB to 1 is exact. Pass "
            f"channels='expand' to spread the mean of the {old}, or create the backbone with in_channels={old}"
        )
    if old != _RGB and how != "fold":
        raise ValueError(
            f"{path} has {old} channels and the backbone 1. Summing their kernels would show the one plane in the "
            f"place of each of the {old}, which the weights have never seen. Pass channels='fold' "
            f"(dinocell train: --set network.pretrained_channels=fold) if that will do, or create the backbone with "
            f"in_channels={old}"
        )
    return fold_to_grey(kernel), f"fold {old} -> 1"


def _with_patch(kernel: Tensor, patch: int, *, how: str) -> tuple[Tensor, str | None]:
    old = kernel.shape[-1]
    if old == patch:
        return kernel, None
    if how == "flexivit":
        return resize_kernel(kernel, patch), f"flexivit {old} -> {patch}"
    if old % patch:
        raise ValueError(
            f"the file has patch {old} and the backbone {patch}, which does not divide it; pass "
            "patch_resize='flexivit' or create the backbone with another patch"
        )
    return sum_pool_kernel(kernel, patch), f"sum_pool {old} -> {patch}"


def _fill(
    weights: dict[str, Tensor], backbone: DinoVisionTransformer, *, layout: Layout, masks: bool, periods: bool
) -> list[str]:
    """Add the entries that complete files of this layout leave out; any other missing entry stays missing."""
    neutral: dict[str, Tensor] = {}
    if periods:
        neutral[_PERIODS] = backbone.rope_embed.exact_periods()
    if layout == "timm":
        neutral["mask_token"] = torch.zeros(1, backbone.embed_dim)
    has_no_bias = layout == "timm" and not any(key.endswith(".qkv.bias") for key in weights)
    for name, linear in _qkv(backbone):
        if masks and isinstance(linear, KMaskedLinear):
            neutral[f"{name}.bias_mask"] = linear.standard_bias_mask(device="cpu")
        if has_no_bias and linear.bias is not None:
            neutral[f"{name}.bias"] = torch.zeros(linear.out_features)
    if layout != "meta" and backbone.local_cls_norm is not None:
        neutral |= {f"local_cls_{key}": weights[key] for key in ("norm.weight", "norm.bias") if key in weights}
    filled = [key for key in neutral if key not in weights]
    weights |= {key: neutral[key] for key in filled}
    return filled


def _qkv(backbone: DinoVisionTransformer) -> list[tuple[str, torch.nn.Linear]]:
    return [
        (f"{name}.qkv", module.qkv) for name, module in backbone.named_modules() if isinstance(module, SelfAttention)
    ]


def _check(weights: Mapping[str, Tensor], backbone: DinoVisionTransformer, path: Path) -> None:
    """Require every key and shape of the backbone, no other keys, and finite numbers."""
    size = _published_size(weights)
    if size is not None and _shape(BACKBONES[size]) != _shape(backbone.config):
        raise ValueError(
            f"{path} holds a backbone of size {size!r}, but this backbone has another size; create it with the "
            f"size of the file (--set network.size={size})"
        )
    expected = backbone.state_dict()
    both = sorted(expected.keys() & weights.keys())
    misshapen = [
        f"{key} {tuple(weights[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in both
        if weights[key].shape != expected[key].shape
    ]
    # A bias mask of the first releases may be NaN; what that means is decided with the biases.
    unusable = [
        key
        for key, tensor in weights.items()
        if not key.endswith(".bias_mask") and not (tensor.is_floating_point() and bool(tensor.isfinite().all()))
    ]
    problems = {
        "missing": sorted(expected.keys() - weights.keys()),
        "unexpected": sorted(weights.keys() - expected.keys()),
        "misshapen": misshapen,
        "not finite floating point numbers": unusable,
    }
    found = [f"{len(keys)} {problem}: {listed(keys)}" for problem, keys in problems.items() if keys]
    if found:
        raise ValueError(f"{path} does not fit this backbone and was not loaded. {'; '.join(found)}")


def _shape(config: ViTConfig) -> tuple[int, int, str]:
    """What distinguishes the published sizes."""
    return config.embed_dim, config.num_blocks, config.ffn


def _published_size(weights: Mapping[str, Tensor]) -> str | None:
    """The published backbone that the file looks like, if any."""
    cls_token = weights.get("cls_token")
    num_blocks = sum(key.endswith(".ls1.gamma") for key in weights)
    ffn = "swiglu" if "blocks.0.mlp.w1.weight" in weights else "mlp"
    for name, config in BACKBONES.items():
        if cls_token is not None and cls_token.ndim and (cls_token.shape[-1], num_blocks, ffn) == _shape(config):
            return name
    return None


def _open_masks_of_key_biases(
    weights: dict[str, Tensor], backbone: DinoVisionTransformer, *, filled: list[str], trainable: bool
) -> set[str]:
    """Where biases of keys act in the file, let them act in the backbone too, whose mask would drop them.

    Returns the names of these projections.
    """
    found = set()
    for name, linear in _qkv(backbone):
        if linear.bias is None:
            continue
        bias, mask = weights[f"{name}.bias"], weights.get(f"{name}.bias_mask")
        has_own_mask = f"{name}.bias_mask" not in filled
        if mask is not None and has_own_mask:
            if not bool(mask.isfinite().all()):
                continue  # of a mask that says nothing the standard one is taken, or the file refused
            bias = bias * mask
        if not bool(bias.chunk(3)[1].any()):
            continue
        found.add(name)
        if mask is not None and (trainable or not has_own_mask):
            weights[f"{name}.bias"], weights[f"{name}.bias_mask"] = bias, torch.ones_like(mask)
    return found


def _decide_qkv_bias(
    weights: dict[str, Tensor], backbone: DinoVisionTransformer, path: Path, *, trainable: bool, opened: set[str]
) -> Literal["none", "trainable", "frozen_at_zero"]:
    decision: Literal["none", "trainable", "frozen_at_zero"] = "none"
    for name, linear in _qkv(backbone):
        if linear.bias is None:
            continue
        if not isinstance(linear, KMaskedLinear):
            decision = "trainable"
            continue
        mask = weights[f"{name}.bias_mask"]
        standard = linear.standard_bias_mask(device="cpu")
        is_finite = bool(mask.isfinite().all())
        if trainable:
            if is_finite:  # what the mask held back must not appear in the output
                weights[f"{name}.bias"] = weights[f"{name}.bias"] * mask
            if name not in opened:
                weights[f"{name}.bias_mask"] = mask = standard
        elif not is_finite:
            raise ValueError(
                f"{path} has a bias mask that is not finite ({name}.bias_mask), as the first training code "
                "wrote it; pass qkv_bias='trainable' to use the standard mask"
            )
        decision = "trainable" if bool((mask * standard).any()) else "frozen_at_zero"
    return decision


def _assign(weights: Mapping[str, Tensor], backbone: DinoVisionTransformer) -> None:
    on_meta = backbone.cls_token.is_meta
    if on_meta:  # built without memory: the file's tensors become the backbone's, in its precision
        weights = {key: weights[key].to(tensor.dtype) for key, tensor in backbone.state_dict().items()}
    backbone.load_state_dict(weights, strict=True, assign=on_meta)
