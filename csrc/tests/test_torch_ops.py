import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the torch operators need torch")

import dinocell_kernels  # noqa: E402  # after the skip
from dinocell_kernels import torch_ops  # noqa: E402

ops = torch.ops.dinocell
STARTS = [-2, 4]


def some_labels():
    return torch.from_numpy(np.kron(np.arange(6).reshape(2, 3), np.ones((4, 3), int)).astype(np.int32))


def some_map():
    return torch.rand((9, 11), generator=torch.Generator().manual_seed(0))


def some_tiles(*, requires_grad=False):
    return torch.rand((2, 2, 8, 8), generator=torch.Generator().manual_seed(1), requires_grad=requires_grad)


def test_distance_map_of_a_tensor_is_that_of_its_array():
    labels = some_labels()
    expected = dinocell_kernels.distance_map(labels.numpy())
    np.testing.assert_array_equal(torch_ops.distance_map(labels).numpy(), expected)


def test_components_of_a_tensor_are_those_of_its_array():
    mask = some_map() > 0.5
    labels, count = torch_ops.connected_components(mask, connectivity=2)
    expected, expected_count = dinocell_kernels.connected_components(mask.numpy(), connectivity=2)
    assert count == expected_count
    np.testing.assert_array_equal(labels.numpy(), expected)


def test_relabelling_a_tensor_is_that_of_its_array():
    labels = some_labels() * 5
    for (result, count), (expected, expected_count) in (
        (torch_ops.relabel(labels), dinocell_kernels.relabel(labels.numpy())),
        (torch_ops.remove_small(labels, min_size=12), dinocell_kernels.remove_small(labels.numpy(), min_size=12)),
    ):
        assert count == expected_count
        np.testing.assert_array_equal(result.numpy(), expected)


def test_pairs_of_tensors_are_those_of_their_arrays():
    truth, predicted = some_labels(), (some_labels() % 4).to(torch.int64)
    columns = torch_ops.label_overlap(truth, predicted)
    expected = dinocell_kernels.label_overlap(truth.numpy(), predicted.numpy())
    for column, name in zip(columns, ("truth", "predicted", "pixels"), strict=True):
        np.testing.assert_array_equal(column.numpy(), getattr(expected, name))
    with pytest.raises(ValueError, match=r"truth is \(8, 9\) on cpu and predicted \(4, 9\) on cpu"):
        torch_ops.label_overlap(truth, predicted[:4])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_watershed_takes_every_float_exactly(dtype):
    distances = some_map().to(dtype)
    expected = dinocell_kernels.watershed(distances.double().numpy(), peak=0.5, fill=0.25)
    np.testing.assert_array_equal(torch_ops.watershed(distances, peak=0.5, fill=0.25).numpy(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_watershed_with_a_prominence_floods_from_the_prominent_maxima(dtype):
    distances = some_map().to(dtype)
    heights = distances.float().numpy()
    markers, _ = dinocell_kernels.prominent_maxima(heights, peak=0.5, fill=0.25, prominence=0.2)
    expected = dinocell_kernels.marker_watershed(-heights, markers, mask=heights > 0.25)
    labels = torch_ops.watershed(distances, peak=0.5, fill=0.25, prominence=0.2)
    np.testing.assert_array_equal(labels.numpy(), expected)


def test_watershed_of_a_map_that_wants_a_gradient_gives_plain_labels():
    assert not torch_ops.watershed(some_map().requires_grad_()).requires_grad


def test_tiles_of_a_tensor_are_those_of_its_array():
    image = torch.arange(2 * 10 * 12, dtype=torch.uint8).reshape(2, 10, 12)
    scale, offset = torch.tensor([0.5, 2.0]), torch.tensor([0.0, 1.0])
    options = {"tile": 8, "low": 0.0, "high": 90.0}
    tiles = torch_ops.gather_tiles(image, STARTS, np.array(STARTS), scale=scale, offset=offset, **options)
    starts = np.array(STARTS)
    expected = dinocell_kernels.gather_tiles(
        image.numpy(), starts, starts, scale=scale.numpy(), offset=offset.numpy(), **options
    )
    np.testing.assert_array_equal(tiles.numpy(), expected)
    blended = torch_ops.blend_tiles(tiles[:, :, 0], STARTS, STARTS, overlap=2, rows=(0, 10), width=12)
    expected_blend = dinocell_kernels.blend_tiles(expected[:, :, 0], starts, starts, overlap=2, rows=(0, 10), width=12)
    np.testing.assert_array_equal(blended.numpy(), expected_blend)


def test_the_gradient_of_blending_is_its_transpose():
    tiles = some_tiles(requires_grad=True)
    blended = torch_ops.blend_tiles(tiles, STARTS, STARTS, overlap=2, rows=(1, 10), width=12)
    weight = torch.rand(blended.shape, generator=torch.Generator().manual_seed(2))
    (blended * weight).sum().backward()
    # <blend(t), w> = <t, gradient> for every t, as blending is linear.
    other = torch.rand(tiles.shape, generator=torch.Generator().manual_seed(3))
    forward = torch_ops.blend_tiles(other, STARTS, STARTS, overlap=2, rows=(1, 10), width=12)
    torch.testing.assert_close((forward * weight).sum(), (other * tiles.grad).sum())
    assert (tiles.grad[0, 0, :3] == 0).all()


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("distance_map", lambda: (some_labels(), True, False)),
        ("connected_components", lambda: (some_map() > 0.5, 1)),
        ("relabel", lambda: (some_labels(),)),
        ("remove_small", lambda: (some_labels(), 12)),
        ("label_overlap", lambda: (some_labels(), some_labels() % 4)),
        ("watershed", lambda: (some_map(), 0.5, 0.2)),
        ("watershed", lambda: (some_map(), 0.5, 0.2, 0.1)),
        (
            "gather_tiles",
            lambda: (some_map()[None], STARTS, STARTS, 8, torch.ones(1), torch.zeros(1), 0.0, 1.0),
        ),
        ("blend_tiles", lambda: (some_tiles(), STARTS, STARTS, 2, 0, 10, 12)),
        ("blend_tiles", lambda: (some_tiles(requires_grad=True), STARTS, STARTS, 2, 0, 10, 12)),
        ("spread_tiles", lambda: (some_map(), [0, 3], [0, 5], 6, 2, 0, 9, 11)),
    ],
)
def test_operators_keep_the_rules_of_torch_library(op, arguments):
    torch.library.opcheck(getattr(ops, op).default, arguments())


def test_tensors_on_other_devices_are_refused():
    with pytest.raises(
        ValueError, match=r"got a tensor on meta, but dinocell-kernels supports only cpu and cuda; move it or pass"
    ):
        torch_ops.distance_map(torch.ones((2, 2), dtype=torch.int32, device="meta"))
