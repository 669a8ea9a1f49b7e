"""`dinocell export-backbone` from a run's file to other programs' layouts."""

import json

import pytest
import torch
from safetensors.torch import load_file
from typer import Typer
from typer.testing import CliRunner

from dinocell_core import create_backbone, load_backbone_weights
from dinocell_ssl.backbones.backbone_file import save_backbone
from dinocell_ssl.commands.export_backbone import export_backbone


def run(*words):
    app = Typer()
    app.command()(export_backbone)
    return CliRunner().invoke(app, list(map(str, words)))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "backbone.safetensors"
    save_backbone(path, create_backbone("tiny", in_channels=1), facts={"step": 12, "licence": "MIT"})
    return path


def test_a_folder_for_transformers_holds_what_the_run_said(tmp_path, checkpoint):
    result = run(checkpoint, "--output", tmp_path / "hf")
    assert result.exit_code == 0, result.output
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert (config["model_type"], config["num_channels"]) == ("dinov3_vit", 1)
    assert (config["dinocell"]["step"], config["dinocell"]["licence"]) == (12, "MIT")
    assert "1 channel; give it (v - 0.5) / 0.25" in result.stdout


def test_rgb_spreads_the_channel(tmp_path, checkpoint):
    result = run(checkpoint, "--layout", "timm", "--rgb", "--output", tmp_path / "timm.safetensors")
    assert result.exit_code == 0, result.output
    kernel = load_file(tmp_path / "timm.safetensors")["patch_embed.proj.weight"]
    grey = load_file(checkpoint)["patch_embed.proj.weight"]
    torch.testing.assert_close(kernel.sum(dim=1, keepdim=True), grey)
    backbone = create_backbone("tiny")
    assert load_backbone_weights(backbone, tmp_path / "timm.safetensors").layout == "timm"


def test_a_folder_that_exists_is_left_as_it_is(tmp_path, checkpoint):
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "mine.txt").write_text("keep")
    result = run(checkpoint, "--output", tmp_path / "hf")
    assert result.exit_code == 1
    assert "error: " in result.stderr
    assert (tmp_path / "hf" / "mine.txt").read_text() == "keep"


def test_a_checkpoint_that_is_not_there_is_an_error_of_the_command_line(tmp_path):
    result = run(tmp_path / "missing.safetensors", "--output", tmp_path / "hf")
    assert result.exit_code == 2
    assert "there is no file" in result.stderr
