"""DINOv3 vision transformer. Modules and parameters carry the names of the published state dicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dinocell_core.attention import KMaskedLinear
from dinocell_core.block import Block, LayerScale
from dinocell_core.ffn import MLP, SwiGLU, swiglu_hidden_dim
from dinocell_core.patch_embed import PatchEmbed
from dinocell_core.rope import Coordinates, RopeAugmentation, RotaryPositionEmbedding, RotaryTable

Images = Float[Tensor, "b channel y x"]
Masks = Bool[Tensor, "b patch"]
# Batches of a list agree in their channels only.
ImagesOfAnySize = Float[Tensor, "_ channel _ _"]
MasksOfAnySize = Bool[Tensor, "_ _"]


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """Architecture of a backbone: everything that decides its state dict and its output."""

    embed_dim: int
    num_blocks: int
    num_heads: int
    ffn: Literal["mlp", "swiglu"] = "mlp"
    ffn_ratio: float = 4.0
    swiglu_align: int = 8
    qkv_bias: bool = True
    mask_k_bias: bool = True
    num_storage_tokens: int = 4
    patch_size: int = 16
    in_channels: int = 3
    layerscale_init: float = 1e-5
    norm_eps: float = 1e-5
    untie_cls_and_patch_norms: bool = False
    untie_global_and_local_cls_norm: bool = False
    rope_base: float | None = 100.0
    rope_min_period: float | None = None
    rope_max_period: float | None = None
    rope_coordinates: Coordinates = "separate"


class DinoVisionTransformer(nn.Module):
    """Tokens [CLS, storage, patches] through pre-norm blocks whose attention rotates by position.

    Images may have any size of at least one patch; rows and columns beyond the last complete patch are left out,
    as in the published model. Positions are relative to the image: equal phases need equal sizes, not equal
    pixels.
    """

    def __init__(
        self,
        config: ViTConfig,
        *,
        drop_path: float = 0.0,
        rope_augmentation: RopeAugmentation | None = None,
        rope_dtype: torch.dtype | None = None,
        activation_checkpointing: bool = False,
    ) -> None:
        """Randomly initialised transformer; the keyword options leave the state dict as it is.

        `drop_path`: share of samples that skip each branch. `rope_dtype`: precision of the rotation (None:
        float32). `activation_checkpointing`: blocks are computed again in the backward pass instead of being
        kept.
        """
        super().__init__()
        dim = config.embed_dim
        self.config = config
        self.embed_dim = dim
        self.patch_size = config.patch_size
        self.num_blocks = config.num_blocks
        self.in_channels = config.in_channels
        self.num_storage_tokens = config.num_storage_tokens
        self.activation_checkpointing = activation_checkpointing
        self.patch_embed = PatchEmbed(config.in_channels, dim, config.patch_size)
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.storage_tokens = nn.Parameter(torch.empty(1, config.num_storage_tokens, dim))
        self.mask_token = nn.Parameter(torch.empty(1, dim))
        self.rope_embed = RotaryPositionEmbedding(
            dim // config.num_heads,
            num_prefix_tokens=self.num_prefix_tokens,
            base=config.rope_base,
            min_period=config.rope_min_period,
            max_period=config.rope_max_period,
            coordinates=config.rope_coordinates,
            augmentation=rope_augmentation,
            dtype=rope_dtype,
        )
        self.blocks = nn.ModuleList(
            Block(
                dim,
                config.num_heads,
                _ffn(config),
                qkv_bias=config.qkv_bias,
                mask_k_bias=config.mask_k_bias,
                layerscale_init=config.layerscale_init,
                norm_eps=config.norm_eps,
                drop_path=drop_path,
            )
            for _ in range(config.num_blocks)
        )
        self.norm = nn.LayerNorm(dim, eps=config.norm_eps)
        self.cls_norm = nn.LayerNorm(dim, eps=config.norm_eps) if config.untie_cls_and_patch_norms else None
        self.local_cls_norm = nn.LayerNorm(dim, eps=config.norm_eps) if config.untie_global_and_local_cls_norm else None
        self.init_weights()

    @property
    def num_prefix_tokens(self) -> int:
        """CLS and storage tokens, which come before the patches."""
        return 1 + self.num_storage_tokens

    def init_weights(self) -> None:
        """Published initialisation: linear and token weights normal with σ 0.02, patch embedding uniform."""
        for token in (self.cls_token, self.storage_tokens):
            nn.init.normal_(token, std=0.02)
        nn.init.zeros_(self.mask_token)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, (nn.LayerNorm, nn.Conv2d)):
                module.reset_parameters()  # 1 and 0; uniform ±1/√(channels · patch²)
            elif isinstance(module, LayerScale):
                nn.init.constant_(module.gamma, module.init)
            elif isinstance(module, RotaryPositionEmbedding):
                module.reset_periods()
            if isinstance(module, KMaskedLinear):
                module.reset_bias_mask()

    def forward(
        self,
        x: Images | Sequence[ImagesOfAnySize],
        masks: Masks | Sequence[MasksOfAnySize | None] | None = None,
        *,
        is_training: bool = False,
    ) -> Any:
        """Normed CLS token of each image, or with `is_training` the complete dict of `forward_features`."""
        features: Any = self.forward_features(x, masks)  # type: ignore[arg-type]
        if is_training:
            return features
        if isinstance(features, list):
            return [one["x_norm_clstoken"] for one in features]
        return features["x_norm_clstoken"]

    @overload
    def forward_features(self, x: Tensor, masks: Tensor | None = None) -> dict[str, Any]: ...
    @overload
    def forward_features(
        self, x: Sequence[Tensor], masks: Sequence[Tensor | None] | None = None
    ) -> list[dict[str, Any]]: ...

    def forward_features(
        self,
        x: Images | Sequence[ImagesOfAnySize],
        masks: Masks | Sequence[MasksOfAnySize | None] | None = None,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Tokens after the last block, by name; for a list of batches (of several sizes) a list of dicts.

        Keys: `x_norm_clstoken` (b, dim), `x_storage_tokens` (b, storage, dim), `x_norm_patchtokens` (b,
        patch, dim), all normed; `x_prenorm` (b, 1 + storage + patch, dim); `masks`. Patches where the mask is
        True are replaced by the mask token before the first block. A list gives exactly the results of its
        entries one by one, except that in training the second entry (local crops) uses `local_cls_norm` if the
        model has one.
        """
        if isinstance(x, Tensor):
            mask = masks if isinstance(masks, Tensor) else None
            return self._features([x], [mask])[0]
        if masks is None:
            masks = [None] * len(x)
        if isinstance(masks, Tensor) or len(masks) != len(x):
            raise ValueError(f"{len(x)} batches but masks for {len(masks)}; give one mask or None per batch")
        return self._features(list(x), list(masks))

    def _features(self, images: list[Tensor], masks: Sequence[Tensor | None]) -> list[dict[str, Any]]:
        sequences, grids = self._prepare(images, masks)
        for block, tables in zip(self.blocks, self._tables(grids), strict=True):
            sequences = self._run(block, sequences, tables)
        features = []
        for index, (x, mask) in enumerate(zip(sequences, masks, strict=True)):
            prefix, patches = self._normed(x, local=self.training and index == 1)
            features.append(
                {
                    "x_norm_clstoken": prefix[:, 0],
                    "x_storage_tokens": prefix[:, 1:],
                    "x_norm_patchtokens": patches,
                    "x_prenorm": x,
                    "masks": mask,
                }
            )
        return features

    def get_intermediate_layers(
        self,
        x: Images,
        n: int | Sequence[int] = 1,
        *,
        reshape: bool = False,
        return_class_token: bool = False,
        return_extra_tokens: bool = False,
        norm: bool = True,
        added: Float[Tensor, "b dim row column"] | None = None,
    ) -> tuple[Tensor, ...] | tuple[tuple[Tensor, ...], ...]:
        """Patch tokens after the last `n` blocks, or after the blocks of the given indices (0 is the first).

        `norm` applies the final LayerNorm to every one of them; `reshape` gives (b, dim, row, column) instead
        of (b, patch, dim). With `return_class_token` or `return_extra_tokens` each entry is a tuple
        (patches[, cls] [, storage]). Blocks after the last requested one are not computed. `added` is added to the
        embedded patches before the first block.
        """
        chosen = list(range(self.num_blocks - n, self.num_blocks)) if isinstance(n, int) else sorted(set(n))
        if not chosen or chosen[0] < 0 or chosen[-1] >= self.num_blocks:
            raise ValueError(f"blocks {n} were requested, but the model has {self.num_blocks} blocks, numbered from 0")
        sequences, grids = self._prepare([x], [None])
        if added is not None:
            prefix, patches = sequences[0][:, : self.num_prefix_tokens], sequences[0][:, self.num_prefix_tokens :]
            sequences = [torch.cat([prefix, patches + added.flatten(2).transpose(1, 2)], dim=1)]
        outputs: list[Any] = []
        for index, tables in zip(range(chosen[-1] + 1), self._tables(grids), strict=False):
            sequences = self._run(self.blocks[index], sequences, tables)
            if index not in chosen:
                continue
            prefix, patches = (
                self._normed(sequences[0])
                if norm
                else (sequences[0][:, : self.num_prefix_tokens], sequences[0][:, self.num_prefix_tokens :])
            )
            if reshape:
                patches = patches.transpose(1, 2).unflatten(2, grids[0]).contiguous()
            extras = (
                *([prefix[:, 0]] if return_class_token else []),
                *([prefix[:, 1:]] if return_extra_tokens else []),
            )
            outputs.append((patches, *extras) if extras else patches)
        return tuple(outputs)

    def _prepare(
        self, images: Sequence[Tensor], masks: Sequence[Tensor | None]
    ) -> tuple[list[Tensor], list[tuple[int, int]]]:
        sequences, grids = [], []
        for x, mask in zip(images, masks, strict=True):
            if x.shape[1] != self.in_channels:
                channels = f"{x.shape[1]} channel{'' if x.shape[1] == 1 else 's'}"
                raise ValueError(
                    f"images of shape {tuple(x.shape)} have {channels} but the backbone takes "
                    f"{self.in_channels}; create it with in_channels={x.shape[1]} or choose channels"
                )
            if min(x.shape[-2:]) < self.patch_size:
                raise ValueError(f"images of shape {tuple(x.shape)} are smaller than one patch of {self.patch_size}")
            patches = self.patch_embed(x)
            grids.append((patches.shape[1], patches.shape[2]))
            patches = patches.flatten(1, 2)
            if mask is not None:
                if mask.shape != patches.shape[:2]:
                    raise ValueError(
                        f"got a mask of shape {tuple(mask.shape)} for {tuple(patches.shape[:2])} patches; masks are "
                        "(image, patch), patches in row-major order"
                    )
                patches = torch.where(mask[:, :, None], self.mask_token.to(patches.dtype), patches)
            prefix = torch.cat([self.cls_token, self.storage_tokens], dim=1).expand(x.shape[0], -1, -1)
            sequences.append(torch.cat([prefix, patches], dim=1))
        return sequences, grids

    def _tables(self, grids: Sequence[tuple[int, int]]) -> list[list[RotaryTable]]:
        augmentation = self.rope_embed.augmentation if self.training else None
        if augmentation is not None and augmentation.per_block:
            return [[self.rope_embed(*grid) for grid in grids] for _ in self.blocks]
        return [[self.rope_embed(*grid) for grid in grids]] * self.num_blocks

    def _run(self, block: nn.Module, sequences: list[Tensor], tables: list[RotaryTable]) -> list[Tensor]:
        if self.activation_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, sequences, tables, use_reentrant=False)
        return block(sequences, tables)

    def _normed(self, x: Tensor, *, local: bool = False) -> tuple[Tensor, Tensor]:
        prefix_norm = self.cls_norm or self.norm
        if local and self.local_cls_norm is not None:
            prefix_norm = self.local_cls_norm
        count = self.num_prefix_tokens
        if prefix_norm is self.norm:  # one pass over the whole sequence
            x = self.norm(x)
            return x[:, :count], x[:, count:]
        return prefix_norm(x[:, :count]), self.norm(x[:, count:])


def _ffn(config: ViTConfig) -> MLP | SwiGLU:
    if config.ffn == "mlp":
        return MLP(config.embed_dim, int(config.embed_dim * config.ffn_ratio))
    hidden_dim = swiglu_hidden_dim(config.embed_dim, config.ffn_ratio, align=config.swiglu_align)
    return SwiGLU(config.embed_dim, hidden_dim)
