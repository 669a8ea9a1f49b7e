"""Train the generalist: one network for nuclei and whole cells of many kinds, on openly licensed images.

    python tools/generalist_data.py SHARED --output runs/generalist/data
    python tools/train_generalist.py runs/generalist/data --output runs/generalist/run --hours 10

The same command continues a run that was stopped, on any machine: --device and --precision may differ, the data folder
may lie elsewhere. The learning rate stays as it is until the run is given an end: with --steps N it falls over the last
steps before N (RECIPE's decay_steps), and the run ends there. Scores of the averaged weights on validation images of
every set (see tools/score_sets.py) go to scores.jsonl in --output, at most every --score-minutes.

The backbone starts as the embedded model's, all else from nothing. How the network was chosen:
docs/decisions/0046-network.md; the sets and their licences: tools/generalist_data.py.
"""

import argparse
import json
import time
from pathlib import Path

from safetensors.torch import save_file
from score_sets import best_scores, distance_maps, mean_over_sets, validation_cases

from dinocell_core import load_model
from dinocell_core.recipe import merged
from dinocell_seg.augment import Augmentation
from dinocell_seg.crops import Sampling
from dinocell_seg.optimizer import Optimization
from dinocell_seg.pipeline import default_model_path
from dinocell_seg.train import run_training
from dinocell_seg.train_recipe import Network, Schedule, TrainRecipe
from dinocell_seg.training_preparation import PreparedTraining, prepare_training

# A modality of n images is drawn in proportion to n^.5 times this: more often where there are few, large images of
# whole cells, less often where labels are derived, or show one cell of an image.
SET_WEIGHTS = {
    "dsb2018": 1.2,
    "dsb2018_stage1_test": 0.7,
    "usiigaci_phase": 1.5,
    "aitslab_cells": 1.3,
    "bubil_phase_single": 0.5,
    "codex_expert_murphy": 1.5,
    "cellaap_hela_dic": 2.0,
    "bbbc009_rbc_dic": 1.3,
    "mdck_zo1_jahn": 0.8,
    "rbc_chula_derived": 0.6,
    "ecoli_colicoords": 0.5,
    "ecoli_trpL_phase": 0.7,
    "pfc_neuron_bf": 0.4,
    "simulated": 0.7,
}
RECIPE = TrainRecipe(
    network=Network(
        size="tiny",
        stem_channels=(0, 24, 48, 96, 192),
        stem_skips=(2, 4),
        stem_to_tokens=True,
        decoder_channels=(96, 64, 32),
        head_channels=16,
        diameter_head=True,
    ),
    sampling=Sampling(crop_px=256, batch_size=8, set_weights=SET_WEIGHTS, empty_share=0.04, empty_kinds="any"),
    augmentation=Augmentation(
        target_diameter_px=(12, 60),
        target_diameter_probability=0.6,
        scale=(0.8, 1.25),
        wide_scale=(0.5, 2.0),
        wide_scale_probability=0.15,
        diameter_px=(8, 90),
        gain=(0.75, 1.3),
        offset=(-0.08, 0.08),
        gamma=(0.65, 1.5),
        gamma_probability=0.35,
        invert_probability=0.15,
        noise_probability=0.25,
        blur_probability=0.15,
        gradient_probability=0.15,
        illumination=0.5,
        illumination_probability=0.15,
        artefact_probability=0.12,
    ),
    optimization=Optimization(learning_rate=8e-4, weight_decay=0.05, warmup_steps=300, decay_steps=4000),
    # Few validation crops: the scores of whole images say more, and these are taken every few minutes.
    schedule=Schedule(steps=10_000_000, steps_per_epoch=60, patience=10_000_000, validation_crops=24, ema=0.9995),
    precision="bf16",
    seed=2040,
)


class TimeIsOver(Exception):
    """The run has taken the hours that it was given; its checkpoint is written."""


class Watch:
    """After each epoch: scores when they are due, and the end of the hours."""

    def __init__(
        self, prepared: PreparedTraining, folders: list[Path], *, score_minutes: float, hours: float | None
    ) -> None:
        self.prepared, self.score_seconds = prepared, 60 * score_minutes
        self.cases = validation_cases(folders, normalization=prepared.recipe.normalization, most=4)
        self.scored = time.monotonic()
        self.ends = time.monotonic() + 3600 * hours if hours is not None else None

    def __call__(self, epoch: dict) -> None:
        over = self.ends is not None and time.monotonic() >= self.ends
        if time.monotonic() - self.scored >= self.score_seconds:
            self.write_scores(epoch["step"])
            self.scored = time.monotonic()
        if over:
            raise TimeIsOver

    def write_scores(self, step: int) -> None:
        maps = distance_maps(self.prepared.state.averaged, self.cases, device=self.prepared.device)
        thresholds, result = best_scores(self.cases, maps)
        means = {metric: round(mean_over_sets(result, metric), 4) for metric in ("ap_0.50", "ap_mean", "op_csb")}
        line = {"step": step, "mean": means, "thresholds": thresholds}
        line["ap_0.50"] = {name: round(values["ap_0.50"], 3) for name, values in result.items()}
        with (self.prepared.output / "scores.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"step {step}: {means}", flush=True)


def embedded_backbone(path: Path) -> Path:
    """The backbone of the embedded model, as a file of its own."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        weights = load_model(default_model_path()).backbone.state_dict()
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that tools/generalist_data.py wrote")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--hours", type=float, help="stop after so long; the same command goes on")
    parser.add_argument("--steps", type=int, help="end of the run; the learning rate falls before it")
    parser.add_argument("--score-minutes", type=float, default=60.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default=RECIPE.precision)
    parser.add_argument("--batch-size", type=int, default=RECIPE.sampling.batch_size)
    arguments = parser.parse_args()
    changes = {
        "network": {"pretrained": embedded_backbone(arguments.output.parent / "backbone.safetensors")},
        "sampling": {"batch_size": arguments.batch_size},
        "schedule": {"steps": arguments.steps or RECIPE.schedule.steps},
        "precision": arguments.precision,
    }
    recipe = TrainRecipe.model_validate(merged(RECIPE.model_dump(), changes))
    folders = sorted(path for path in arguments.data.iterdir() if path.is_dir())
    resume = (arguments.output / "last.ckpt").exists()
    prepared = prepare_training(folders, arguments.output, recipe=recipe, device=arguments.device, resume=resume)
    watch = Watch(prepared, folders, score_minutes=arguments.score_minutes, hours=arguments.hours)
    try:
        run_training(prepared, on_epoch=watch)
    except TimeIsOver:
        print(f"stopped after {arguments.hours:g} hours; the same command continues the run")


if __name__ == "__main__":
    main()
