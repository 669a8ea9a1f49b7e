"""`dinocell probe`: the table, the files, and few-shot segmentation by the trainer of dinocell-seg."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from dinocell.few_shot import FewShotSegmentation, _copy
from dinocell.main import build_app
from dinocell_core import create_backbone
from dinocell_io import Image, NewSample, open_dataset, simulate_field, write_dataset, write_image
from dinocell_ssl import save_backbone


def run(*words: str | Path) -> Result:
    arguments = ["probe", *map(str, words)]
    return CliRunner().invoke(build_app(arguments), arguments)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "backbone.safetensors"
    save_backbone(path, create_backbone("tiny", in_channels=1), facts={"step": 12})
    return path


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fields")
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 4000, (2, 40, 40)).astype(np.uint16)
        write_image(folder / f"{seed}.tif", Image(pixels, ("DNA", "ER"), None, False, ""))
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = []
    for seed, split in enumerate(("train", "train", "train", "val", "val", "test")):
        field = simulate_field((64, 64), num_cells=3, diameter_px=20.0, channels=("DNA",), seed=seed)
        samples.append(NewSample(f"image{seed}", field.image, field.labels, split=split))
    return write_dataset(tmp_path_factory.mktemp("labelled") / "dataset", samples)


def test_the_table_is_shown_and_the_report_written(tmp_path: Path, checkpoint: Path, fields: Path) -> None:
    result = run(checkpoint, "--data", fields, "--size", "32", "--output", tmp_path / "new")
    assert result.exit_code == 0, result.output
    for word in ("pretrained", "random weights", "chance", "RankMe", "note: k-NN of plates needs two plates"):
        assert word in result.stdout
    assert json.loads((tmp_path / "new" / "probe.json").read_text())["step"] == 12
    assert (tmp_path / "new" / "channels.png").is_file()
    assert not (tmp_path / "new" / "few_shot.json").exists()


def test_few_shot_scores_are_compared_with_random_weights(
    tmp_path: Path, checkpoint: Path, fields: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def invented(self: FewShotSegmentation, backbone: Path | None, *, num_images: int, seed: int) -> float:
        asked.append((self.size, self.patch, self.steps, self.precision, backbone, num_images, seed))
        return 0.5 + 0.125 * (backbone is not None) + 0.25 * seed

    monkeypatch.setattr(FewShotSegmentation, "__call__", invented)
    words = ("--labelled", labelled, "--num-images", "2,3", "--seeds", "2", "--steps", "7", "--precision", "bf16")
    words = (*words, "--output", tmp_path)
    result = run(checkpoint, "--data", fields, "--size", "32", *words)
    assert result.exit_code == 0, result.output
    line = "2 images: OP_CSB 0.750, random weights 0.625 (gain +0.125, 95 % interval +0.125 to +0.125)"
    assert line in result.stdout
    assert asked[:2] == [("tiny", 16, 7, "bf16", checkpoint, 2, 0), ("tiny", 16, 7, "bf16", None, 2, 0)]
    assert len(json.loads((tmp_path / "few_shot.json").read_text())["scores"]) == 8


def test_a_file_that_is_no_backbone_fails(tmp_path: Path, fields: Path) -> None:
    (tmp_path / "notes.safetensors").write_bytes(b"no weights")
    result = run(tmp_path / "notes.safetensors", "--data", fields, "--output", tmp_path)
    assert result.exit_code == 1
    assert "error: " in result.stderr
    assert "is damaged or not a weight file" in result.stderr


def test_a_path_that_is_not_there_is_an_error_of_the_command_line(tmp_path: Path, fields: Path) -> None:
    result = run(tmp_path / "missing.safetensors", "--data", fields, "--output", tmp_path)
    assert result.exit_code == 2
    assert "missing.safetensors; give a backbone.safetensors" in result.stderr


@pytest.mark.parametrize("numbers", ["5,ten", "", "0,5"])
def test_numbers_of_images_that_are_none_are_refused(
    tmp_path: Path, checkpoint: Path, fields: Path, numbers: str
) -> None:
    result = run(checkpoint, "--data", fields, "--num-images", numbers, "--output", tmp_path)
    assert result.exit_code == 2
    assert "give numbers of images separated by commas" in result.stderr


def trainer_for(labelled: Path, work: Path) -> FewShotSegmentation:
    return FewShotSegmentation(
        dataset=labelled,
        work=work,
        size="tiny",
        patch=16,
        steps=2,
        crop_px=32,
        batch_size=1,
        max_scored=1,
        precision="bf16",
    )


def test_a_decoder_is_trained_on_the_chosen_images_and_scored_on_val(
    tmp_path: Path, checkpoint: Path, labelled: Path
) -> None:
    trainer = trainer_for(labelled, tmp_path)
    scores = [trainer(backbone, num_images=2, seed=0) for backbone in (checkpoint, None)]
    assert all(0 <= score <= 1 for score in scores)
    splits = {sample.name: sample.split for sample in open_dataset(tmp_path / "2_images_seed_0")}
    assert sorted(splits.values()) == ["train", "train", "val"]
    assert {name for name, split in splits.items() if split == "train"} < {"image0", "image1", "image2"}
    recipe = json.loads((tmp_path / "2_images_seed_0_pretrained" / "recipe.json").read_text())
    assert recipe["network"]["freeze_backbone"] is True
    assert recipe["precision"] == "bf16"
    assert recipe["network"]["pretrained"] == str(checkpoint)
    models = [tmp_path / f"2_images_seed_0_{start}" / "model.safetensors" for start in ("pretrained", "random")]
    assert all(model.is_file() for model in models)


def test_images_of_a_seed_are_nested_and_those_of_val_the_same(labelled: Path, tmp_path: Path) -> None:
    trainer = trainer_for(labelled, tmp_path)
    few, scored = trainer._images(2, 5)
    more, again = trainer._images(3, 5)
    assert more[:2] == few
    assert scored == again == trainer._images(2, 6)[1]
    assert all(sample.split == "val" for sample in scored)


def test_names_with_commas_and_quotes_are_copied(tmp_path: Path) -> None:
    splits = {"well A1, field 1": "train", 'the "good" one': "train", "plain": "val"}
    field = simulate_field((64, 64), num_cells=3, diameter_px=20.0, channels=("DNA",), seed=0)
    samples = [NewSample(name, field.image, field.labels, split=split) for name, split in splits.items()]
    read = open_dataset(write_dataset(tmp_path / "dataset", samples))
    chosen, validation = ([one for one in read if one.split == split] for split in ("train", "val"))
    _copy(chosen, validation, tmp_path / "copy")
    assert {one.name: one.split for one in open_dataset(tmp_path / "copy")} == splits


def test_images_without_cells_are_not_scored_zero(tmp_path: Path) -> None:
    field = simulate_field((64, 64), num_cells=3, diameter_px=20.0, channels=("DNA",), seed=0)
    samples = [NewSample(name, field.image, field.labels, split="train") for name in ("a", "b")]
    samples.append(NewSample("empty", field.image, np.zeros_like(field.labels), split="val"))
    trainer = trainer_for(write_dataset(tmp_path / "dataset", samples), tmp_path)
    with pytest.raises(ValueError, match=r"OP_CSB is undefined: no image of the split val of .*dataset.* has a cell"):
        trainer(None, num_images=2, seed=0)


def test_too_few_images_are_refused_before_any_training(labelled: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 3 images in the split train and 2 in val; 9 images to train on"):
        trainer_for(labelled, tmp_path)(None, num_images=9, seed=0)
