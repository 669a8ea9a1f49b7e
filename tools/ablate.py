"""Short trainings of equal duration, one choice changed at a time, scored on validation images.

    python tools/ablate.py --data dsb2018 --data usiigaci_phase --output runs/ablation --seconds 240

Every variant trains from scratch for about the same processor time (of all cores together), so a costlier network
takes fewer steps, and what else the machine does changes nothing. Its thresholds are calibrated on the fluorescence
images of the first set's validation split, where it is then scored: these numbers compare variants and are no estimate
of accuracy on new images.
"""

import argparse
import json
import time
from pathlib import Path

from train_default_weights import RECIPE

from dinocell_core.recipe import merged
from dinocell_io import open_dataset
from dinocell_seg import DINOCellPipeline
from dinocell_seg.calibrate import calibrate
from dinocell_seg.train import train
from dinocell_seg.train_recipe import TrainRecipe

VARIANTS: dict[str, dict] = {
    "as embedded": {},
    "without the convolutional stem": {"network": {"stem_channels": []}},
    "mean squared error, no edge term": {"loss": {"distance": "mse", "edge_weight": 0.0}},
    "patch 8": {"network": {"patch": 8}},
    "group normalisation": {"network": {"norm": "group"}},
}
TIMED_STEPS = 8
GRID = {
    "peaks": (0.2, 0.3, 0.4, 0.5),
    "fills": (0.06, 0.1, 0.15, 0.2),
    "prominences": (None, 0.15, 0.25),
    "min_sizes": (20,),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, help="dataset folder; repeat for more")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=240.0, help="processor time of each variant's training")
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS), help="variants to run; default all")
    arguments = parser.parse_args()
    samples = [s for s in open_dataset(arguments.data[0]) if s.split == "val" and s.modality == "fluorescence"]
    print("| variant | steps | AP.5 | mean AP(.5:.9) | thresholds |")
    print("|---|---|---|---|---|")
    for name in arguments.only or VARIANTS:
        folder = arguments.output / name.replace(" ", "_")
        seconds = seconds_per_step(name, arguments.data, folder / "timed")
        steps = max(20, round(arguments.seconds / seconds))
        model = train(arguments.data, folder / "run", recipe=recipe(name, steps=steps))
        calibration = calibrate(DINOCellPipeline(model, device="cpu", precision="bf16"), samples, **GRID)
        best = calibration.best
        at_half = calibrate(
            DINOCellPipeline(model, device="cpu", precision="bf16"),
            samples,
            metric="ap_0.50",
            peaks=(best.peak,),
            fills=(best.fill,),
            prominences=(best.prominence,),
            min_sizes=(best.min_size,),
        )
        (folder / "score.json").write_text(json.dumps({"steps": steps, **calibration.as_dict()}) + "\n")
        print(
            f"| {name} | {steps} | {at_half.best.score:.3f} | {best.score:.3f} | peak {best.peak}, fill {best.fill}, "
            f"prominence {best.prominence} |",
            flush=True,
        )


def recipe(name: str, *, steps: int) -> TrainRecipe:
    schedule = {"steps": steps, "steps_per_epoch": steps, "validation_crops": 16, "ema": 0.99}
    optimization = {"warmup_steps": max(1, steps // 8)}
    values = merged(RECIPE.model_dump(), {"schedule": schedule, "optimization": optimization})
    return TrainRecipe.model_validate(merged(values, VARIANTS[name]))


def seconds_per_step(name: str, data: list[Path], folder: Path) -> float:
    """Processor seconds of a step, from a short run without its first steps, which also load and allocate."""
    at_step: dict[int, float] = {}
    timed = recipe(name, steps=TIMED_STEPS)
    schedule = timed.schedule.model_copy(update={"steps_per_epoch": TIMED_STEPS // 2, "validation_crops": 1})
    timed = timed.model_copy(update={"schedule": schedule})
    train(data, folder, recipe=timed, on_epoch=lambda epoch: at_step.update({epoch["step"]: time.process_time()}))
    return (at_step[TIMED_STEPS] - at_step[TIMED_STEPS // 2]) / (TIMED_STEPS // 2)


if __name__ == "__main__":
    started = time.perf_counter()
    main()
    print(f"{time.perf_counter() - started:.0f} s in all")
