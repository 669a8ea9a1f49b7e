"""Each strategy shows the channels it promises. Channel c of field f is the constant 10 f + c."""

import pytest
import torch

from dinocell_ssl.data.views import VIEW_STRATEGIES, Views, bag_of_channels, channel_drop, mean_vs_single, pairwise


def constant_fields(num_fields=3, num_channels=4):
    values = 10.0 * torch.arange(num_fields)[:, None] + torch.arange(num_channels)
    return values[:, :, None, None].expand(-1, -1, 2, 3).contiguous()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def shown(views):
    """The constants of the views; the field's tens are taken off."""
    assert torch.equal(views, views[..., :1, :1].expand_as(views))
    return views[..., 0, 0] - 10 * torch.arange(views.shape[1])[None, :, None]


@pytest.mark.parametrize("strategy", VIEW_STRATEGIES.values(), ids=VIEW_STRATEGIES)
def test_views_are_two_global_and_the_asked_local_ones_and_repeat_with_the_seed(strategy):
    fields = constant_fields()
    before = fields.clone()
    views, again = (strategy(fields, num_local=5, generator=seeded()) for _ in range(2))
    assert len(views.global_crops) == 2
    assert len(views.local_crops) == 5
    assert views.global_crops.shape[1:] == views.local_crops.shape[1:]
    assert torch.equal(views.global_crops, again.global_crops)
    assert torch.equal(views.local_crops, again.local_crops)
    assert torch.equal(fields, before)


@pytest.mark.parametrize("strategy", VIEW_STRATEGIES.values(), ids=VIEW_STRATEGIES)
def test_no_local_crop_is_possible(strategy):
    assert len(strategy(constant_fields(), num_local=0, generator=seeded()).local_crops) == 0


def test_mean_stands_against_one_channel_of_the_same_field():
    views = mean_vs_single(constant_fields(50), num_local=40, generator=seeded())
    assert views.global_crops.shape == (2, 50, 1, 2, 3)
    mean, single = shown(views.global_crops)
    assert set(mean.flatten().tolist()) == {1.5}
    assert set(single.flatten().tolist()) == {0, 1, 2, 3}
    local = shown(views.local_crops)
    assert set(local.flatten().tolist()) == {0, 1, 1.5, 2, 3}
    assert float((local == 1.5).float().mean()) == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize(("probability", "expected"), [(0.0, False), (1.0, True)])
def test_local_crops_show_the_mean_never_or_always(probability, expected):
    views = mean_vs_single(constant_fields(), num_local=30, generator=seeded(), local_mean_probability=probability)
    assert torch.equal(shown(views.local_crops) == 1.5, torch.full((30, 3, 1), expected))


def test_pairs_are_two_different_channels_of_the_same_field():
    views = pairwise(constant_fields(200), num_local=3, generator=seeded())
    first, second = shown(views.global_crops)
    pairs = {(int(a), int(b)) for a, b in zip(first, second, strict=True)}
    assert pairs == {(a, b) for a in range(4) for b in range(4) if a != b}
    assert set(shown(views.local_crops).flatten().tolist()) == {0, 1, 2, 3}


def test_pairs_of_a_single_channel_are_refused():
    with pytest.raises(ValueError, match="fields have 1 channel; pairwise needs 2 or more, use bag_of_channels"):
        pairwise(constant_fields(num_channels=1), num_local=2, generator=seeded())


def test_bag_of_channels_makes_every_channel_an_image():
    views = bag_of_channels(constant_fields(2, 3), num_local=4, generator=seeded())
    for crops in views:
        assert crops.shape[1:] == (6, 1, 2, 3)
        for crop in crops[..., 0, 0, 0]:
            assert crop.tolist() == [0, 1, 2, 10, 11, 12]


def test_dropped_channels_are_filled_and_the_others_stay():
    fields = constant_fields(100) + 1
    views = channel_drop(fields, num_local=6, generator=seeded(), probability=0.2, fill=-1.0)
    assert views.global_crops.shape == (2, *fields.shape)
    for crops in views:
        dropped = crops != fields
        assert set(crops[dropped].tolist()) == {-1}
        assert torch.equal(dropped.any(dim=(-1, -2)), dropped.all(dim=(-1, -2)))
        assert float(dropped.float().mean()) == pytest.approx(0.2, abs=0.04)
    assert not torch.equal(*views.global_crops)


def test_one_channel_remains_when_all_would_be_dropped():
    crops = channel_drop(constant_fields() + 1, num_local=9, generator=seeded(), probability=1.0).local_crops
    assert torch.equal((crops[..., 0, 0] > 0).sum(dim=-1), torch.ones(9, 3, dtype=torch.int64))


def test_probabilities_beyond_one_are_refused():
    with pytest.raises(ValueError, match=r"probability is 2.0; give a number of \[0, 1\]"):
        channel_drop(constant_fields(), num_local=1, generator=seeded(), probability=2.0)
    with pytest.raises(ValueError, match=r"local_mean_probability is -0.1; give a number of"):
        mean_vs_single(constant_fields(), num_local=1, generator=seeded(), local_mean_probability=-0.1)


@pytest.mark.parametrize("name", VIEW_STRATEGIES)
def test_every_strategy_is_linear_in_the_channels_as_crops_take_for_granted(name):
    fields = torch.randn(3, 4, 5, 6, generator=seeded(1))
    unit = torch.eye(4)[None, :, None].expand(3, -1, -1, -1)
    views = Views(strategy=name)
    made, weights = (views.views(one, num_local=3, generator=seeded(2)) for one in (fields, unit))
    images = fields if name != "bag_of_channels" else fields.repeat_interleave(4, dim=0)
    for crops, shares in zip(made, weights, strict=True):
        mixed = torch.einsum("vick,ikyx->vicyx", shares[:, :, :, 0], images)
        torch.testing.assert_close(crops, mixed)


@pytest.mark.parametrize("name", VIEW_STRATEGIES)
def test_every_strategy_says_what_it_needs(name):
    strategy, fields = VIEW_STRATEGIES[name], constant_fields(num_channels=3)
    shown_channels = strategy(fields, num_local=1, generator=seeded()).global_crops.shape[2]
    assert shown_channels == (3 if strategy.shows_all_channels else 1)
    strategy(constant_fields(num_channels=strategy.min_channels), num_local=1, generator=seeded())
    if strategy.min_channels > 1:
        with pytest.raises(ValueError, match="needs 2 or more"):
            strategy(constant_fields(num_channels=strategy.min_channels - 1), num_local=1, generator=seeded())
    assert set(strategy.settings) <= set(Views.model_fields)


def test_an_unknown_strategy_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"there is no view strategy 'pairs'; choose one of mean_vs_single, pairwise"):
        Views(strategy="pairs")
