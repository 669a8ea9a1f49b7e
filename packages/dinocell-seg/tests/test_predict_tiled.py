import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dinocell_seg.normalize import normalize, prepare
from dinocell_seg.precision import with_precision
from dinocell_seg.predict import (
    predict_distance_map,
    rescaling,
    resized,
    with_test_time_augmentation,
)
from dinocell_seg.settings import SegmentSettings
from dinocell_seg.tiling import fitted_tile, num_tiles, predict_tiled, tile_starts


def identity(tiles: Tensor) -> Tensor:
    return tiles[:, :1]


def noise(shape: tuple[int, int], dtype: type = np.uint16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)


@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    overlap=st.integers(0, 8),
    batch_size=st.integers(1, 40),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
)
@settings(max_examples=80, deadline=None)
def test_a_pointwise_network_gives_the_whole_image_for_any_shape(
    height: int, width: int, overlap: int, batch_size: int, dtype: type
) -> None:
    plane = noise((height, width), dtype)
    prepared = prepare(plane)
    result = predict_tiled(
        prepared.pixels, identity, affine=prepared.affine, tile=16, overlap=overlap, batch_size=batch_size
    )
    np.testing.assert_allclose(result, normalize(plane), atol=2e-6)


def test_gathered_tiles_hold_what_training_sees_to_the_last_bits() -> None:
    for dtype in (np.uint8, np.uint16, np.float32):
        plane = noise((40, 40), dtype)
        prepared = prepare(plane)
        result = predict_tiled(prepared.pixels, identity, affine=prepared.affine, tile=40, overlap=0)
        np.testing.assert_array_max_ulp(result + 8, normalize(plane) + 8, maxulp=1)


@given(length=st.integers(1, 500), tile=st.integers(1, 64), data=st.data())
@settings(max_examples=200, deadline=None)
def test_tiles_cover_the_axis_overlap_enough_and_end_with_it(length: int, tile: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, tile // 2))
    starts = tile_starts(length, tile=tile, overlap=overlap)
    assert starts[0] == 0
    if length > tile:
        assert starts[-1] + tile == length
    else:
        assert len(starts) == 1
    for this, following in itertools.pairwise(starts):
        assert 0 < following - this <= tile - overlap


def test_known_tile_counts() -> None:
    assert num_tiles((256, 256), tile=256, overlap=64) == 1
    assert num_tiles((512, 512), tile=256, overlap=64) == 9
    assert num_tiles((520, 704), tile=256, overlap=64) == 12


@given(height=st.integers(1, 3000), width=st.integers(1, 3000), overlap=st.sampled_from([0, 32, 64, 128]))
def test_fitted_tiles_are_within_their_range_and_never_much_dearer_than_the_trained(
    height: int, width: int, overlap: int
) -> None:
    def cost(tile: int) -> float:
        return num_tiles((height, width), tile=tile, overlap=overlap) * tile**2 * (1 + (tile / 672) ** 2)

    tile = fitted_tile((height, width), overlap=overlap)
    assert tile % 16 == 0
    assert 256 <= tile <= 576
    assert tile < max(257, min(height, width) + 16)
    assert cost(tile) <= 1.2 * cost(256)


@pytest.mark.parametrize(
    ("shape", "tile", "tiles"),
    [((200, 900), 256, 5), ((360, 360), 368, 1), ((520, 696), 384, 4), ((1024, 1024), 544, 4), ((2048, 2048), 560, 16)],
)
def test_known_fitted_tiles(shape: tuple[int, int], tile: int, tiles: int) -> None:
    assert fitted_tile(shape, overlap=64) == tile
    assert num_tiles(shape, tile=tile, overlap=64) == tiles


def test_more_overlap_than_half_a_tile_is_refused() -> None:
    with pytest.raises(ValueError, match=r"overlap 9 is outside 0\.\.8, half of tile 16"):
        tile_starts(100, tile=16, overlap=9)


def test_the_seam_between_tiles_is_blended_not_cut() -> None:
    calls = itertools.count()

    def tile_number(tiles: Tensor) -> Tensor:
        return torch.full_like(tiles[:, :1], float(next(calls)))

    plane = noise((16, 24))
    result = predict_tiled(plane, tile_number, affine=prepare(plane).affine, tile=16, overlap=8, batch_size=1)
    assert (result[:, :8] == 0).all()
    assert (result[:, 16:] == 1).all()
    seam = result[0, 8:16]
    assert (np.diff(seam) > 0).all()
    np.testing.assert_allclose(seam, 0.5 * (1 - np.cos(np.pi * (np.arange(8) + 0.5) / 8)), atol=1e-6)


def test_a_network_of_three_channels_sees_the_grey_plane_three_times() -> None:
    seen = []

    def record(tiles: Tensor) -> Tensor:
        seen.append(tiles)
        return tiles[:, :1]

    plane = noise((8, 8))
    predict_tiled(plane, record, affine=prepare(plane).affine, tile=8, overlap=0, in_channels=3)
    assert seen[0].shape == (1, 3, 8, 8)
    assert (seen[0] == seen[0][:, :1]).all()


def test_a_network_of_another_output_shape_is_refused() -> None:
    plane = noise((8, 8))
    with pytest.raises(ValueError, match=r"returned shape \(1, 1, 4, 4\) for 1 tiles of 8 x 8"):
        predict_tiled(plane, lambda t: t[..., ::2, ::2], affine=prepare(plane).affine, tile=8, overlap=0)


def test_the_batch_is_halved_when_memory_runs_out() -> None:
    sizes = []

    def fits_two(tiles: Tensor) -> Tensor:
        sizes.append(len(tiles))
        if len(tiles) > 2:
            raise torch.OutOfMemoryError("too many tiles")
        return tiles

    plane = noise((40, 40))
    prepared = prepare(plane)
    result = predict_tiled(plane, fits_two, affine=prepared.affine, tile=8, overlap=0, batch_size=10)
    np.testing.assert_allclose(result, normalize(plane), atol=2e-6)
    assert sizes[:3] == [10, 5, 2]
    assert max(sizes[2:]) == 2


def test_memory_that_does_not_hold_one_tile_is_an_error() -> None:
    def never_fits(tiles: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("no room")

    plane = noise((8, 8))
    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        predict_tiled(plane, never_fits, affine=prepare(plane).affine, tile=8, overlap=0)


@pytest.mark.parametrize("tta", ["flips", "dihedral"])
def test_augmentation_undoes_every_pose(tta: str) -> None:
    tiles = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(with_test_time_augmentation(identity, tta)(tiles), tiles)


def test_augmentation_averages_a_network_that_sees_only_one_side() -> None:
    def upper_half(tiles: Tensor) -> Tensor:
        mask = torch.zeros_like(tiles)
        mask[..., : tiles.shape[-2] // 2, :] = 1
        return mask

    tiles = torch.zeros(1, 1, 8, 8)
    for tta in ("flips", "dihedral"):
        torch.testing.assert_close(with_test_time_augmentation(upper_half, tta)(tiles), torch.full_like(tiles, 0.5))


def test_dihedral_augmentation_makes_the_network_equivariant_to_quarter_turns() -> None:
    torch.manual_seed(0)
    network = with_test_time_augmentation(nn.Conv2d(1, 1, 3, padding=1), "dihedral")
    tiles = torch.rand(1, 1, 8, 8)
    with torch.no_grad():
        turned = network(torch.rot90(tiles, 1, (-2, -1)))
        torch.testing.assert_close(turned, torch.rot90(network(tiles), 1, (-2, -1)))


def test_rescaling_brings_cells_to_the_diameter_the_model_knows() -> None:
    metadata = {"diameter_px": [10, 20, 40]}
    assert rescaling(SegmentSettings(diameter_px=40), metadata) == 0.5
    assert rescaling(SegmentSettings(), metadata) == 1
    assert rescaling(SegmentSettings(pixel_size_um=0.25), {"pixel_size_um": 0.5}) == 0.5
    assert rescaling(SegmentSettings(pixel_size_um=0.25), {}) == 1


def test_a_diameter_needs_a_model_that_knows_its_own() -> None:
    with pytest.raises(ValueError, match="does not state the cell diameter"):
        rescaling(SegmentSettings(diameter_px=40), {})


def test_an_absurd_diameter_is_refused() -> None:
    with pytest.raises(ValueError, match=r"would be resized by 20, outside 0\.0625 to 16"):
        rescaling(SegmentSettings(diameter_px=1), {"diameter_px": [10, 20, 40]})


def test_a_rescaled_prediction_has_the_shape_of_the_image(stand_in: nn.Module, three_discs: np.ndarray) -> None:
    prediction = predict_distance_map(
        three_discs,
        stand_in,
        settings=SegmentSettings(diameter_px=10, tile=64, overlap=16),
        metadata={"diameter_px": [10, 20, 40]},
    )
    assert prediction.scale == 2
    assert prediction.distance_map.shape == three_discs.shape
    assert prediction.distance_map[25, 30] == 1
    assert prediction.distance_map[0, 60] == 0
    assert prediction.num_tiles == num_tiles((180, 240), tile=64, overlap=16)


def test_resizing_down_averages_pixels_and_up_interpolates() -> None:
    plane = np.array([[0, 10], [20, 30]], np.uint16)
    assert resized(plane, (1, 1)).tolist() == [[15]]
    assert resized(plane, (4, 4))[0].tolist() == [0, 2, 8, 10]
    assert resized(plane, (2, 2)) is plane


def test_bf16_rounds_products_and_returns_float32() -> None:
    model = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    tiles = torch.full((1, 1, 2, 2), 1 + 2**-10)
    output = with_precision(model, "bf16", torch.device("cpu"))(tiles)
    assert output.dtype == torch.float32
    assert (output == 1).all()
    assert (with_precision(model, "fp32", torch.device("cpu"))(tiles) == tiles).all()
