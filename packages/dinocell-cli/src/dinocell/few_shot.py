"""Few-shot segmentation for `dinocell probe`: the trainer of dinocell-seg, in the form that dinocell-ssl calls."""

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dinocell_core import load_model
from dinocell_eval import evaluate
from dinocell_io import Sample, counted, grey_image, open_dataset, read_image, read_labels
from dinocell_seg.calibrate import calibrate
from dinocell_seg.crops import Sampling
from dinocell_seg.optimizer import Optimization
from dinocell_seg.pipeline import DINOCellPipeline
from dinocell_seg.train import train
from dinocell_seg.train_recipe import Network, Schedule, TrainRecipe


@dataclass(frozen=True, kw_only=True)
class FewShotSegmentation:
    """Trains a decoder on a few images of the train split of `dataset` and scores OP_CSB on its val split.

    The images of a seed are nested: those of 5 are among those of 10. Backbones are frozen unless `fine_tune`; a
    random one is frozen too, so that both train the same parameters for the same `steps`. Thresholds are calibrated
    on the training images, and the score is the mean over up to `max_scored` images of val. The folders of the
    training runs stay in `work` until the same run is repeated.
    """

    dataset: Path
    work: Path
    size: str
    patch: int
    steps: int = 200
    crop_px: int = 128
    batch_size: int = 8
    max_scored: int = 20
    fine_tune: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"
    device: str = "cpu"

    def __call__(self, backbone: Path | None, *, num_images: int, seed: int) -> float:
        """OP_CSB in [0, 1].

        Raises ValueError if the train split has fewer than `num_images`, and if no scored image has a cell.
        """
        chosen, scored = self._images(num_images, seed)
        truths = [read_labels(sample.labels_path) for sample in scored]
        if not any(truth.any() for truth in truths):
            raise ValueError(
                f"OP_CSB is undefined: no image of the split val of {self.dataset} that is scored has a cell; "
                "give val images with cells (splits.csv)"
            )
        folder = self.work / f"{num_images}_images_seed_{seed}"
        output = self.work / f"{num_images}_images_seed_{seed}_{'random' if backbone is None else 'pretrained'}"
        for earlier in (folder, output):  # left by an earlier probe
            shutil.rmtree(earlier, ignore_errors=True)
        with_cells = next((one for one in scored if read_labels(one.labels_path).any()), scored[0])
        _copy(chosen, [with_cells], folder)
        model = train([folder], output, recipe=self._recipe(backbone, seed), device=self.device)
        thresholds = calibrate(
            DINOCellPipeline(load_model(model), device=self.device),
            [sample for sample in open_dataset(folder) if sample.split == "train"],
            metric="op_csb",
            fills=(0.05, 0.1, 0.2),
            prominences=(None,),
            min_sizes=(20,),
        ).thresholds()
        pipeline = DINOCellPipeline(load_model(model), device=self.device, thresholds=thresholds.model_dump())
        predictions = [pipeline.run(grey_image(read_image(sample.image_path))) for sample in scored]
        score = evaluate(truths, predictions, num_replicates=0).per_image_mean["op_csb"]
        assert score is not None  # an image has a cell
        return score

    def _images(self, num_images: int, seed: int) -> tuple[list[Sample], list[Sample]]:
        samples = open_dataset(self.dataset)
        by_split = {split: [one for one in samples if one.split == split] for split in ("train", "val")}
        if len(by_split["train"]) < num_images or not by_split["val"]:
            raise ValueError(
                f"{self.dataset} has {counted(len(by_split['train']), 'image')} in the split train and "
                f"{len(by_split['val'])} in val; {counted(num_images, 'image')} to train on "
                "and one to score on are needed (splits.csv)"
            )
        order = np.random.default_rng(seed).permutation(len(by_split["train"]))
        scored = np.random.default_rng(0).permutation(len(by_split["val"]))[: self.max_scored]
        return [by_split["train"][i] for i in order[:num_images]], [by_split["val"][i] for i in scored]

    def _recipe(self, backbone: Path | None, seed: int) -> TrainRecipe:
        network: dict[str, Any] = {"size": self.size, "patch": self.patch, "pretrained": backbone}
        network["pretrained_channels"] = "fold"  # the labelled images are grey, however many stains the backbone saw
        return TrainRecipe(
            network=Network(**network, freeze_backbone=not self.fine_tune),
            sampling=Sampling(crop_px=self.crop_px, batch_size=self.batch_size),
            optimization=Optimization(warmup_steps=self.steps // 10),
            # One validation at the end; it needs one image of val, and nothing is chosen by it.
            schedule=Schedule(steps=self.steps, steps_per_epoch=self.steps, validation_crops=1),
            precision=self.precision,
            seed=seed,
        )


def _copy(chosen: list[Sample], validation: list[Sample], folder: Path) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    rows = [("name", "split")]
    for split, samples in (("train", chosen), ("val", validation)):
        for sample in samples:
            shutil.copy2(sample.image_path, folder / "images")
            shutil.copy2(sample.labels_path, folder / "masks")
            rows.append((sample.name, split))
    with (folder / "splits.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
