import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dinocell_core import create_dinocell_model, save_model
from dinocell_io import Image
from dinocell_seg.normalize import prepare
from dinocell_seg.pipeline import DINOCellPipeline, grey_plane
from dinocell_seg.predict import batch_of
from dinocell_seg.segment import segment_image
from dinocell_seg.tiling import fitted_tile


def pipeline_of(model: nn.Module, **changes: object) -> DINOCellPipeline:
    changes = {"tile": 64, "overlap": 16, "thresholds": {"peak": 0.7, "fill": 0.5}, **changes}
    return DINOCellPipeline(model, device="cpu", **changes)


def small_model_file(folder: Path, **metadata: object) -> Path:
    torch.manual_seed(0)
    model = create_dinocell_model("tiny", stem_channels=(), decoder_channels=(8, 8, 8, 8))
    save_model(folder / "model.safetensors", model, metadata=metadata)
    return folder / "model.safetensors"


def test_run_gives_labels_of_the_discs(stand_in: nn.Module, three_discs: np.ndarray) -> None:
    labels = pipeline_of(stand_in).run(three_discs)
    assert labels.dtype == np.int32
    assert labels.shape == three_discs.shape
    assert labels.max() == 3
    assert len({labels[25, 30], labels[60, 80], labels[70, 20]} - {0}) == 3
    assert labels[5, 100] == 0


def test_the_distance_map_comes_with_the_labels_on_request(stand_in: nn.Module, three_discs: np.ndarray) -> None:
    labels, distance_map = pipeline_of(stand_in).run(three_discs, return_dist_map=True)
    assert distance_map.dtype == np.float32
    assert (distance_map[labels > 0] > 0.5).all()


def test_thresholds_of_one_call_do_not_stay(stand_in: nn.Module, three_discs: np.ndarray) -> None:
    pipeline = pipeline_of(stand_in)
    first = pipeline.run(three_discs)
    none = pipeline.run(three_discs, cells_max=0.999999, cell_fill=0.99999)
    assert (none > 0).sum() < (first > 0).sum()
    np.testing.assert_array_equal(pipeline.run(three_discs), first)
    assert pipeline.settings.thresholds.peak == 0.7


def test_many_thresholds_need_one_pass_of_the_network(stand_in: nn.Module, three_discs: np.ndarray) -> None:
    calls = []
    stand_in.register_forward_hook(lambda *_: calls.append(1))
    pipeline = pipeline_of(stand_in)
    one = pipeline.run(three_discs)
    calls_of_one = len(calls)
    results = pipeline.run_batch_thresholds(three_discs, [0.3, 0.7], [0.2, 0.5])
    assert len(calls) == 2 * calls_of_one
    assert set(results) == {(0.3, 0.2), (0.7, 0.2), (0.7, 0.5)}
    np.testing.assert_array_equal(results[0.7, 0.5], one)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_every_dtype_gives_the_same_labels(stand_in: nn.Module, three_discs: np.ndarray, dtype: type) -> None:
    expected = pipeline_of(stand_in).run(three_discs)
    np.testing.assert_array_equal(pipeline_of(stand_in).run((three_discs // 10).astype(dtype)), expected)


def test_a_grey_image_stored_as_rgb_gives_the_same_labels(stand_in: nn.Module, three_discs: np.ndarray) -> None:
    plane = (three_discs // 10).astype(np.uint8)
    rgb = np.repeat(plane[..., None], 3, axis=-1)
    pipeline = pipeline_of(stand_in)
    np.testing.assert_array_equal(pipeline.run(rgb), pipeline.run(plane))


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (7, 3), (65, 64), (200, 63)])
def test_images_of_any_shape_are_segmented(stand_in: nn.Module, shape: tuple[int, int]) -> None:
    labels = pipeline_of(stand_in).run(np.random.default_rng(0).integers(0, 99, shape).astype(np.uint8))
    assert labels.shape == shape


def test_a_channel_of_an_image_is_chosen_by_name() -> None:
    pixels = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    image = Image(pixels, ("DNA", "ER"), None, False, "drawn")
    np.testing.assert_array_equal(grey_plane(image, "er"), pixels[1])
    with pytest.raises(ValueError, match=r"DNA, ER"):
        grey_plane(image)


@pytest.mark.parametrize("shape", [(3, 20, 30), (20, 30, 4), (20,), (2, 3, 20, 30)])
def test_an_array_that_could_mean_several_things_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \[y x\] or RGB \[y x 3\]"):
        grey_plane(np.zeros(shape, np.uint8))


def test_settings_come_from_the_model_file_and_changes_lie_over_them(tmp_path: Path) -> None:
    path = small_model_file(
        tmp_path, thresholds={"peak": 0.6, "fill": 0.3, "min_size": 7}, tile=64, overlap=32, version="1.2"
    )
    pipeline = DINOCellPipeline(path, device="cpu", thresholds={"fill": 0.4})
    thresholds = pipeline.settings.thresholds
    assert (thresholds.peak, thresholds.fill, thresholds.min_size) == (0.6, 0.4, 7)
    assert (pipeline.settings.tile, pipeline.settings.overlap) == (None, 32)
    assert pipeline.identity.version == "1.2"
    assert pipeline.identity.sha256
    assert len(pipeline.identity.sha256) == 64


def test_tiles_are_fitted_to_the_image_from_the_trained_side_on(tmp_path: Path) -> None:
    pipeline = DINOCellPipeline(small_model_file(tmp_path, tile=64, overlap=16), device="cpu")
    prediction = pipeline.predict(np.random.default_rng(0).random((100, 200), np.float32))
    assert prediction.tile == fitted_tile((100, 200), overlap=16, trained=64) == 112
    assert prediction.num_tiles == 2


def test_an_overlap_that_the_trained_tile_does_not_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"overlap 40 is more than half of tile 64; tiles share at most 32 pixels"):
        DINOCellPipeline(small_model_file(tmp_path, tile=64, overlap=16), device="cpu", overlap=40)


def test_larger_tiles_go_through_the_network_in_smaller_batches() -> None:
    cpu = torch.device("cpu")
    assert [batch_of(tile, cpu) for tile in (128, 256, 512, 1024)] == [16, 4, 1, 1]


def test_a_real_model_segments_tiles_as_it_would_alone(tmp_path: Path, three_discs: np.ndarray) -> None:
    pipeline = DINOCellPipeline(small_model_file(tmp_path), device="cpu", precision="fp32", tile=64, overlap=16)
    prediction = pipeline.predict(three_discs[:64, :64])
    from dinocell_seg.normalize import normalize

    with torch.inference_mode():
        alone = pipeline.model(torch.from_numpy(normalize(three_discs[:64, :64]))[None, None])
    np.testing.assert_allclose(prediction.distance_map, alone[0, 0].numpy(), atol=1e-5)


def test_a_pipeline_of_a_training_model_runs_it_in_evaluation_mode(stand_in: nn.Module) -> None:
    stand_in.train()
    assert not pipeline_of(stand_in).model.training


def test_a_missing_model_file_is_named() -> None:
    with pytest.raises(ValueError, match=r"no model file nowhere\.safetensors; give the \.safetensors file"):
        DINOCellPipeline("nowhere.safetensors", device="cpu")


def test_an_unknown_setting_is_refused_with_the_nearest_name(stand_in: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"unknown setting 'tlie'; did you mean 'tile'"):
        DINOCellPipeline(stand_in, device="cpu", tlie=64)


def test_a_tile_off_the_models_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tile 70 is not a multiple of 16.*use 64"):
        DINOCellPipeline(small_model_file(tmp_path), device="cpu", tile=70, overlap=8)


def test_a_model_of_five_channels_is_refused() -> None:
    model = create_dinocell_model("tiny", in_channels=5, stem_channels=(), decoder_channels=(8, 8, 8, 8))
    with pytest.raises(ValueError, match="takes 5 channels; segmentation runs on one grey plane"):
        DINOCellPipeline(model, device="cpu")


def test_a_scale_that_no_image_could_have_is_refused_with_the_settings(tmp_path: Path) -> None:
    path = small_model_file(tmp_path, tile=64, overlap=16, diameter_px=[10, 20, 40], pixel_size_um=0.5)
    with pytest.raises(ValueError, match=r"would be resized by 0\.02, outside 0\.0625 to 16; check the diameter"):
        DINOCellPipeline(path, device="cpu", diameter_px=1000)
    with pytest.raises(ValueError, match=r"would be resized by 40, outside"):
        DINOCellPipeline(path, device="cpu", pixel_size_um=20)
    with pytest.raises(ValueError, match=r"diameter_px: .*finite"):
        DINOCellPipeline(path, device="cpu", diameter_px=float("inf"))
    with pytest.raises(ValueError, match=r"pixel_size_um: .*finite"):
        DINOCellPipeline(path, device="cpu", pixel_size_um=float("inf"))


def test_thresholds_of_one_call_are_checked_as_settings_are(stand_in: nn.Module, three_discs: np.ndarray) -> None:
    pipeline = pipeline_of(stand_in)
    with pytest.raises(ValueError, match="peak: Input should be less than 1"):
        pipeline.run(three_discs, cells_max=120.0)
    with pytest.raises(ValueError, match=r"peak 0\.1 is below fill 0\.2"):
        pipeline.run(three_discs, cells_max=0.1, cell_fill=0.2)
    with pytest.raises(ValueError, match="fill: Input should be greater than or equal to 0"):
        pipeline.run_batch_thresholds(three_discs, [0.5], [-0.1])


@pytest.mark.parametrize("shape", [(96, 96), (96, 96, 3)])
def test_a_masked_array_is_refused_with_what_to_do(stand_in: nn.Module, shape: tuple[int, ...]) -> None:
    masked = np.ma.masked_array(np.zeros(shape, np.uint16), mask=False)
    masked[:10, :10] = np.ma.masked
    pipeline = pipeline_of(stand_in)
    ways = [pipeline.run, lambda image: segment_image(image, pipeline), grey_plane]
    if len(shape) == 2:
        ways += [
            prepare,
            pipeline.predict,
            lambda image: Image(image[None], ("DNA",), None, is_rgb=False, uri="memory"),
        ]
    for way in ways:
        with pytest.raises(ValueError, match=r"got a masked array, of which [13]00 pixels .* image\.filled\(value\)"):
            way(masked)


def test_what_is_no_array_is_refused_with_what_to_do() -> None:
    # without the checks of annotations that the tests run with
    code = """
import torch
from dinocell_seg.pipeline import grey_plane
for image in ("a.tif", [[1, 2]], torch.zeros(4, 4)):
    try:
        grey_plane(image)
    except ValueError as error:
        print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = "expected a numpy array or a dinocell_io.Image; read a file with dinocell_io.read_image"
    assert result.stdout.splitlines() == [f"got a {name}; {expected}" for name in ("str", "list", "Tensor")]
