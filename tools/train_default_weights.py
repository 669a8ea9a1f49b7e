"""Train the model that dinocell-seg embeds, from scratch, on openly licensed images.

    python tools/train_default_weights.py --data dsb2018 --data usiigaci_phase --output runs/default

trains in seven stages, each with a fresh cycle of the learning rate, the later ones with gentler augmentation and more
fluorescence: about five hours on two idle CPU cores. The last stage starts from the average of the two before (Wortsman
et al., Model soups, ICML 2022) and sees more often the images that this average segments badly. ``--resume`` continues
a run that was stopped. The result is ``model.safetensors``; ``tools/embed_weights.py`` calibrates it on the validation
splits and writes it into the package, with its manifest.

With glibc's allocator or jemalloc's defaults a fifth of the time goes to returning memory; preload jemalloc with
``MALLOC_CONF=dirty_decay_ms:-1,muzzy_decay_ms:-1``, and set ``OMP_WAIT_POLICY=PASSIVE`` where cores are shared.
"""

import argparse
import json
from pathlib import Path

from dinocell_core import load_model, save_model
from dinocell_eval import evaluate
from dinocell_io import grey_image, open_dataset, read_image, read_labels
from dinocell_seg import DINOCellPipeline
from dinocell_seg.augment import Augmentation
from dinocell_seg.crops import Sampling
from dinocell_seg.optimizer import Optimization
from dinocell_seg.train import train
from dinocell_seg.train_recipe import Network, Schedule, TrainRecipe

RECIPE = TrainRecipe(
    network=Network(size="tiny", patch=16, stem_channels=(16, 32, 64, 96), decoder_channels=(128, 96, 64, 32)),
    sampling=Sampling(crop_px=256, batch_size=8),
    optimization=Optimization(learning_rate=1e-3, weight_decay=0.05, warmup_steps=200),
    schedule=Schedule(steps=2300, steps_per_epoch=140, patience=20, validation_crops=128, ema=0.995),
    precision="bf16",
    seed=2026,
)


GENTLE = Augmentation(
    scale=(0.85, 1.2),
    wide_scale_probability=0.1,
    gain=(0.85, 1.15),
    offset=(-0.05, 0.05),
    gamma=(0.8, 1.25),
    gamma_probability=0.3,
    invert_probability=0.05,
    noise_probability=0.2,
    blur_probability=0.1,
    gradient_probability=0.1,
)
MODERATE = Augmentation(
    scale=(0.75, 1.35),
    wide_scale_probability=0.15,
    gain=(0.8, 1.25),
    offset=(-0.08, 0.08),
    gamma=(0.75, 1.3),
    gamma_probability=0.3,
    invert_probability=0.05,
    noise_probability=0.25,
    blur_probability=0.15,
    gradient_probability=0.15,
)


def later_stage(
    *,
    augmentation: Augmentation,
    learning_rate: float,
    warmup: int,
    schedule: Schedule,
    seed: int,
    empty_share: float = 0.0,
) -> TrainRecipe:
    """Another cycle of the learning rate from the averaged weights of the stage before, with more fluorescence.

    Its augmentation is gentler: how far a faint rim belongs to a nucleus can only be learnt from intensities that are
    left nearly as they are.
    """
    return TrainRecipe(
        network=RECIPE.network,
        sampling=Sampling(crop_px=256, batch_size=8, modality_balance=0.7, empty_share=empty_share),
        augmentation=augmentation,
        optimization=Optimization(learning_rate=learning_rate, weight_decay=0.05, warmup_steps=warmup),
        schedule=schedule,
        precision="bf16",
        seed=seed,
    )


def schedule_of(steps: int, *, ema: float) -> Schedule:
    return Schedule(steps=steps, steps_per_epoch=steps // 20, patience=20, validation_crops=128, ema=ema)


STAGES = (
    RECIPE,
    later_stage(
        augmentation=GENTLE,
        learning_rate=6e-4,
        warmup=40,
        schedule=Schedule(steps=640, steps_per_epoch=80, patience=20, validation_crops=128, ema=0.995),
        seed=2027,
    ),
    later_stage(augmentation=MODERATE, learning_rate=8e-4, warmup=60, schedule=schedule_of(2600, ema=0.998), seed=2028),
    later_stage(augmentation=GENTLE, learning_rate=6e-4, warmup=60, schedule=schedule_of(2700, ema=0.998), seed=2029),
    later_stage(
        augmentation=GENTLE,
        learning_rate=6e-4,
        warmup=60,
        schedule=schedule_of(2400, ema=0.998),
        seed=2030,
        empty_share=0.05,  # without it the fourth stage's model finds cells in noise
    ),
    later_stage(
        augmentation=GENTLE,
        learning_rate=7e-4,
        warmup=60,
        schedule=schedule_of(2640, ema=0.998),
        seed=2031,
        empty_share=0.05,
    ),
)


# How much the weights of a stage count in the average; chosen on val, among (0, 1), (1, 1) and (1, 2).
SHARES = {5: 1, 6: 2}
LAST_STAGE = later_stage(
    augmentation=GENTLE,
    learning_rate=6e-4,
    warmup=60,
    schedule=schedule_of(2600, ema=0.998),
    seed=2035,
    empty_share=0.05,
)
# Of the average, on val; what an image is segmented with to see how hard it is.
THRESHOLDS = {"peak": 0.45, "fill": 0.07, "prominence": 0.2, "min_size": 0}


def average_stages(folder: Path) -> Path:
    """Write the weighted mean of the stages' weights and return its path."""
    models = {stage: load_model(folder / f"stage{stage}" / "model.safetensors") for stage in SHARES}
    weights = {stage: model.state_dict() for stage, model in models.items()}
    model = models[max(SHARES)]
    total = sum(SHARES.values())
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.copy_(sum(share / total * weights[stage][name].double() for stage, share in SHARES.items()))
    path = folder / "average.safetensors"
    save_model(path, model, metadata={**without_format(model.metadata), "averaged_stages": averaged()})
    return path


def averaged() -> dict[str, int]:
    return {str(stage): share for stage, share in SHARES.items()}


def without_format(metadata: dict) -> dict:
    return {key: value for key, value in metadata.items() if key != "format"}


def weights_of_hard_images(model: Path, folders: list[Path], device: str) -> dict[str, float]:
    """Of the fluorescence images of the train splits: 1.1 less the mean of AP.5 and mean AP, from 0.1 to 1.1."""
    pipeline = DINOCellPipeline(model, device=device, thresholds=THRESHOLDS)
    weights = {}
    for folder in folders:
        for sample in open_dataset(folder):
            if (sample.split, sample.modality) == ("train", "fluorescence"):
                labels = pipeline.run(grey_image(read_image(sample.image_path)))
                scores = evaluate([read_labels(sample.labels_path)], [labels], num_replicates=0).per_image_mean
                weights[sample.name] = 1.1 - (scores["ap_0.50"] + scores["ap_mean"]) / 2
    return weights


def last_stage(average: Path, folder: Path, data: list[Path], *, device: str, resume: bool) -> Path:
    """Train it; resumed, with the weights of images that it began with."""
    if resume:
        weights = json.loads((folder / "recipe.json").read_text())["sampling"]["image_weights"]
    else:
        weights = weights_of_hard_images(average, data, device)
    recipe = LAST_STAGE.model_copy(
        update={
            "network": LAST_STAGE.network.model_copy(update={"start_from": average}),
            "sampling": LAST_STAGE.sampling.model_copy(update={"image_weights": weights}),
        }
    )
    return train(data, folder, recipe=recipe, device=device, resume=resume)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, help="dataset folder; repeat for more")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    model = None
    for number, recipe in enumerate(STAGES, start=1):
        folder = arguments.output / f"stage{number}"
        resume = arguments.resume and (folder / "last.ckpt").exists()
        network = recipe.network.model_copy(update={"start_from": model})
        recipe = recipe.model_copy(update={"network": network})
        model = train(arguments.data, folder, recipe=recipe, device=arguments.device, resume=resume)
    average = average_stages(arguments.output)
    folder = arguments.output / f"stage{len(STAGES) + 1}"
    resume = arguments.resume and (folder / "last.ckpt").exists()
    trained = load_model(last_stage(average, folder, arguments.data, device=arguments.device, resume=resume))
    facts = {**without_format(trained.metadata), "averaged_stages": averaged()}
    save_model(arguments.output / "model.safetensors", trained, metadata=facts)
    print(
        f"now: python tools/embed_weights.py {arguments.output} "
        + " ".join(f"--data {data}" for data in arguments.data)
    )


if __name__ == "__main__":
    main()
