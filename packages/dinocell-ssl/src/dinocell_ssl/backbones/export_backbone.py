"""A pretrained backbone for other programs: Meta's dinov3, transformers, timm."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from dinocell_core import DinoVisionTransformer, expand_channels
from dinocell_io import atomic_folder, atomic_path
from dinocell_ssl.backbones.export_layouts import hugging_face_weights, key_bias_acts, timm_weights

ExportLayout = Literal["meta", "hugging_face", "timm"]
EXPORT_LAYOUTS: tuple[ExportLayout, ...] = ("meta", "hugging_face", "timm")


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What was written, and how the other program's model differs from the backbone."""

    path: Path
    layout: ExportLayout
    num_parameters: int
    notes: tuple[str, ...]


def export_backbone(
    backbone: DinoVisionTransformer, path: str | Path, *, layout: ExportLayout, facts: Mapping[str, Any] | None = None
) -> ExportReport:
    """Write a backbone in the layout of another program, completely or not at all.

    - `meta`: a flat state dict in a `.pth`, as released: `dinov3_vits16(weights=path)` of the dinov3 repository, which
      needs `-` and 8 hexadecimal digits before `.pth` in the name of the larger models; timm reads it too.
    - `hugging_face`: a folder with `config.json` and `model.safetensors`: `AutoModel.from_pretrained(folder)`.
      `facts` (normalisation, licence, ...) go into the config under `dinocell`.
    - `timm`: a `.safetensors` for `timm.create_model("vit_small_patch16_dinov3_qkvb", checkpoint_path=path)`.

    These programs take images with three channels by default: see `as_rgb`. They do not apply the normalisation by
    percentiles that the backbone was trained with (`dinocell_ssl.data.intensity`): apply it first.

    Raises ValueError for an architecture the other program does not have.
    """
    if layout not in EXPORT_LAYOUTS:
        raise ValueError(f"layout is {layout!r}; give one of {', '.join(EXPORT_LAYOUTS)}")
    path = Path(path)
    notes = _notes(backbone, layout)
    if layout == "meta":
        weights = {name: tensor.detach().cpu().clone() for name, tensor in backbone.state_dict().items()}
        with atomic_path(path) as temporary:
            torch.save(weights, temporary)
    elif layout == "timm":
        weights = timm_weights(backbone)
        with atomic_path(path) as temporary:
            save_file(weights, temporary)
    else:
        weights = hugging_face_weights(backbone)
        with atomic_folder(path) as temporary:
            save_file(weights, temporary / "model.safetensors", metadata={"format": "pt"})
            (temporary / "config.json").write_text(json.dumps(_hugging_face_config(backbone, facts or {}), indent=2))
    names = {name for name, _ in backbone.named_parameters()}
    count = sum(tensor.numel() for name, tensor in weights.items() if layout != "meta" or name in names)
    return ExportReport(path=path, layout=layout, num_parameters=count, notes=notes)


def as_rgb(backbone: DinoVisionTransformer) -> DinoVisionTransformer:
    """A copy of a one-channel backbone that takes RGB: a grey image three times gives the same features.

    Raises ValueError if the backbone takes several channels already.
    """
    if backbone.in_channels != 1:
        raise ValueError(
            f"the backbone takes {backbone.in_channels} channels; only a backbone of 1 channel can be spread over RGB"
        )
    copy = DinoVisionTransformer(replace(backbone.config, in_channels=3))
    weights = backbone.state_dict()
    weights["patch_embed.proj.weight"] = expand_channels(weights["patch_embed.proj.weight"], 3)
    copy.load_state_dict(weights)
    return copy.train(backbone.training)


def _notes(backbone: DinoVisionTransformer, layout: ExportLayout) -> tuple[str, ...]:
    """Differences that are accepted; other differences raise ValueError."""
    config = backbone.config
    if layout == "meta":
        return ()
    unsupported = {
        "separate norms of class and patch tokens": config.untie_cls_and_patch_norms,
        f"RoPE coordinates {config.rope_coordinates!r}": config.rope_coordinates != "separate",
        "RoPE periods by smallest and largest period": config.rope_base is None,
    }
    if found := [name for name, is_so in unsupported.items() if is_so]:
        raise ValueError(f"{layout} has no {' and no '.join(found)}; export to 'meta', which does")
    notes = []
    if backbone.local_cls_norm is not None:
        notes.append("local_cls_norm is left out: only training on local crops uses it")
    if not torch.equal(backbone.rope_embed.periods.cpu(), backbone.rope_embed.exact_periods()):
        notes.append(
            "RoPE periods are exact there; here they are those of the file that the backbone came from (rounded to "
            "bfloat16 in released files): features differ by about 2e-4 of their size"
        )
    return tuple(notes)


def _hugging_face_config(backbone: DinoVisionTransformer, facts: Mapping[str, Any]) -> dict[str, Any]:
    config = backbone.config
    gated = config.ffn == "swiglu"
    return {
        "architectures": ["DINOv3ViTModel"],
        "model_type": "dinov3_vit",
        "dtype": "float32",
        "patch_size": config.patch_size,
        "hidden_size": config.embed_dim,
        "intermediate_size": len(backbone.get_parameter(f"blocks.0.mlp.{'w1' if gated else 'fc1'}.weight")),
        "num_hidden_layers": config.num_blocks,
        "num_attention_heads": config.num_heads,
        "num_register_tokens": config.num_storage_tokens,
        "num_channels": config.in_channels,
        "hidden_act": "silu" if gated else "gelu",
        "use_gated_mlp": gated,
        "query_bias": config.qkv_bias,
        "key_bias": key_bias_acts(backbone),
        "value_bias": config.qkv_bias,
        "proj_bias": True,
        "mlp_bias": True,
        "layer_norm_eps": config.norm_eps,
        "rope_theta": config.rope_base,
        "pos_embed_rescale": None,
        "drop_path_rate": 0.0,
        "dinocell": dict(facts),
    }
