"""Backbone weights from files."""

from pathlib import Path

from dinocell_core.vit import DinoVisionTransformer


def load_backbone_weights(backbone: DinoVisionTransformer, path: str | Path) -> None:
    raise NotImplementedError("loading backbone weights is not written yet")
