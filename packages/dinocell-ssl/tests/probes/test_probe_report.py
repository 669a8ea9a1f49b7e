"""A checkpoint's probes beside random weights: file, table and picture."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from dinocell_core import create_backbone, file_sha256
from dinocell_io import Image, read_image, write_image
from dinocell_ssl.backbones.backbone_file import save_backbone
from dinocell_ssl.backbones.export_backbone import export_backbone
from dinocell_ssl.probes.probe import ProbeSettings
from dinocell_ssl.probes.probe_report import ROWS, probe_checkpoint, probe_table, random_like

SETTINGS = ProbeSettings(size=32, max_places=2)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "backbone.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(7)
        save_backbone(path, create_backbone("tiny", in_channels=1), facts={"step": 12})
    return path


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plates")
    rng = np.random.default_rng(0)
    for index in range(4):
        path = folder / "ab"[index // 2] / f"{index}.tif"
        path.parent.mkdir(exist_ok=True)
        pixels = rng.integers(0, 4000, (2, 64, 64)).astype(np.uint16)
        write_image(path, Image(pixels, ("DNA", "ER"), None, False, ""))
    (folder / "b" / "broken.tif").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def report(checkpoint, plates, tmp_path_factory):
    return probe_checkpoint(checkpoint, [plates], tmp_path_factory.mktemp("probe") / "new", settings=SETTINGS)


def test_the_file_says_what_was_probed_and_how(report, checkpoint):
    content = json.loads(report.path.read_text())
    assert content["checkpoint"] == "backbone.safetensors"
    assert content["sha256"] == file_sha256(checkpoint)
    assert content["step"] == 12
    assert content["settings"]["size"] == 32
    assert content["pretrained"]["values"] == report.checkpoint.values
    assert content["random"]["values"] == report.random.values
    assert content["pretrained"]["values"] != content["random"]["values"]
    assert content["pretrained"]["channel_pair_margins"][0][0] is None
    assert "broken.tif was left out" in content["notes"][0]


def test_the_table_has_every_measure_beside_random_weights_and_chance(report):
    rows = probe_table(report)
    assert len(rows) == len(ROWS)
    by_text = {row[0]: row[1:] for row in rows}
    margin = by_text["margin of the two: what is alike beyond what all is"]
    values = report.checkpoint.values
    low, high = values["channel_margin_low"], values["channel_margin_high"]
    assert margin[0] == f"{values['channel_margin']:.4f} ({low:.4f} to {high:.4f})"
    assert margin[2] == "-"
    assert by_text["places found again in another channel"][2] == "0.1250"
    assert all(row[1] != "-" for row in rows)


def test_the_picture_has_three_rows_for_each_of_two_fields(report):
    pixels = read_image(report.path.with_name("channels.png")).pixels
    assert pixels.shape == (3, 6 * 36 - 4, 2 * 36 - 4)


def test_random_weights_are_the_same_for_the_same_seed_and_leave_the_generator_alone():
    backbone = create_backbone("tiny", in_channels=1)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    one, other = random_like(backbone, seed=0), random_like(backbone, seed=0)
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(one.blocks[3].mlp.fc1.weight, other.blocks[3].mlp.fc1.weight)
    assert not torch.equal(one.blocks[3].mlp.fc1.weight, random_like(backbone, seed=1).blocks[3].mlp.fc1.weight)


def test_folders_without_a_usable_field_are_refused(checkpoint, plates, tmp_path):
    with pytest.raises(ValueError, match=r"none of the 5 fields can be probed; the first: .*0\.tif was left out: it"):
        probe_checkpoint(checkpoint, [plates], tmp_path, settings=ProbeSettings(size=80))


@pytest.mark.parametrize(
    ("facts", "asked", "shown"),
    [({"step": 3}, None, "in_its_place"), ({"step": 3}, "repeated", "repeated"), (None, None, "repeated")],
)
def test_channels_are_shown_as_the_run_showed_them_unless_told_otherwise(plates, tmp_path, facts, asked, shown):
    """Files of others (no facts) show RGB: what a channel of theirs is for, fields of two channels do not say."""
    backbone = create_backbone("tiny", in_channels=2)
    path = tmp_path / "backbone.safetensors"
    if facts is None:
        export_backbone(backbone, path, layout="timm")
    else:
        save_backbone(path, backbone, facts=facts)
    report = probe_checkpoint(path, [plates], tmp_path / "probe", settings=replace(SETTINGS, shown=asked))
    assert json.loads(report.path.read_text())["settings"]["shown"] == shown
