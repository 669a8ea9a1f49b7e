"""Probes on fields drawn by hand: what is measured, what is left out and why, and the command."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dinocell_core import create_backbone
from dinocell_io import Image, write_image
from dinocell_ssl.backbones.open_backbone import open_backbone
from dinocell_ssl.data.augment import Augmentation
from dinocell_ssl.data.crops import Crops, sample_crops
from dinocell_ssl.data.fields import open_folders
from dinocell_ssl.data.intensity import scaled_field
from dinocell_ssl.data.views import Views
from dinocell_ssl.probes.features import channel_images, field_features, places_of
from dinocell_ssl.probes.probe import ProbeSettings, read_probe_fields, run_probes


def field_of(shape, seed=0, blank=()):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(100, 4000, shape).astype(np.uint16)
    for channel in blank:
        pixels[channel] = 7
    return scaled_field(pixels, drop_constant=False)


@pytest.fixture(scope="module")
def backbone():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return create_backbone("tiny", in_channels=1).eval()


@pytest.fixture
def plates(tmp_path):
    """Two plates of three fields; one field of each has another number of channels or a blank one."""
    rng = np.random.default_rng(0)
    for plate in ("a", "b"):
        (tmp_path / plate).mkdir()
        for index in range(3):
            pixels = rng.integers(0, 4000, (2, 70, 70)).astype(np.uint16)
            write_image(tmp_path / plate / f"{index}.tif", Image(pixels, ("DNA", "ER"), None, False, ""))
    return tmp_path


def test_places_do_not_overlap_and_are_spread_over_the_field():
    places = places_of(field_of((1, 70, 100)), size=32, max_places=9)
    assert places == [(0, 0), (0, 34), (0, 68), (38, 0), (38, 34), (38, 68)]
    assert places_of(field_of((1, 70, 100)), size=32, max_places=3) == [(0, 0), (0, 68), (38, 68)]
    assert places_of(field_of((1, 40, 50)), size=32, max_places=9) == [(4, 9)]
    assert places_of(field_of((1, 31, 50)), size=32, max_places=9) == []


def test_channels_are_shown_alone_repeated_or_in_their_place():
    field = field_of((2, 40, 40))
    images = channel_images(field, (3, 5), size=16, in_channels=3)
    assert images.shape == (2, 3, 16, 16)
    pixels = field.pixels[1, 3:19, 5:21].astype(np.float64)
    v = (pixels - field.low[1]) / (field.high[1] - field.low[1])
    for channel in range(3):
        np.testing.assert_allclose(images[1, channel], np.clip((v - 0.5) / 0.25, -4, 6), atol=1e-5)
    alone = channel_images(field, (3, 5), size=16, in_channels=2, shown="in_its_place")
    np.testing.assert_array_equal(alone[1, 1], images[1, 0])
    sampled = sample_crops(
        field,
        np.random.default_rng(0),
        crops=Crops(global_px=16, local_px=16, num_local=4),
        views=Views(strategy="channel_drop", drop_probability=0.9),
        augmentation=Augmentation(),
    )
    dropped = [plane for crop in sampled.local_crops for plane in crop if plane.std() == 0]
    assert dropped, "test invalid"
    np.testing.assert_array_equal(alone[1, 0], dropped[0])
    with pytest.raises(ValueError, match="the field has 2 channels and the backbone takes 3 in their places"):
        channel_images(field, (3, 5), size=16, in_channels=3, shown="in_its_place")


def test_features_are_those_of_the_backbone_whatever_the_batch(backbone, monkeypatch):
    field = field_of((2, 70, 70))
    places = places_of(field, size=32, max_places=4)
    monkeypatch.setattr("dinocell_ssl.probes.features._CROPS_AT_ONCE", 3)
    features = field_features(backbone, field, places, size=32)
    image = torch.from_numpy(channel_images(field, places[3], size=32, in_channels=1)[1:])
    with torch.no_grad():
        expected = backbone.forward_features(image)
    torch.testing.assert_close(features.class_token[3, 1], expected["x_norm_clstoken"][0], rtol=0, atol=1e-5)
    mean = expected["x_norm_patchtokens"][0].mean(dim=0)
    torch.testing.assert_close(features.mean_patch[3, 1], mean, rtol=0, atol=1e-5)


def test_a_folder_of_plates_gives_every_measure(backbone, plates):
    fields, notes = read_probe_fields(open_folders([plates]), max_fields=10, size=32)
    assert notes == ()
    assert [field.plate for field in fields] == [str(plates / "a")] * 3 + [str(plates / "b")] * 3
    result = run_probes(backbone, fields, settings=ProbeSettings(size=32))
    assert result.notes == ()
    values = result.values
    assert (values["probe_fields"], values["probe_places"]) == (6, 24)
    assert values["knn_field_chance"] == pytest.approx(3 / 23)
    assert values["knn_plate_chance"] == pytest.approx(8 / 20)
    assert values["channel_margin"] == pytest.approx(values["channel_same"] - values["channel_different"])
    assert values["channel_margin_low"] <= values["channel_margin"] <= values["channel_margin_high"]
    assert values["channel_retrieval_chance"] == pytest.approx(1 / 24)
    assert {f"patch_{name}" for name in values if name.startswith("channel_")} <= set(values)
    assert result.consistency.pair_margins.shape == (2, 2)


def test_what_cannot_be_measured_is_said(backbone):
    def one(name, shape):
        from dinocell_ssl.probes.probe import ProbeField

        return ProbeField(name, "plate", field_of(shape))

    single = run_probes(backbone, [one("a", (1, 64, 64))], settings=ProbeSettings(size=32))
    assert single.notes == (
        "k-NN of fields and plates needs two fields or more",
        "channel consistency needs fields of two channels or more; see --channel-pattern",
    )
    assert "knn_field" not in single.values
    fields = [one("a", (2, 64, 64)), one("b", (2, 64, 64)), one("c", (3, 32, 32))]
    mixed = run_probes(backbone, fields, settings=ProbeSettings(size=32))
    assert mixed.notes == (
        "k-NN of plates needs two plates or more; by default the folder of a file is its plate",
        "channel consistency is that of the 2 fields of 2 channels",
        "the interval of the channel margin needs three fields or more",
    )
    with pytest.raises(ValueError, match="there is no field to probe on"):
        run_probes(backbone, [])


def test_fields_that_cannot_be_used_are_named(plates):
    (plates / "a" / "1.tif").write_bytes(b"no image")
    blank = np.zeros((2, 70, 70), np.uint16)
    blank[0, 0] = np.arange(70)
    write_image(plates / "b" / "0.tif", Image(blank, ("DNA", "ER"), None, False, ""))
    write_image(plates / "b" / "1.tif", Image(blank[:1, :20], ("DNA",), None, False, ""))
    fields, notes = read_probe_fields(open_folders([plates]), max_fields=10, size=32)
    assert len(fields) == 3
    assert "a/1.tif was left out" in notes[0]
    assert "its channels [1] (counted from 0) are blank" in notes[1]
    assert "it has 20 x 70 pixels, less than one square of 32" in notes[2]


def test_fields_are_spread_over_the_list(plates):
    fields, _ = read_probe_fields(open_folders([plates]), max_fields=2, size=32, plates=list("uvwxyz"))
    assert [(field.name[-7:], field.plate) for field in fields] == [("a/0.tif", "u"), ("b/0.tif", "x")]
    with pytest.raises(ValueError, match="max_fields is 0"):
        read_probe_fields(open_folders([plates]), max_fields=0)


def test_a_backbone_is_read_with_the_architecture_of_its_weights(tmp_path):
    backbone = create_backbone("tiny", patch=8, in_channels=2).eval()
    torch.save(backbone.state_dict(), tmp_path / "flat.pth")
    teacher = {f"backbone.{key}": value for key, value in backbone.state_dict().items()}
    torch.save({"teacher": {**teacher, "dino_head.x": torch.zeros(1)}, "step": 3}, tmp_path / "step_00000003.pt")
    for name in ("flat.pth", "step_00000003.pt"):
        again, facts = open_backbone(tmp_path / name)
        assert facts == {}
        assert not again.training
        assert (again.patch_size, again.in_channels, again.embed_dim) == (8, 2, 192)
        torch.testing.assert_close(again.state_dict(), backbone.state_dict())


def test_other_files_are_refused_with_what_to_give(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .* give a backbone.safetensors"):
        open_backbone(tmp_path / "missing.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"abc")
    with pytest.raises(ValueError, match="is damaged or not a weight file; give a backbone"):
        open_backbone(tmp_path / "broken.safetensors")
    save_file({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"no DINOv3 layout is known with keys such as fc\.weight"):
        open_backbone(tmp_path / "other.safetensors")
    shallow = {key: value for key, value in create_backbone("tiny").state_dict().items() if "blocks.1" not in key}
    torch.save(shallow, tmp_path / "shallow.pth")
    with pytest.raises(ValueError, match=r"9 blocks, mlp and a patch kernel of shape \(192, 3, 16, 16\)"):
        open_backbone(tmp_path / "shallow.pth")
