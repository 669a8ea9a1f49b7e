"""Pictures drawn by hand: colours, maps, masks, sheets; and files that a thread writes while training goes on."""

import sys
import threading
import time
import types

import numpy as np
import pytest
import torch

from dinocell_io import read_image
from dinocell_ssl.probes.pictures import (
    attention_picture,
    contact_sheet,
    grey_picture,
    heat_picture,
    masked_picture,
    pca_pictures,
)
from dinocell_ssl.watch.picture_writer import PictureWarning, PictureWriter

DARKEST, BRIGHTEST = [68, 1, 84], [253, 231, 37]


def test_grey_runs_from_black_to_white_between_the_limits():
    picture = grey_picture(np.array([[-9.0, -2.0, 0.0, 2.0, 9.0]]))
    assert picture[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    assert (picture == picture[:, :, :1]).all()


def test_heat_runs_over_the_colours_and_a_constant_map_is_the_darkest():
    picture = heat_picture(np.array([[0.0, 4.0, 8.0]]), patch=2)
    assert picture.shape == (2, 6, 3)
    assert picture[0, 0].tolist() == DARKEST
    assert picture[1, 2].tolist() == [33, 144, 141]
    assert picture[1, 5].tolist() == BRIGHTEST
    assert heat_picture(np.full((1, 1), 7.0))[0, 0].tolist() == DARKEST


def test_attention_is_that_of_the_patches_alone():
    weights = torch.zeros(2, 5 + 6)
    weights[:, :5] = 100.0  # class and storage tokens
    weights[0, 5 + 4], weights[1, 5 + 4] = 0.2, 0.6
    picture = attention_picture(weights, (2, 3), patch=4)
    assert picture.shape == (8, 12, 3)
    assert picture[4, 4].tolist() == BRIGHTEST
    assert picture[0, 0].tolist() == DARKEST
    with pytest.raises(ValueError, match="attention over 11 tokens does not hold a class token and 4 x 3 patches"):
        attention_picture(weights, (4, 3))


def test_equal_patches_have_equal_colours_in_all_images():
    kinds = torch.tensor([[0, 1, 2], [2, 1, 0]])
    features = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))[kinds][None].repeat(2, 1, 1, 1)
    features[1] = features[1].flip(1)
    first, second = pca_pictures(features, patch=2)
    assert first.shape == (4, 6, 3)
    assert np.array_equal(first, second[:, ::-1])
    assert len({tuple(colour) for colour in first[0]}) == 3


def test_the_first_component_is_red_and_its_sign_does_not_flip():
    features = torch.zeros(1, 1, 5, 4)
    features[0, 0, :, 2] = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])
    (picture,) = pca_pictures(features)
    assert picture[0, :, 0].tolist() == sorted(picture[0, :, 0].tolist())
    assert (picture[0, 0, 0], picture[0, -1, 0]) == (0, 255)
    (again,) = pca_pictures(features.flip(2))
    assert np.array_equal(again, picture[:, ::-1])


def test_components_without_variance_are_grey():
    (picture,) = pca_pictures(torch.ones(1, 2, 2, 5))
    assert np.unique(picture).tolist() == [128]


def test_components_are_those_of_a_plain_singular_value_decomposition():
    features = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(1)).double()
    flat = features.reshape(-1, 6)
    _, _, directions = torch.linalg.svd(flat - flat.mean(dim=0), full_matrices=False)
    values = (flat - flat.mean(dim=0)) @ directions[0]
    red = np.concatenate([picture[:, :, 0].ravel() for picture in pca_pictures(features.float())])
    assert abs(np.corrcoef(red, values.numpy())[0, 1]) > 0.99


def test_masked_patches_are_dark_and_the_others_as_they_were():
    picture = np.full((4, 6, 3), 200, np.uint8)
    masked = masked_picture(picture, np.array([[True, False, False], [False, False, True]]))
    assert masked[1, 1].tolist() == [146, 50, 50]
    assert masked[3, 5].tolist() == [146, 50, 50]
    assert (masked[:2, 2:] == 200).all()
    with pytest.raises(ValueError, match="a mask of 1 x 4 patches does not divide a picture of 4 x 6 pixels"):
        masked_picture(picture, np.zeros((1, 4), bool))


def test_a_sheet_has_its_pictures_side_by_side_with_white_gaps():
    black, small = np.zeros((5, 6, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)
    sheet = contact_sheet([[black, black], [small]])
    assert sheet.shape == (5 + 4 + 5, 6 + 4 + 6, 3)
    assert sheet.sum() == 255 * 3 * (14 * 16 - 2 * 30 - 4)
    assert (sheet[9:11, :2] == 0).all()


def test_pictures_are_written_in_order_and_read_back(tmp_path):
    pictures = [np.full((3, 5, 3), value, np.uint8) for value in (10, 20)]
    with PictureWriter(tmp_path / "pictures") as writer:
        writer.write("masks", pictures[0], step=7)
        writer.write("masks", pictures[1], step=12_000)
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "masks_00000007.png",
        "masks_00012000.png",
    ]
    image = read_image(tmp_path / "pictures" / "masks_00012000.png")
    assert image.pixels.shape == (3, 3, 5)
    assert (image.pixels == 20).all()


def test_a_slow_disk_costs_pictures_and_no_time(tmp_path, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr("dinocell_ssl.watch.picture_writer.write_image", lambda path, image: release.wait(20))
    writer = PictureWriter(tmp_path, max_waiting=2)
    started = time.perf_counter()
    for step in range(10):
        writer.write("masks", np.zeros((2, 2, 3), np.uint8), step=step)
    assert time.perf_counter() - started < 10, "it waited for the disk"
    assert 7 <= writer.num_left_out <= 8  # one may be in the works
    release.set()
    with pytest.warns(PictureWarning, match=r"^[78] pictures were left out, .*monitoring.pictures_every"):
        writer.close()


def test_a_full_disk_warns_and_the_next_pictures_are_written(tmp_path, monkeypatch):
    from dinocell_ssl.watch import picture_writer

    def full(path, image):
        raise OSError(28, "No space left on device")

    writer = PictureWriter(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(picture_writer, "write_image", full)
        writer.write("masks", np.zeros((2, 2, 3), np.uint8), step=1)
        while writer._failures.empty():
            time.sleep(0.01)
    with pytest.warns(PictureWarning, match=r"masks_00000001.png was not written: .*No space left"):
        writer.write("masks", np.zeros((2, 2, 3), np.uint8), step=2)
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["masks_00000002.png"]


def test_an_open_run_of_wandb_gets_each_picture(tmp_path, monkeypatch):
    logged = []
    run = types.SimpleNamespace(log=logged.append)
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(run=run, Image=lambda path: f"image of {path}"))
    with PictureWriter(tmp_path) as writer:
        writer.write("masks", np.zeros((2, 2, 3), np.uint8), step=3)
    assert logged == [{"masks": f"image of {tmp_path / 'masks_00000003.png'}", "step": 3}]


def test_a_run_of_wandb_that_broke_costs_what_it_would_have_got(tmp_path, monkeypatch):
    class Broken(Exception):
        pass

    def fail(values):
        raise Broken("the service is gone")

    wandb = types.SimpleNamespace(run=types.SimpleNamespace(log=fail), Image=str, Error=Broken)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    writer = PictureWriter(tmp_path)
    writer.write("masks", np.zeros((2, 2, 3), np.uint8), step=1)
    while writer._failures.empty():
        time.sleep(0.01)
    with pytest.warns(PictureWarning, match=r"not sent to Weights & Biases: the service is gone"):
        writer.write("masks", np.zeros((2, 2, 3), np.uint8), step=2)
    with pytest.warns(PictureWarning, match="masks_00000002.png was not sent"):
        writer.close()
    assert len(list(tmp_path.iterdir())) == 2
