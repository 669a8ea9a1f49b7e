"""Short trainings of equal processor time that compare networks for the generalist, scored on validation images.

    python tools/search_network.py runs/generalist/data/* --output runs/search --seconds 240

Every variant sees the same crops in the same order for about the same processor time; a costlier network takes fewer
steps. Those with the backbone `tiny` start from the embedded model's backbone (--from-scratch: from nothing), all else
from nothing. With --curves they take the same 70 steps of small batches on 70 images instead, and the training loss of
every ten steps is printed beside the processor time: a few minutes show which network learns more for its cost.

Scores are those of tools/score_sets.py, on the averaged weights; GFLOP are of 512 x 512 pixels with
attention, from PyTorch's counter. The numbers compare variants; they say little of what a long training reaches.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from score_sets import Case, best_scores, distance_maps, mean_over_sets, token_value, validation_cases
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from train_generalist import RECIPE, embedded_backbone

from dinocell_core import DINOCell
from dinocell_core.recipe import merged
from dinocell_io import open_dataset
from dinocell_kernels import distance_map
from dinocell_seg.crops import random_batches
from dinocell_seg.losses import distance_loss
from dinocell_seg.optimizer import create_optimizer
from dinocell_seg.train import _step
from dinocell_seg.train_recipe import TrainRecipe
from dinocell_seg.training_images import load_training_images, read_training_image
from dinocell_seg.training_start import start
from dinocell_seg.training_state import TrainingState

HALF = {"stem_channels": [0, 24, 48], "stem_skips": None, "stem_to_tokens": False}
VARIANTS: dict[str, dict] = {
    "today's": {
        "network": {
            "stem_channels": [16, 32, 64, 96],
            "stem_skips": None,
            "stem_to_tokens": False,
            "decoder_channels": [128, 96, 64, 32],
            "head_channels": 0,
            "stem_dropout": 0.0,
        }
    },
    "half resolution, tokens see the stem": {"network": {"size": "tiny", "stem_dropout": 0.0}},
    "half resolution": {"network": {"size": "tiny", "stem_dropout": 0.0, **HALF}},
    "half resolution, head of 4": {"network": {"size": "tiny", "stem_dropout": 0.0, **HALF, "head_channels": 4}},
    "half resolution, stem at stride 2 alone": {
        "network": {"size": "tiny", "stem_dropout": 0.0, **HALF, "stem_channels": [0, 24]}
    },
    "half resolution, tokens see the stem, stem dropout .1": {"network": {"size": "tiny", "stem_dropout": 0.1}},
    "half resolution, tokens see the stem, mini": {"network": {"size": "mini", "stem_dropout": 0.0}},
    "half resolution, convolutions for a backbone": {"network": {"size": "mini", "stem_dropout": 0.0}},
}
CONVOLUTIONAL = "half resolution, convolutions for a backbone"


class ConvBackbone(nn.Module):
    """Residual blocks of two 3 x 3 convolutions on the patch grid, in the place of a vision transformer."""

    def __init__(self, embed_dim: int, *, num_blocks: int, patch: int) -> None:
        super().__init__()
        self.embed_dim, self.num_blocks, self.patch_size = embed_dim, num_blocks, patch
        self.patch_embed = nn.Conv2d(1, embed_dim, patch, stride=patch)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(embed_dim, embed_dim, 3, padding=1, bias=False),
                nn.BatchNorm2d(embed_dim),
                nn.ReLU(inplace=True),
                nn.Conv2d(embed_dim, embed_dim, 3, padding=1, bias=False),
                nn.BatchNorm2d(embed_dim),
            )
            for _ in range(num_blocks)
        )
        for block in self.blocks:
            nn.init.zeros_(block[-1].weight)  # type: ignore[index]  # each block is the identity at first

    def get_intermediate_layers(
        self, image: Tensor, n: Sequence[int], *, added: Tensor | None = None, **_: bool
    ) -> tuple[Tensor, ...]:
        x = self.patch_embed(image)
        if added is not None:
            x = x + added
        maps = []
        for index, block in enumerate(self.blocks):
            x = x + block(x)
            if index in n:
                maps.append(x)
        return tuple(maps)


CURVE_STEPS = 70
CURVE_IMAGES = {"dsb2018": 14, "usiigaci_phase": 10, "simulated": 7, "codex_expert_murphy": 2, "rbc_chula_derived": 6}
"""Every n-th training image of some sets."""


def curve(name: str, images: list, *, backbone: Path | None) -> tuple[list[float], float]:
    """Mean training loss of every ten of CURVE_STEPS steps, and processor seconds."""
    recipe = recipe_of(name, steps=CURVE_STEPS, backbone=backbone)
    sampling = {"crop_px": 160, "batch_size": 4, "set_weights": {}}
    optimization = {"learning_rate": 1e-3, "warmup_steps": 10}
    recipe = recipe.model_copy(
        update={
            "sampling": recipe.sampling.model_copy(update=sampling),
            "optimization": recipe.optimization.model_copy(update=optimization),
        }
    )
    state, begun = fresh_state(name, recipe), time.process_time()
    batches = batches_of(images, recipe, steps=CURVE_STEPS, patch=state.model.architecture.patch)
    losses = [_step(state, batch, recipe) for batch in batches]
    return [float(np.mean(losses[at : at + 10])) for at in range(0, CURVE_STEPS, 10)], time.process_time() - begun


def print_curves(names: Sequence[str], folders: Sequence[Path], *, backbone: Path | None) -> None:
    images = []
    for folder in folders:
        if folder.name in CURVE_IMAGES:
            samples = open_dataset(folder, split="train")[:: CURVE_IMAGES[folder.name]]
            images += [
                read_training_image(sample, folder.name, normalization=RECIPE.normalization) for sample in samples
            ]
    print(f"{len(images)} images\n| network | training loss of every ten steps | processor seconds |\n|---|---|---|")
    for name in names:
        losses, seconds = curve(name, images, backbone=backbone)
        print(f"| {name} | {', '.join(f'{loss:.3f}' for loss in losses)} | {seconds:.1f} |", flush=True)


def recipe_of(name: str, *, steps: int, backbone: Path | None) -> TrainRecipe:
    """The generalist's recipe with one network and a cosine over `steps`."""
    values = merged(RECIPE.model_dump(), VARIANTS[name])
    tiny = values["network"]["size"] == "tiny"
    changes = {
        "network": {"pretrained": backbone if tiny else None},
        "optimization": {"warmup_steps": max(1, steps // 8), "decay_steps": None},
        "schedule": {"steps": steps, "steps_per_epoch": steps, "ema": 0.99},
    }
    return TrainRecipe.model_validate(merged(values, changes))


def fresh_state(name: str, recipe: TrainRecipe) -> TrainingState:
    state = start(recipe, "cpu")
    if name != CONVOLUTIONAL:
        return state
    state.model.backbone = ConvBackbone(state.model.backbone.embed_dim, num_blocks=8, patch=16)  # type: ignore[assignment]
    state.model.to(memory_format=torch.channels_last)
    return TrainingState(state.model, create_optimizer(state.model, recipe.optimization))


def gigaflop(model: DINOCell, side: int = 512) -> float:
    """Floating point operations of one image, a multiply and an add being two."""
    image = torch.zeros(1, 1, side, side)
    counter = FlopCounterMode(display=False)
    with (
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),  # the fused kernel is not counted
        counter,
        torch.inference_mode(),
    ):
        model.eval()(image)
    return counter.get_total_flops() / 1e9


def trained(name: str, images: list, *, seconds: float, backbone: Path | None) -> tuple[TrainingState, int, float]:
    """The state after so much processor time, its number of steps, and processor seconds per step."""
    timed = 8
    recipe = recipe_of(name, steps=timed, backbone=backbone)
    state = fresh_state(name, recipe)
    begun = time.process_time()
    for number, batch in enumerate(batches_of(images, recipe, steps=timed, patch=state.model.architecture.patch)):
        _step(state, batch, recipe)
        if number == 1:
            begun = time.process_time()  # the first steps also allocate
    each = (time.process_time() - begun) / (timed - 2)
    steps = max(20, round(seconds / each))
    recipe = recipe_of(name, steps=steps, backbone=backbone)
    state = fresh_state(name, recipe)
    for batch in batches_of(images, recipe, steps=steps, patch=state.model.architecture.patch):
        _step(state, batch, recipe)
    return state, steps, each


def validation_loss(cases: Sequence[Case], maps: Sequence[np.ndarray]) -> float:
    """Mean over completely labelled images of the training loss; it also tells apart maps too low for any threshold."""
    losses = [
        float(
            distance_loss(
                torch.from_numpy(found).logit(eps=1e-4)[None, None],
                torch.from_numpy(distance_map(case.labels))[None, None],
                settings=RECIPE.loss,
            )
        )
        for case, found in zip(cases, maps, strict=True)
        if not case.partial
    ]
    return sum(losses) / len(losses)


def batches_of(images: list, recipe: TrainRecipe, *, steps: int, patch: int):
    return random_batches(
        images,
        start=0,
        stop=steps,
        seed=recipe.seed,
        sampling=recipe.sampling,
        augmentation=recipe.augmentation,
        normalization=recipe.normalization,
        patch=patch if recipe.network.diameter_head else None,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="dataset folders")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=240.0, help="processor time of each variant's training")
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS), help="variants to run; default all")
    parser.add_argument("--from-scratch", action="store_true")
    parser.add_argument("--most", type=int, default=4, help="validation images of a set")
    parser.add_argument("--curves", action="store_true", help="training losses of a few steps instead of scores")
    arguments = parser.parse_args()
    backbone = None if arguments.from_scratch else embedded_backbone(arguments.output / "backbone.safetensors")
    if arguments.curves:
        print_curves(arguments.only or list(VARIANTS), arguments.data, backbone=backbone)
        return
    images = load_training_images(arguments.data, split="train", normalization=RECIPE.normalization)
    cases = validation_cases(arguments.data, normalization=RECIPE.normalization, most=arguments.most)
    print("| network | GFLOP | million weights | steps | loss | AP.5 | mean AP | OP_CSB | lost without tokens |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for name in arguments.only or VARIANTS:
        state, steps, each = trained(name, images, seconds=arguments.seconds, backbone=backbone)
        model = state.averaged
        maps = distance_maps(model, cases)
        thresholds, result = best_scores(cases, maps)
        lost = token_value(model, cases, thresholds, result)
        facts = {
            "gflop": gigaflop(model),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "validation_loss": validation_loss(cases, maps),
            "steps": steps,
            "seconds_per_step": each,
            "thresholds": thresholds,
            "sets": result,
            "lost": lost,
        }
        (arguments.output / f"{name.replace(' ', '_')}.json").write_text(json.dumps(facts, indent=2) + "\n")
        row = " | ".join(f"{mean_over_sets(result, metric):.3f}" for metric in ("ap_0.50", "ap_mean", "op_csb"))
        cost = f"{facts['gflop']:.1f} | {facts['parameters'] / 1e6:.1f} | {steps} | {facts['validation_loss']:.3f}"
        print(f"| {name} | {cost} | {row} | {lost['all']:.3f}, {lost['whole_cells']:.3f} |", flush=True)


if __name__ == "__main__":
    main()
